"""What an attempt leaves in the ledger's directory, from the worker's side: receipts and notes."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from worker.transports import records

Kind = Literal["exit", "signal", "timeout", "spawn_error", "void", "not_started"]
SUFFIXES = (".receipt", ".note", ".stdin", ".message")
READ_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended.

    `code` by `kind`: exit status; signal number (`signal`, `timeout`); errno (`spawn_error`: the
    transport's program could not be started, `not_started`: something of ours could not be made and nothing
    has run); 0 for `void`. Times are seconds of the epoch, 0 where there is none. `tail` is the last
    output, any bytes.
    """

    kind: Kind
    code: int = 0
    started_at: float = 0.0
    ended_at: float = 0.0
    pid: int = 0
    tail: bytes = b""


@dataclass(frozen=True, slots=True)
class Note:
    """Who started an attempt: `void` forbids it; else the launcher, with the transport's pid once known."""

    void: bool
    pid: int | None = None
    start: str = ""


def path_of(directory: Path, attempt_id: str, suffix: str) -> Path:
    """The file of an attempt; `suffix` is one of SUFFIXES."""
    return directory / (attempt_id + suffix)


def read_receipt(directory: Path, attempt_id: str) -> Outcome | None:
    """The outcome in the attempt's receipt; None when there is none, or it is not complete."""
    try:
        with path_of(directory, attempt_id, ".receipt").open("rb") as source:
            parsed = records.parse_receipt(source.read(READ_LIMIT))
    except FileNotFoundError:
        return None
    if parsed is None:
        return None
    _boot, kind, code, started_at, ended_at, pid, tail = parsed
    return Outcome(cast("Kind", kind), code, started_at, ended_at, pid, tail)


def read_note(directory: Path, attempt_id: str) -> Note | None:
    """The attempt's note, None when it was neither started nor voided."""
    path = path_of(directory, attempt_id, ".note")
    try:
        if path.is_symlink():
            return Note(void=True)
        known = records.parse_note(path.read_bytes())
    except FileNotFoundError:
        return None
    return Note(void=False, pid=known[0], start=known[1]) if known else Note(void=False)


def create_void_note(directory: Path, attempt_id: str) -> bool:
    """Forbid the attempt to start; True when it is forbidden now, False when it has started."""
    path = path_of(directory, attempt_id, ".note")
    try:
        Path(path).symlink_to(records.VOID)
    except FileExistsError:
        note = read_note(directory, attempt_id)
        return note is not None and note.void
    return True


def attempt_files(directory: Path) -> list[str]:
    """The attempts that have a file in the directory, oldest first (ids begin with their time)."""
    found = (path.name.partition(".") for path in directory.iterdir())
    return sorted({stem for stem, dot, suffix in found if dot + suffix in SUFFIXES})


def remove_files(directory: Path, attempt_id: str) -> None:
    """Remove what a settled attempt left; its note last.

    A void note must stay until the lock of that worker's launcher is free: a launcher that was stopped with
    the request still unread would start the attempt when it goes on.
    """
    stem = os.path.join(directory, attempt_id)  # noqa: PTH118 - pathlib costs more than the unlink
    for suffix in (".receipt", ".message", ".stdin", ".note"):
        try:
            os.unlink(stem + suffix)  # noqa: PTH108 - the same
        except FileNotFoundError:
            continue
