"""Sockets and files of an agent's are used only if they are the caller's own and nobody else can have made them."""

import contextlib
import os
import socket
import stat
import struct
import sys
import time
from collections.abc import Callable, Iterator

from worker.terminal.channels.channel import AsideError

_MAX_FILE = 1024 * 1024


def connected(path: str, until: float) -> socket.socket:
    """A stream connected to the Unix socket at `path`, whose other end runs as this user.

    Raises:
        AsideError: it is not there, somebody else's, or open to others; or it does not answer.
    """
    real = os.path.realpath(path)
    _check(real, stat.S_ISSOCK, "a socket")
    check_folder(os.path.dirname(real))  # noqa: PTH120 - these commands start without pathlib
    if len(os.fsencode(real)) > 100:
        raise AsideError(f"the name of the socket {real} is too long")
    link = socket.socket(socket.AF_UNIX)
    try:
        link.settimeout(max(0.1, until - time.monotonic()))
        link.connect(real)
        uid = _peer(link)
    except OSError as why:
        link.close()
        raise AsideError(f"{real} does not answer: {why.strerror or why}") from None
    if uid not in {None, os.geteuid()}:
        link.close()
        raise AsideError(f"{real} is served by another user (uid {uid})")
    return link


def unread(why: OSError) -> bool:
    """Whether an error on such a stream says that the other end has ended, and had not read all that was written.

    That, and nothing else, is what Linux calls ECONNRESET there (`unix_release_sock` in net/unix/af_unix.c, 6.1).
    """
    return sys.platform == "linux" and isinstance(why, ConnectionResetError)


def there(path: str) -> bool:
    """Whether there is a socket of that name, or a link to one (Codex makes those); `connected` looks whose it is."""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)  # noqa: PTH116 - these commands start without pathlib
    except OSError:
        return False


def check_folder(path: str) -> None:
    """Whoever may write a folder may put another socket or file in the place of one, or take it away.

    Raises:
        AsideError: it is not there, somebody else's, or open to others.
    """
    _check(path, stat.S_ISDIR, "a folder")


def content(path: str, *, secret: bool = False) -> bytes:
    """A file of the caller's own that nobody else can change, and if it is a secret none can read.

    Raises:
        AsideError: it is not there, somebody else's, or open to others.
    """
    try:
        with opened(path, links=False) as handle:
            found = os.fstat(handle)
            _judge(found, path, stat.S_ISREG, "a file")
            if secret and found.st_mode & (stat.S_IRGRP | stat.S_IROTH):
                raise AsideError(f"{path} can be read by others: chmod 600 {path}")
            return os.read(handle, _MAX_FILE)
    except FileNotFoundError as why:
        raise AsideError(f"{path}: {why.strerror}") from None


def settings(path: str) -> bytes:
    """The user's own settings, wherever a link leads and whoever may change them: only the agent obeys them.

    Empty where there are none.

    Raises:
        AsideError: they cannot be read.
    """
    try:
        with opened(path) as handle:
            return os.read(handle, _MAX_FILE)
    except FileNotFoundError:
        return b""


@contextlib.contextmanager
def opened(path: str, *, called: str = "", links: bool = True) -> Iterator[int]:
    """A file, open to be read; no FIFO is waited for. `called`: its name in errors; without `links` none is followed.

    Raises:
        FileNotFoundError: it is not there.
        AsideError: it cannot be read, or is no file.
    """
    called = called or path
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if links else os.O_NOFOLLOW))
    except FileNotFoundError:
        raise
    except OSError as why:
        raise AsideError(f"{called}: {why.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise AsideError(f"{called} is not a file")
        yield handle
    finally:
        os.close(handle)


def _check(path: str, kind: Callable[[int], bool], words: str) -> None:
    try:
        found = os.lstat(path)
    except OSError as why:
        raise AsideError(f"{path}: {why.strerror}") from None
    _judge(found, path, kind, words)


def _judge(found: os.stat_result, path: str, kind: Callable[[int], bool], words: str) -> None:
    if not kind(found.st_mode):
        raise AsideError(f"{path} is not {words}")
    if found.st_uid != os.geteuid():
        raise AsideError(f"{path} belongs to another user (uid {found.st_uid})")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise AsideError(f"{path} can be changed by others: chmod go-w {path}")


def _peer(link: socket.socket) -> int | None:
    """The user at the other end; None where the system does not tell (unix(7); LOCAL_PEERCRED in unix(4) of macOS)."""
    linux = getattr(socket, "SO_PEERCRED", None)
    level, option, size, kind = (socket.SOL_SOCKET, linux, 12, "3i") if linux is not None else (0, 1, 76, "II")
    with contextlib.suppress(OSError, struct.error):
        return int(struct.unpack_from(kind, link.getsockopt(level, option, size))[1])
    return None
