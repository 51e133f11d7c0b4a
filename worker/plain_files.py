"""Reading a file that a person names, which may be no file: a FIFO without a writer would be waited for, for ever."""

import errno
import os
import stat


def read_plain(path: str | os.PathLike[str], most: int) -> bytes:
    """What a regular file holds, up to `most` bytes.

    Raises OSError whose `strerror` says what it is, where it is a folder, a FIFO, a socket or a device.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if (kind := no_file(mode)) is not None:
            raise OSError(errno.EINVAL, kind)
        with os.fdopen(descriptor, "rb", closefd=False) as source:
            return source.read(most)
    finally:
        os.close(descriptor)


def no_file(mode: int) -> str | None:
    """What something with this mode is, where it is no regular file."""
    if stat.S_ISREG(mode):
        return None
    return "it is a folder" if stat.S_ISDIR(mode) else "it is no regular file (a FIFO, a socket or a device)"
