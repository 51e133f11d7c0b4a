"""The sweep: makes the queue agree with the ledger again, at start-up and every few seconds.

It settles claims whose owner is dead, wakes what the queue forgot, finishes what only lacks its finalizer, clears
away files and old rows. Each round does a bounded amount of work; whatever it does twice is harmless.
"""

import logging
import sqlite3
import time
from dataclasses import dataclass

from worker.delivery import Ending, longest_delay
from worker.engine.context import Engine
from worker.engine.dispatch import ending_of
from worker.engine.endings import settle
from worker.engine.hand_off import Report
from worker.fault_steps import step
from worker.ledger import lanes, upkeep
from worker.ledger.lanes import Candidate, Wake
from worker.ledger.upkeep import RunningAttempt
from worker.settings import TransportSettings
from worker.transports import recovery
from worker.transports.locks import flock_is_free
from worker.transports.receipts import attempt_files, pooled_files, remove_files

logger = logging.getLogger("bus_watch.sweep")

OVERSLEPT_SECONDS = 30.0  # a task woken this long ago, and nothing running: the queue has lost it
SCHEDULE_GRACE_SECONDS = 2.0  # the scheduler looks four times a second; later than this it has forgotten
WORKER_ROWS_SECONDS = 7 * 86400.0
ORPHAN_FILE_SECONDS = 3600.0


@dataclass(slots=True)
class Swept:
    """What one round did."""

    settled: int = 0
    running: int = 0
    woken: int = 0
    finished: int = 0
    files: int = 0
    forgotten: int = 0
    more: bool = False


def sweep(engine: Engine, *, first: bool = False) -> Swept:
    """One round. `first`: at start-up nothing that was woken before counts as awake."""
    done = Swept()
    everything = first or engine.overlooked.is_set()
    engine.overlooked.clear()
    try:
        _recover(engine, done)
        _bury_workers(engine)
        _finish(engine, done)
        _wake(engine, done, first=everything)
        _clear_files(engine, done)
        engine.db.write(lambda tx: upkeep.note_sweep(tx, engine.worker, engine.clock()))
    except Exception:
        if everything:  # what was owed is owed still
            engine.overlooked.set()
        raise
    engine.observer.swept()
    return done


def _recover(engine: Engine, done: Swept) -> None:
    """Settle attempts whose worker is dead, and our own that no thread holds any more."""
    abandoned = [attempt for attempt in engine.db.read(upkeep.running_attempts) if _is_abandoned(engine, attempt)]
    engine.looked_at = {a.attempt_id: engine.looked_at.get(a.attempt_id, time.monotonic()) for a in abandoned}
    for attempt in abandoned:
        try:
            status = _inspect(engine, attempt)
        except OSError as error:  # a full disk: look again at the next sweep, and at the others now
            logger.warning("attempt %s cannot be looked at yet: %s", attempt.attempt_id, error)
            continue
        step("inspected")
        match status:
            case recovery.StillRunning():
                done.running += 1
            case recovery.Void():
                done.settled += _settle(engine, attempt, Ending("void"))
            case recovery.Unknown():
                done.settled += _settle(engine, attempt, Ending("interrupted"))
            case recovery.Finished(outcome):
                output = engine.redact(outcome.tail.decode("utf-8", "replace"))
                done.settled += _settle(engine, attempt, ending_of(outcome), output)
        step("recovered")


def _is_abandoned(engine: Engine, attempt: RunningAttempt) -> bool:
    """Whether its worker is dead, or is this one and has no thread for it any more."""
    if attempt.worker == engine.worker:
        return attempt.attempt_id not in engine.held
    return flock_is_free(engine.lock_path(attempt.worker))


def _inspect(engine: Engine, attempt: RunningAttempt) -> recovery.AttemptStatus:
    # Clocks jump: a time-out also counts from the first look, so that none is waited for in vain.
    looked = time.monotonic() - engine.looked_at[attempt.attempt_id]
    return recovery.inspect(
        engine.files,
        attempt.attempt_id,
        same_boot=attempt.boot_id == engine.boot,
        writer_alive=lambda: _launcher_lives(engine, attempt.worker),
        started_at=min(attempt.started_at, engine.clock() - looked),
        timeout=attempt.timeout,
        now=engine.clock(),
    )


def _launcher_lives(engine: Engine, worker: str) -> bool:
    return not flock_is_free(engine.files / f"{worker}.launcher")


def _settle(engine: Engine, attempt: RunningAttempt, ending: Ending, output: str = "") -> bool:
    transport = engine.settings.transport(attempt.agent, attempt.transport)
    if transport is None:  # its transport is gone from the settings: the defaults decide
        transport = TransportSettings(name=attempt.transport, command=("/gone",))
    logger.warning("recovered attempt %s of delivery %d: %s", attempt.attempt_id, attempt.delivery, ending.kind)
    return settle(engine, Report(attempt.delivery, attempt.attempt_id, ending, output, transport)) is not None


