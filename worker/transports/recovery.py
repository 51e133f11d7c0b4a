"""What became of an attempt whose thread is gone: recovery in the order that makes it safe, docs/protocol.md#recovery.

Asking for a receipt and then for its writer would call an attempt unknown that ended between the two; hence
the second look at the receipt.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worker.steady_clock import steady
from worker.transports import sessions
from worker.transports.receipts import RunResult, attempt_files, create_void_note, read_note, read_receipt

GRACE = 1.0  # seconds that a time-out may run late before it is enforced from outside


@dataclass(frozen=True, slots=True)
class Void:
    """It never started, and never will: its note is void now."""


@dataclass(frozen=True, slots=True)
class Finished:
    """It ended, and its receipt says how."""

    outcome: RunResult


@dataclass(frozen=True, slots=True)
class StillRunning:
    """Leave it and look again: its launcher lives, or the transport itself does and has time left."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may have run, and nobody will ever say how it ended."""


AttemptStatus = Void | Finished | StillRunning | Unknown


def inspect(
    directory: Path,
    attempt_id: str,
    *,
    same_boot: bool,
    folder_kept: bool = True,
    writer_alive: Callable[[], bool],
    started_at: float,
    timeout: float,
    now: float,
) -> AttemptStatus:
    """Find out about an attempt that nobody holds; times in seconds of the epoch, `timeout` in seconds.

    `writer_alive` tells whether the launcher that was to write its receipt lives (its lock is held). Kills
    the session of a transport that has outlived its launcher and its time-out, if it is still proven to be
    that session. OSError when the directory cannot be read or written: look again later.

    Without `folder_kept` somebody has removed the directory since the start: that there is no note proves nothing.
    """
    if same_boot and folder_kept and create_void_note(directory, attempt_id):
        return Void()
    if outcome := read_receipt(directory, attempt_id):
        return Finished(outcome)
    if writer_alive():
        return StillRunning()
    if same_boot and _outlives_its_launcher(directory, attempt_id, overdue=now >= started_at + timeout + GRACE):
        return StillRunning()
    if outcome := read_receipt(directory, attempt_id):
        return Finished(outcome)
    return Unknown()


def end_overdue(directory: Path) -> int:
    """End transports that have outlived their launcher and their time-out, told by their notes alone; how many.

    For a worker that cannot reach its ledger, while other hosts count on it that they are over.
    """
    ended = 0
    for attempt_id in attempt_files(directory):
        note = read_note(directory, attempt_id)
        if note is None or note.pid is None or steady() < note.until + GRACE:
            continue
        if sessions.leads(note.pid, note.start) and read_receipt(directory, attempt_id) is None:
            ended += sessions.kill_session(note.pid, note.start)
    return ended


def _outlives_its_launcher(directory: Path, attempt_id: str, *, overdue: bool) -> bool:
    """Whether the transport may still be running; an overdue one is killed.

    The launcher died between start and note when no process is named: the transport may run, so wait out
    its time-out.
    """
    note = read_note(directory, attempt_id)
    if note is None or note.pid is None:
        return not overdue
    if not sessions.leads(note.pid, note.start):
        return False
    return not overdue or not sessions.kill_session(note.pid, note.start)
