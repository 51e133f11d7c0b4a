"""What is said to be on the disk survives a power cut, on macOS too.

There fsync(2) leaves the data in the drive's own cache; `F_FULLFSYNC` empties that as well (Apple's manual pages of
fsync and fcntl), and SQLite asks for it where it is told to (https://sqlite.org/pragma.html#pragma_fullfsync). The
launcher imports this, so it imports next to nothing.
"""

import fcntl
import os

TYPE_CHECKING = False  # type checkers take it for true; `typing` alone would cost a third of the launcher's start
if TYPE_CHECKING:
    import sqlite3


def sync(descriptor: int) -> None:
    """Put a file's content on the disk for good; OSError where the disk refuses."""
    full: int | None = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        try:
            fcntl.fcntl(descriptor, full)
        except OSError:  # not every file system has it (network, FAT): what it has is fsync
            pass
        else:
            return
    os.fsync(descriptor)


def sync_commits(connection: "sqlite3.Connection") -> None:
    """From now on a commit of this connection that has returned is on the disk for good."""
    for pragma in ("synchronous = full", "fullfsync = on", "checkpoint_fullfsync = on"):
        connection.execute(f"pragma {pragma}")
