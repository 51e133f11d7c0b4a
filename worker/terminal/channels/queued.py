"""What waits in Codex's own queue, and would be overtaken: what is typed there goes into the turn that runs.

A file beside the plugins' sockets, `codex-PID.waits`, names the last message that a terminal UI's queue was given.
"""

import contextlib
import glob
import os

from worker import process_table
from worker.terminal.channels import handed
from worker.terminal.channels.channel import AsideError, Site

AGENT = "codex"
_NAME = f"~/{handed.BELOW_HOME}/{AGENT}-"
_SUFFIX = ".waits"


def note(process: int, identity: str) -> None:
    """That the message of that id waits in the queue of that UI; those of UIs that have ended are forgotten."""
    with contextlib.suppress(OSError, ValueError):
        for path in _paths():
            if not process_table.born(int(path.rpartition("-")[2].removesuffix(_SUFFIX))):
                os.unlink(path)  # noqa: PTH108 - these commands start without pathlib
        handle = os.open(_path(process), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, identity.encode())
        finally:
            os.close(handle)


def is_any() -> bool:
    """Whether anything may wait for any UI."""
    return bool(_paths())


def waits(site: Site) -> bool:
    """Whether something still waits there; what has begun a turn since is forgotten."""
    from worker.terminal.channels import codex  # noqa: PLC0415 - seldom

    path = _path(site.process.pid)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            identity = os.read(handle, 100).decode("ascii", "replace")
        finally:
            os.close(handle)
        there = handed.noted(identity) if identity.isalnum() else None
        if there is not None and not there.ended and not codex.has_begun(site, there.session, identity):
            return True
        os.unlink(path)  # noqa: PTH108 - these commands start without pathlib
    except (OSError, AsideError):  # what cannot be read holds nothing up
        pass
    return False


def _paths() -> list[str]:
    return glob.glob(glob.escape(os.path.expanduser(_NAME)) + f"[0-9]*{_SUFFIX}")  # noqa: PTH111, PTH207 - the same


def _path(process: int) -> str:
    return os.path.expanduser(f"{_NAME}{process}{_SUFFIX}")  # noqa: PTH111 - the same