def _bury_workers(engine: Engine) -> None:
    """Workers whose lock is free are gone; their lock files can go once none of their attempts needs settling."""
    busy = {attempt.worker for attempt in engine.db.read(upkeep.running_attempts)}
    dead = [
        row["id"]
        for row in engine.db.read(upkeep.unstopped_workers)
        if row["id"] != engine.worker and row["id"] not in busy and flock_is_free(engine.lock_path(row["id"]))
    ]
    if not dead:
        return

    def operation(tx: sqlite3.Connection) -> None:
        now = engine.clock()
        for worker in dead:
            upkeep.note_stop(tx, worker, now)

    engine.db.write(operation)
    for worker in dead:
        engine.lock_path(worker).unlink(missing_ok=True)
        if not _launcher_lives(engine, worker):  # one that was killed has left its lock file behind
            (engine.files / f"{worker}.launcher").unlink(missing_ok=True)


def _finish(engine: Engine, done: Swept) -> None:
    for message in engine.db.read(upkeep.unfinished_messages):
        engine.finalize_later(message)
        done.finished += 1


def _wake(engine: Engine, done: Swept, *, first: bool) -> None:
    """Enqueue due heads that nobody woke, and bring back times that a jumping clock put out of reach."""
    asleep, jumped = engine.db.read(lambda db: _forgotten_lanes(engine, db, first=first))
    if not asleep and not jumped:
        return

    def operation(tx: sqlite3.Connection) -> list[Wake]:
        for lane, latest in jumped.items():
            upkeep.clamp_next_at(tx, lane, latest)
        return engine.wake_lanes(tx, asleep | set(jumped))

    wakes = engine.db.write(operation)
    step("swept_wake")
    engine.hand_on(wakes)
    done.woken += len(wakes)


def _forgotten_lanes(engine: Engine, db: sqlite3.Connection, *, first: bool) -> tuple[set[int], dict[int, float]]:
    """Lanes whose next delivery is due though nobody is about to run it; and lanes with times out of reach."""
    now = engine.clock()
    asleep: set[int] = set()
    jumped: dict[int, float] = {}
    for lane in lanes.every(db):
        transport = engine.settings.transport(lane.agent, lane.transport)
        if transport is None:
            continue
        latest = now + longest_delay(transport.retry_policy)
        if upkeep.is_out_of_reach(db, lane.id, latest):
            jumped[lane.id] = latest
        found = lanes.candidate(db, lane.id, ordered=transport.ordered, now=now)
        if found is not None and _is_asleep(found, now, first=first):
            asleep.add(lane.id)
    return asleep, jumped


def _is_asleep(found: Candidate, now: float, *, first: bool) -> bool:
    if found.next_at is not None and found.next_at > now - SCHEDULE_GRACE_SECONDS:
        return first and found.next_at <= now
    if first or found.woken_at is None or found.woken_at > now:
        return True
    if found.next_at is not None and found.next_at > found.woken_at:
        return True  # it was scheduled for then, and the schedule did not fire
    return now - found.woken_at > OVERSLEPT_SECONDS


def _clear_files(engine: Engine, done: Swept) -> None:
    """Remove the files of settled attempts.

    A void note stays until the launcher that could still come to its attempt is gone: it is what stops it.
    """
    for launcher, pooled in pooled_files(engine.files).items():
        if not _launcher_lives(engine, launcher):  # it was killed
            for path in pooled:
                path.unlink(missing_ok=True)
    found = attempt_files(engine.files)
    if not found:
        return
    ids = [attempt_id for attempt_id in found if attempt_id not in engine.held][: upkeep.ROUND]
    for attempt_id, worker in engine.db.read(lambda db: upkeep.settled(db, ids)).items():
        if worker is None:
            if not _is_old(engine, attempt_id):
                continue
        elif _launcher_lives(engine, worker):
            continue
        remove_files(engine.files, attempt_id)
        done.files += 1


def _is_old(engine: Engine, attempt_id: str) -> bool:
    """Files of an attempt that the ledger does not know: its claim never reached the disk."""
    try:
        newest = max(path.stat().st_mtime for path in engine.files.glob(f"{attempt_id}.*"))
    except (OSError, ValueError):
        return False
    return engine.clock() - newest > ORPHAN_FILE_SECONDS


def retain(engine: Engine) -> Swept:
    """Clear the text of old delivered messages, then forget the oldest ones; give freed pages back to the disk.

    A bounded number of rows a round; `Swept.more` says that the next round has something to do.
    """
    done = Swept()
    now = engine.clock()
    settings = engine.settings
    clear_after = min(settings.clear_text_after, settings.forget_after)  # what is forgotten is cleared first
    cleared = engine.db.write(lambda tx: upkeep.clear_text(tx, now - clear_after))
    done.forgotten = engine.db.write(lambda tx: upkeep.forget_messages(tx, now - settings.forget_after))
    engine.db.write(lambda tx: upkeep.forget_workers(tx, now - WORKER_ROWS_SECONDS))
    pages = engine.db.write(upkeep.return_pages)
    done.more = upkeep.ROUND in {cleared, done.forgotten} or pages > 0
    return done
