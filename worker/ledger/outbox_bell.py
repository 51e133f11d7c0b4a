"""A bell for the outbox: `bus-watch send` rings, and a worker that listens sends at once.

A FIFO beside the worker's files. It needs no process id, costs an idle worker nothing, and tells who rings whether
anybody listens: opening it fails where nobody does (fifo(7), ENXIO).
"""

import contextlib
import os
import select
from pathlib import Path

BELL = "outbox-bell"


def ring(files_dir: Path) -> bool:
    """Ring; whether a worker listens."""
    try:
        bell = os.open(files_dir / BELL, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(bell, b"!")
    except BlockingIOError:  # nobody has looked for 64 KiB of rings: it will
        return True
    except OSError:
        return False
    finally:
        os.close(bell)
    return True


class OutboxBell:
    """The listening end, of one worker. Several may listen: each ring wakes one of them."""

    def __init__(self, files_dir: Path) -> None:
        self._path = files_dir / BELL
        self._bell: int | None = None

    def open(self) -> None:
        """Listen; where no FIFO can be made, `wait` only waits."""
        with contextlib.suppress(OSError):
            with contextlib.suppress(FileExistsError):
                os.mkfifo(self._path, 0o600)
            # For writing too: it never ends then, whoever comes and goes.
            self._bell = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def is_lost(self) -> bool:
        """Whether somebody has removed it: nobody who rings would be heard."""
        return self._bell is None or not self._path.exists()

    def renew(self) -> None:
        """Listen anew."""
        self.close()
        self.open()

    def wait(self, seconds: float, also: int) -> None:
        """Until it rings, or `also` (a descriptor) can be read, or for so long at most."""
        poll = select.poll()  # not select(2): a busy worker's descriptors go beyond 1023
        for descriptor in (self._bell, also):
            if descriptor is not None:
                poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll(seconds * 1000):
            with contextlib.suppress(OSError):
                os.read(descriptor, 65536)

    def close(self) -> None:
        """Listen no more."""
        bell, self._bell = self._bell, None
        if bell is not None:
            os.close(bell)
