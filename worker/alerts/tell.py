"""`python -m worker.alerts.tell TYPE`: tell a person what stands on standard input. A delivery of an alert runs this.

It exits as transports do: 0 told, 69 not there now, 65 refused for good, 1 anything else.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from worker.alerts import alert, http
from worker.alerts.alert import Alert
from worker.alerts.errors import CannotTellError
from worker.telemetry.redact import redact


def main(argv: Sequence[str] | None = None) -> int:
    """Tell it, and say in one line without secrets what became of it."""
    parser = argparse.ArgumentParser(prog="worker.alerts.tell", description=__doc__)
    parser.add_argument("type", choices=("desktop", "ntfy", "webhook", "apprise"))
    parser.add_argument("--url-file", default="")
    parser.add_argument("--token-file")
    parser.add_argument("--include-text", action="store_true")
    args = parser.parse_args(argv)
    try:
        text = sys.stdin.buffer.read().decode("utf-8", "replace")
        key = os.environ.get("SOS_MESSAGE_KEY", "")
        _tell(alert.read(text, key, include_text=args.include_text), args)
    except CannotTellError as error:
        print(redact(str(error)))  # noqa: T201 - a transport's output is its reason
        return error.exit_status
    print("told")  # noqa: T201 - the same
    return 0


def _tell(told: Alert, args: argparse.Namespace) -> None:
    """By the module of its type, imported only then."""
    if args.type == "desktop":
        from worker.alerts import desktop  # noqa: PLC0415

        desktop.tell(told)
    elif args.type == "apprise":
        from worker.alerts import services  # noqa: PLC0415

        services.tell(told, http.secret_lines(args.url_file))
    else:
        from worker.alerts import ntfy, webhook  # noqa: PLC0415

        token = http.secret_lines(args.token_file)[0] if args.token_file else None
        (ntfy if args.type == "ntfy" else webhook).tell(told, http.address(args.url_file), token)


if __name__ == "__main__":
    sys.exit(main())
