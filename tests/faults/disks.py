"""Disks that fill up, and disks that report errors."""

import contextlib
import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.world.processes import children
from worker import process_table


class SmallDisk:
    """A file system of its own, of a few megabytes."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._ballast = place / "ballast"

    def fill(self) -> None:
        """Take the last byte."""
        with self._ballast.open("ab", buffering=0) as ballast:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while True:
                        ballast.write(bytes(size))
                except OSError as error:
                    assert error.errno == errno.ENOSPC  # noqa: PT017 - the loop ends by it

    def free(self) -> None:
        """Give it all back."""
        self._ballast.unlink()


class LimitedProcesses:
    """A worker and its launcher that cannot write a file past `limit` bytes: SQLite sees an I/O error, they EFBIG.

    Nobody needs to be root for it. Transports that run keep their own limits; those that start later inherit it.
    """

    def __init__(self, pid: int, limit: int) -> None:
        self._pid = pid
        self._limit = limit

    def fill(self) -> None:
        """From now on."""
        self._set(self._limit)

    def free(self) -> None:
        """Not any more."""
        self._set(resource.RLIM_INFINITY)

    def _set(self, limit: int) -> None:
        for pid in (self._pid, *children(self._pid)):
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


@contextlib.contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[SmallDisk | None]:
    """Mount one; None where this process may not."""
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "none", str(place)],
        capture_output=True, check=False,
    )  # fmt: skip
    try:
        yield SmallDisk(place) if mounted.returncode == 0 else None
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", str(place)], check=True)


def cpu_seconds(pid: int) -> float:
    """What this process has used of the processor."""
    user, system, _, _ = process_table.cpu_ticks(pid)
    return (user + system) / os.sysconf("SC_CLK_TCK")
