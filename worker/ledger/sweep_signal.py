"""A command tells the workers of a ledger: something changed, sweep now; or: read your configuration again.

Each is a file's time, with nothing in the file: it needs no process id, which may belong to somebody else by now.
"""

import os
from pathlib import Path

SWEEP = "sweep-signal"
RELOAD = "reload-signal"


def send_sweep_signal(files_dir: Path) -> None:
    """Ask every worker of this ledger to sweep at once; without a worker it does nothing."""
    send(files_dir, SWEEP)


def send(files_dir: Path, name: str) -> None:
    """Send one of the signals; a folder that cannot be written loses it."""
    path = files_dir / name
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        os.utime(path)
    except OSError:
        return  # what it asks for comes by itself, a little later


def stamp(files_dir: Path, name: str = SWEEP) -> int:
    """Changes with every such signal."""
    try:
        return os.stat(f"{files_dir}/{name}").st_mtime_ns  # noqa: PTH116 - four times a second; a Path costs more
    except OSError:
        return 0
