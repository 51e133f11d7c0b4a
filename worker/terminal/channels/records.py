"""An agent's own record: a file of JSON lines that grows. One that cannot be read proves nothing, nor the contrary."""

import os
import stat
from collections.abc import Iterator

from worker.terminal.channels.channel import AsideError


def lines(path: str, start: int = 0) -> Iterator[tuple[bytes, int]]:
    """The whole lines behind byte `start`, each with where it ends; none if there is no such file.

    Raises:
        AsideError: what the record has cannot be told.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # never waits for a FIFO
    except FileNotFoundError:
        return
    except OSError as why:
        raise AsideError(f"the record {path}: {why.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise AsideError(f"the record {path} is not a file")
        with open(handle, "rb", closefd=False) as file:
            file.seek(start)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                start += len(line)
                yield line, start
    except OSError as why:
        raise AsideError(f"the record {path}: {why.strerror}") from None
    finally:
        os.close(handle)
