"""Serve a webhook: what is posted to it becomes a message to one agent, so that CI and other services wake it.

A post is signed as GitHub does (X-Hub-Signature-256) or carries the secret as a bearer. Of GitHub's events the message
says what happened; of any other JSON it is the field `text`, or all of it. It goes through the outbox: what is answered
with 202 is kept. A post with the same X-GitHub-Delivery or Idempotency-Key as one before is no second message. A post
has 10 s and 1 MiB; the secret's file is read again when it changes.
"""

import argparse
import json
import sys
import threading
from pathlib import Path

from worker.cli import options, sending
from worker.errors import UsageError
from worker.urls import is_loopback

EXAMPLES = """examples:
  bus-watch hook --to bob --as ci --secret-file ~/.sos/hook-secret
  curl -H "Authorization: Bearer $(cat ~/.sos/hook-secret)" -d '{"text": "the build failed"}' http://127.0.0.1:6381/
"""

DEFAULT_PORT = 6381


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    parser.add_argument("--json", action="store_true", help="say where it listens as JSON")
    parser.add_argument("--to", required=True, metavar="AGENT", help="who gets the messages")
    parser.add_argument(
        "--as", dest="sender", metavar="AGENT", help="whose messages they are (default: the only agent)"
    )
    parser.add_argument(
        "--secret-file", required=True, metavar="PATH", help="the secret, in a file that only you can read"
    )
    sending.add_class(parser)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="the port; 0 takes a free one (%(default)s)")
    parser.add_argument(
        "--allow-remote", action="store_true", help="allow a --host that other machines reach, without encryption"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    import signal

    from worker.cli.hook_server import HookServer
    from worker.credentials import TokenSource
    from worker.errors import TokenError

    if not is_loopback(args.host) and not args.allow_remote:
        raise UsageError(f"{args.host} may be reached from other machines: keep to 127.0.0.1, or add --allow-remote")
    path = Path(args.secret_file).expanduser()
    if path.exists() and path.stat().st_mode & 0o077:
        raise TokenError(f"--secret-file {path}: others can read it; chmod 600 {path}")
    secret = TokenSource(agent=args.to, file=str(path))
    secret.read()  # one that cannot be read is said now
    message_class = sending.class_of(args)
    args.to = sending.recipient(args.to)
    agent = sending.sender(sending.desk_of(args.config), args.sender)

    def take(text: str, once: str) -> str:
        return _take(args, agent, message_class, text, once)

    try:
        server = HookServer((args.host, args.port), secret.read, take)
    except (OSError, OverflowError) as error:
        raise UsageError(f"cannot listen on {args.host} port {args.port}: {error}") from None
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://{args.host}:{server.server_port}"
    print(json.dumps({"listening": url}) if args.json else f"listening on {url}", flush=True)
    stop.wait()
    server.shutdown()
    server.server_close()
    return 0


def _take(args: argparse.Namespace, agent: str, message_class: str | None, text: str, once: str) -> str:
    """Keep a message and have it sent; its key. LedgerError."""
    from worker.ledger import outbox, outbox_bell
    from worker.outgoing import Kind, key_of

    desk = sending.desk_of(args.config)
    whole = sending.composed(agent, args.to, message_class, text)
    with desk.opened() as database:
        number = database.write(
            lambda tx: outbox.put_once(
                tx, agent, args.to, whole, kind=Kind.MESSAGE, now=tx.now(), message_class=message_class, once=once
            )
        )
        if not outbox_bell.ring(desk.files_dir):
            threading.Thread(target=_send_here, args=(args.config, desk, number), daemon=True).start()
    return key_of(number)


def _send_here(config: str | None, desk: sending.Desk, number: int) -> None:
    """Where no worker listens: what is not sent now is kept for the next that runs."""
    from worker.cli import sending_here
    from worker.errors import BusWatchError

    try:
        with desk.opened() as database:
            sending_here.send(sending.read_settings(config), database, number)
    except BusWatchError as error:
        print(f"bus-watch hook: {error}", file=sys.stderr)
