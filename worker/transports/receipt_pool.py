"""Files made in advance: an attempt's note and receipt is one of these under a second name.

The launcher imports this, so it imports next to nothing.

A new file for each attempt costs more than anything else that a launcher does (ext4 goes round the inodes that were
freed in the last seconds: about 50 us a file at 1,000 a second); a second name for one that is there costs a tenth.
Once the worker has taken the attempt's name away the file is used again, its old content still in it: so what is in
it says whose it is.
"""

import contextlib
import os

from worker.transports import receipt_format

KEPT = 64  # at most so many wait to be used again: each is a descriptor, of which macOS gives 256


class ReceiptFile:
    """One file: always open, always at full size, so that writing to it cannot fail for want of space."""

    __slots__ = ("descriptor", "path", "size")

    def __init__(self, path: str) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.size = 0

    def grow(self, size: int) -> None:
        """Take up this much space; OSError when there is none."""
        if size > self.size:
            # Written, not fallocated: as safe against a full disk, and 9 us instead of 75 us on ext4.
            receipt_format.write_all(self.descriptor, bytes(size - self.size), self.size)
            self.size = size

    @property
    def names(self) -> int:
        """How many names it has: 2 while an attempt's is on it, 0 once somebody has removed the folder."""
        return os.fstat(self.descriptor).st_nlink

    def give_up(self) -> None:
        """Let go of it; what an attempt's name is on stays under that name."""
        with contextlib.suppress(OSError):  # it stays until the sweep finds its launcher gone
            os.unlink(self.path)  # noqa: PTH108 - no pathlib here
        os.close(self.descriptor)


class ReceiptPool:
    """Those of one launcher."""

    def __init__(self, stem: str) -> None:
        self._stem = stem
        self._made = 0
        self._idle: list[ReceiptFile] = []

    def take(self, size: int) -> ReceiptFile:
        """One of at least `size` bytes; OSError when none can be made."""
        if self._idle:
            file = self._idle.pop()
        else:
            self._made += 1
            file = ReceiptFile(f"{self._stem}{self._made}")
        try:
            file.grow(size)
        except OSError:
            file.give_up()
            raise
        return file

    def put_back(self, file: ReceiptFile) -> None:
        """No attempt's name is on it (any more)."""
        if len(self._idle) < KEPT:
            self._idle.append(file)
        else:
            file.give_up()

    def forget_removed(self) -> None:
        """Let go of those that wait and have no name any more."""
        idle, self._idle = self._idle, []
        for file in idle:
            if file.names:
                self._idle.append(file)
            else:
                file.give_up()

    def close(self) -> None:
        """Remove those that wait."""
        while self._idle:
            self._idle.pop().give_up()
