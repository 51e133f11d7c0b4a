"""The checks of `doctor` on the ledger: whether it can be written, and whether there is room for it."""

import os
import sqlite3
import stat
from collections.abc import Iterator

from worker.doctor.finding import Finding
from worker.errors import BusWatchError
from worker.ledger import configured, disk, integrity, opening
from worker.ledger.errors import LedgerMissingError
from worker.ledger.other_ledger import other_ledger
from worker.settings import Settings


def room(settings: Settings) -> Iterator[Finding]:
    """Whether the ledger's disk has room for more."""
    free = disk.free_bytes(settings.ledger_file)
    if free < disk.LOW_BYTES:
        folder = disk.folder_of(settings.ledger_file)
        yield Finding("FAIL", "disk", f"only {free // 2**20} MiB are free at {folder}: make room")


def check(settings: Settings) -> Iterator[Finding]:
    """Whether the ledger can be written, or made; it is left as it is."""
    if settings.is_fleet:
        yield from _in_a_server(settings)
        return
    path = settings.ledger_file
    folder = disk.folder_of(path)
    if not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("FAIL", "ledger", f"{folder} cannot be written: chown or chmod it, or change state_path")
        return
    if (in_the_way := _in_the_way(settings)) is not None:
        yield Finding("FAIL", "ledger", in_the_way)
        return
    if not path.exists():
        yield Finding("ok", "ledger", f"{path} will be made")
        if (other := other_ledger(settings)) is not None:
            yield Finding("note", "ledger", other)
        return
    try:
        with opening.reading(path):
            pass
    except LedgerMissingError:
        yield Finding("ok", "ledger", f"{path} is of an older version, and will be migrated")
        return
    except BusWatchError as error:
        yield Finding("FAIL", "ledger", str(error))
        return
    try:
        integrity.try_writing(path)
    except sqlite3.Error as error:
        yield Finding("FAIL", "ledger", f"{path} cannot be written ({error}): check its owner and mode")
        return
    others = [p for p in (path, settings.queue_file) if p.exists() and stat.S_IMODE(p.stat().st_mode) & 0o077]
    if others:
        yield Finding("FAIL", "ledger", f"others can read {others[0]}: chmod 600 {others[0]}")
        return
    yield Finding("ok", "ledger", str(path))


def _in_a_server(settings: Settings) -> Iterator[Finding]:
    """Whether it can be reached, and is of this version."""
    name = configured.name_of(settings)
    try:
        with configured.reading(settings):
            pass
    except LedgerMissingError as error:
        yield Finding("ok", "ledger", f"{name}: {error}")
    except BusWatchError as error:
        yield Finding("FAIL", "ledger", f"{name}: {error}")
        return
    else:
        yield Finding("ok", "ledger", name)
    yield from (
        Finding("FAIL" if bad else "note", "ledger server", words) for bad, words in configured.server_faults(settings)
    )


def _in_the_way(settings: Settings) -> str | None:
    """What stands where ledger, queue or their folder should, and is none."""
    try:
        for file in (settings.ledger_file, settings.queue_file):
            opening.refuse_no_file(file)
    except BusWatchError as error:
        return str(error)
    folder = settings.files_dir
    return f"{folder} should be a folder of the ledger's: move it away" if folder.is_file() else None
