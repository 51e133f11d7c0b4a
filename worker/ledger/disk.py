"""The disk under a ledger: a full one lets no message in."""

import shutil
from pathlib import Path

LOW_BYTES = 100 * 1024 * 1024
"""Less than this is worth a warning: new mail waits on the bus once there is none."""


def folder_of(ledger: Path) -> Path:
    """The folder of the ledger, or the nearest one above it that exists: where it will be made."""
    folder = ledger.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def free_bytes(ledger: Path) -> int:
    """What is free on the disk of the ledger. Raises OSError."""
    return shutil.disk_usage(folder_of(ledger)).free
