"""A notification on this machine's screen: `notify-send` (libnotify 0.8), `osascript` on a Mac."""

import html
import os
import shutil
import subprocess
import sys
from pathlib import Path

from worker.alerts.alert import Alert
from worker.alerts.errors import CannotTellError, NobodyThereError

SECONDS = 10.0
LONGEST = 1000  # characters; no notification shows more
_SCRIPT = (
    "-e", "on run argv",
    "-e", "display notification (item 2 of argv) with title (item 1 of argv)",
    "-e", "end run",
)  # fmt: skip


def program() -> str | None:
    """The program that shows notifications here, if it is installed."""
    return "/usr/bin/osascript" if sys.platform == "darwin" else shutil.which("notify-send")


def command(alert: Alert) -> list[str]:
    """What is run. The texts are arguments of their own: nothing reads them as an option or a script."""
    name, title, body = program(), alert.title, alert.body[:LONGEST]
    if name is None:
        raise NobodyThereError("notify-send is not installed: on Debian it is in libnotify-bin")
    if sys.platform == "darwin":
        return [name, *_SCRIPT, title, body]
    urgency = "low" if alert.is_over else "critical"
    return [name, "--app-name=bus-watch", f"--urgency={urgency}", "--", title, html.escape(body, quote=False)]


def tell(alert: Alert) -> None:
    """Show it. NobodyThereError: nobody is logged in at a screen."""
    try:
        done = subprocess.run(
            command(alert), env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise CannotTellError(f"no notification was shown within {SECONDS:g} s") from None
    except OSError as error:
        raise NobodyThereError(f"notifications cannot be shown: {error.strerror}") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise NobodyThereError(f"no notification was shown: {said[-1] if said else f'exit {done.returncode}'}")


def _environment() -> dict[str, str]:
    """Ours, and where the session's bus is by custom: a service that started before the session does not know it."""
    environment = dict(os.environ)
    runtime = environment.setdefault("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    if "DBUS_SESSION_BUS_ADDRESS" not in environment and Path(runtime, "bus").is_socket():
        environment["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={runtime}/bus"
    return environment
