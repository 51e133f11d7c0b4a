"""What waits in a queue of an agent's own, and would be overtaken: what is typed there goes into the turn that runs.

So it is with codex 0.171.0, pi 1.6.0 and Copilot CLI 1.0.102, found by running them; Claude Code 2.1.332, OpenCode
1.18.33 and Qwen Code 0.24.4 keep the order. A file beside the plugins' sockets, `AGENT-PID.waits`, names the last
message that a UI's queue was given.
"""

import contextlib
import glob
import os
import time

from worker import process_table
from worker.terminal.channels import handed
from worker.terminal.channels.channel import AsideError, Message, Site
from worker.terminal.channels.sites import module

AGENTS = ("codex", "copilot", "pi")
_SUFFIX = ".waits"


def note(agent: str, process: int, identity: str) -> None:
    """That the message of that id waits in the queue of that UI; those of UIs that have ended are forgotten."""
    with contextlib.suppress(OSError, ValueError):
        for path in _paths():
            if not process_table.born(int(path.rpartition("-")[2].removesuffix(_SUFFIX))):
                os.unlink(path)  # noqa: PTH108 - these commands start without pathlib
        handle = os.open(
            _path(agent, process), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            os.write(handle, identity.encode())
        finally:
            os.close(handle)


def is_any() -> bool:
    """Whether anything may wait for any UI."""
    return bool(_paths())


def waits(agent: str, site: Site) -> bool:
    """Whether something still waits there; what has begun a turn since is forgotten."""
    path = _path(agent, site.process.pid)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            identity = os.read(handle, 100).decode("ascii", "replace")
        finally:
            os.close(handle)
        there = handed.noted(identity) if identity.isalnum() else None
        if there is not None and not there.ended and _is_queued(agent, site, there.session, identity):
            return True
        os.unlink(path)  # noqa: PTH108 - these commands start without pathlib
    except (OSError, AsideError):  # what cannot be read holds nothing up
        pass
    return False


def _is_queued(agent: str, site: Site, session: str, identity: str) -> bool:
    if agent == "codex":  # its record says so whichever thread the pane shows
        from worker.terminal.channels import codex  # noqa: PLC0415 - seldom

        return not codex.has_begun(site, session, identity)
    asked = module(agent).find(site, time.monotonic() + 2, session)
    try:
        found = asked.lookup(Message(identity, "", session))
    finally:
        asked.close()
    return found is not None and found.verdict == "queued"


def _paths() -> list[str]:
    folder = os.path.expanduser(f"~/{handed.BELOW_HOME}")  # noqa: PTH111 - the same
    return glob.glob(f"{glob.escape(folder)}/*-*{_SUFFIX}")  # noqa: PTH207 - the same


def _path(agent: str, process: int) -> str:
    return os.path.expanduser(f"~/{handed.BELOW_HOME}/{agent}-{process}{_SUFFIX}")  # noqa: PTH111 - the same
