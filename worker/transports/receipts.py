"""What an attempt leaves in the ledger's directory, from the worker's side: a note with its receipt."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, cast

from worker.transports import receipt_format

Kind = Literal["exit", "signal", "timeout", "spawn_error", "too_late", "void", "not_started"]
MESSAGE_SUFFIX = ".message"
SUFFIXES = (MESSAGE_SUFFIX, receipt_format.STDIN_SUFFIX, receipt_format.RECEIPT_SUFFIX)
READ_LIMIT = 1 << 20


class RunResult(NamedTuple):
    """How an attempt ended.

    `code` by `kind`: exit status; signal number (`signal`, `timeout`); errno (`spawn_error`: the
    transport's program could not be started, `not_started`: something of ours could not be made and nothing
    has run); 0 for `void`, and for `too_late`: the time was over in which it was to start, and nothing has run.
    Times are seconds of the epoch, 0 where there is none. `tail` is the last output, any bytes.
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
    until: float = math.inf  # when its launcher kills it, in seconds of the steady clock


def path_of(directory: Path, attempt_id: str, suffix: str) -> Path:
    """The file of an attempt; `suffix` is one of SUFFIXES."""
    return directory / (attempt_id + suffix)


def read_receipt(directory: Path, attempt_id: str) -> RunResult | None:
    """How the attempt ended; None when its receipt is not there, or not complete."""
    parsed = receipt_format.parse_receipt(_read(directory, attempt_id) or b"", attempt_id)
    if parsed is None:
        return None
    _boot, kind, code, started_at, ended_at, pid, tail = parsed
    return RunResult(cast("Kind", kind), code, started_at, ended_at, pid, tail)


def read_note(directory: Path, attempt_id: str) -> Note | None:
    """The attempt's note, None when it was neither started nor voided."""
    if path_of(directory, attempt_id, receipt_format.RECEIPT_SUFFIX).is_symlink():
        return Note(void=True)
    data = _read(directory, attempt_id)
    if data is None:
        return None
    known = receipt_format.parse_note(data, attempt_id)
    return Note(False, *known) if known else Note(void=False)


def _read(directory: Path, attempt_id: str) -> bytes | None:
    try:
        with path_of(directory, attempt_id, receipt_format.RECEIPT_SUFFIX).open("rb") as source:
            return source.read(READ_LIMIT)
    except FileNotFoundError:  # or a void note: it points nowhere
        return None


def create_void_note(directory: Path, attempt_id: str) -> bool:
    """Forbid the attempt to start; True when it is forbidden now, False when it has started."""
    path = path_of(directory, attempt_id, receipt_format.RECEIPT_SUFFIX)
    try:
        Path(path).symlink_to(receipt_format.VOID)
    except FileExistsError:
        note = read_note(directory, attempt_id)
        return note is not None and note.void
    return True


def attempt_files(directory: Path) -> list[str]:
    """The attempts that have a file in the directory, oldest first (ids begin with their time)."""
    found = (path.name.partition(".") for path in directory.iterdir())
    return sorted({stem for stem, dot, suffix in found if dot + suffix in SUFFIXES})


def remove_files(directory: Path, attempt_id: str, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Remove what a settled attempt left; its note last.

    A void note must stay until the lock of that worker's launcher is free: a launcher that was stopped with
    the request still unread would start the attempt when it goes on.
    """
    stem = f"{directory}/{attempt_id}"  # pathlib costs more than the unlink
    for suffix in suffixes:
        try:
            os.unlink(stem + suffix)  # noqa: PTH108 - the same
        except FileNotFoundError:
            continue


def pooled_files(directory: Path) -> dict[str, list[Path]]:
    """The pooled receipt files in the directory, by the worker whose launcher made them."""
    found: dict[str, list[Path]] = {}
    for path in directory.glob(f"*{receipt_format.POOL_INFIX}*"):
        found.setdefault(path.name.partition(".")[0], []).append(path)
    return found
