"""A command tells the workers of a ledger: something changed, sweep now. A file's time, and nothing in it."""

import os
from pathlib import Path

NAME = "sweep-signal"


def send_sweep_signal(files_dir: Path) -> None:
    """Ask every worker of this ledger to sweep at once; without a worker it does nothing."""
    path = files_dir / NAME
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        os.utime(path)
    except OSError:
        return  # the next sweep comes by itself, a few seconds later


def stamp(files_dir: Path) -> int:
    """Changes with every signal."""
    try:
        return (files_dir / NAME).stat().st_mtime_ns
    except OSError:
        return 0
