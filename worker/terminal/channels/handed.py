"""Notes of what was handed to a channel: on the disk before it is, so that they outlive sender, pane and agent.

A note is a file in `~/.local/state/bus-watch/handed`, called `ID.CHANNEL`, with the session's name and its
agent's process in it. Its time is when the message was handed over last. Each function raises OSError where the folder
cannot be used. A note that others could take away is none, so nothing is noted where they could.
"""

import contextlib
import os
import re
from typing import NamedTuple

from worker import process_table
from worker.durable import sync
from worker.terminal.channels import owned
from worker.terminal.channels.names import CHANNELS

BELOW_HOME = ".local/state/bus-watch"
FOLDER = f"~/{BELOW_HOME}/handed"
_CONTENT = re.compile(r"(?P<session>[\w-]{1,100})(?: (?P<pid>\d{1,7}) (?P<born>\w{1,60}))?", re.ASCII)
_MOST = 5000  # notes: the folder is listed at each
_FEWER = 4000  # are left when there are too many


class Note(NamedTuple):
    """That a message was handed over."""

    path: str
    channel: str
    session: str
    """To which of the channel's sessions; empty: that is not known."""
    ended: bool
    """Whether the process that showed that session has certainly ended since."""
    at: float
    """When, in seconds since 1970."""


def noted(identity: str) -> Note | None:
    """The note of the message of that id; None: it was handed to no channel."""
    for channel in CHANNELS:
        path = _path(identity, channel)
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            known = _CONTENT.fullmatch(os.read(handle, 200).decode("ascii", "replace"))
            at = os.fstat(handle).st_mtime
            if known is None:
                return Note(path, channel, "", ended=False, at=at)
            ended = known["pid"] is not None and _has_ended(int(known["pid"]), known["born"])
            return Note(path, channel, known["session"], ended=ended, at=at)
        finally:
            os.close(handle)
    return None


def note(identity: str, channel: str, session: str, process: int) -> None:
    """Note that the channel's session gets the message. Once this returns it outlives a power failure.

    `process` is the agent's that shows the session.

    Raises:
        AsideError: others can change the folder.
    """
    folder = os.path.expanduser(FOLDER)  # noqa: PTH111 - these commands start without pathlib
    _make(folder)
    for one in (os.path.dirname(folder), folder):  # noqa: PTH120 - the same
        owned.check_folder(os.path.realpath(one))
    handle = os.open(
        _path(identity, channel), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        born = process_table.born(process)
        os.write(handle, (f"{session} {process} {born}" if born else session).encode())
        sync(handle)
    finally:
        os.close(handle)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(handle)
    finally:
        os.close(handle)
    _prune(folder)


def withdraw(identity: str) -> None:
    """Forget the notes of the message of that id: the agent certainly has not got it."""
    for channel in CHANNELS:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(_path(identity, channel))  # noqa: PTH108 - no pathlib here


def _has_ended(pid: int, born: str) -> bool:
    now = process_table.born(pid)
    if now or process_table.HAS_PROC:
        return now != born
    try:  # `ps` says nothing of one that has ended, nor when it cannot be run
        os.kill(pid, 0)
    except OSError:
        return True
    return False


def _path(identity: str, channel: str) -> str:
    return os.path.expanduser(f"{FOLDER}/{identity}.{channel}")  # noqa: PTH111 - no pathlib here


def _make(folder: str) -> None:
    """Both folders are of ours alone: the plugins' sockets are in the upper one."""
    upper = os.path.dirname(folder)  # noqa: PTH120 - no pathlib here
    os.makedirs(os.path.dirname(upper), exist_ok=True)  # noqa: PTH103, PTH120 - no pathlib here
    for one in (upper, folder):
        with contextlib.suppress(FileExistsError):
            os.mkdir(one, 0o700)  # noqa: PTH102 - no pathlib here


def _prune(folder: str) -> None:
    """Forget the oldest if there are too many; what another sender forgets meanwhile is forgotten."""
    with os.scandir(folder) as entries:
        found = list(entries)
    if len(found) <= _MOST:
        return
    aged: list[tuple[float, str]] = []
    for one in found:
        with contextlib.suppress(OSError):
            aged.append((one.stat(follow_symlinks=False).st_mtime, one.path))
    for _, path in sorted(aged)[:-_FEWER]:
        with contextlib.suppress(OSError):
            os.unlink(path)  # noqa: PTH108 - no pathlib here
