"""The sweep (docs/protocol.md#sweep): makes the queue agree with the ledger again, at start-up and every few seconds.

It settles claims whose owner is dead, wakes what the queue forgot, finishes what only lacks its finalizer, clears
away files; in a fleet it looks after the other hosts (`neighbours`). Each round does a bounded amount of work; whatever
it does twice is harmless.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from worker.delivery import Ending, longest_delay
from worker.engine.dispatch import ending_of
from worker.engine.endings import Endings
from worker.engine.hand_off import HandOffs, Report
from worker.engine.identity import Identity
from worker.engine.lane_lookup import LaneLookup
from worker.engine.late_receipts import LateReceipts
from worker.engine.neighbours import Neighbours
from worker.engine.wake_ups import WakeUps
from worker.fault_steps import step
from worker.ledger import disk, lanes, leases, upkeep
from worker.ledger.errors import LedgerBusyError
from worker.ledger.lanes import Candidate, Wake
from worker.ledger.port import Ledger, Row, Tx
from worker.ledger.upkeep import RunningAttempt
from worker.settings import TransportSettings
from worker.telemetry.observer import Observer
from worker.transports import recovery
from worker.transports.receipts import attempt_files, pooled_files, remove_files

logger = logging.getLogger("bus_watch.sweep")

OVERSLEPT_SECONDS = 30.0  # a task woken this long ago, and nothing running: the queue has lost it
SCHEDULE_GRACE_SECONDS = 2.0  # the scheduler looks four times a second; later than this it has forgotten
ORPHAN_FILE_SECONDS = 3600.0
FULL_BYTES = 1024 * 1024
LANES_AT_ONCE = 10  # woken in one transaction of a server, which others wait for


@dataclass(slots=True)
class Swept:
    """What one round did."""

    settled: int = 0
    running: int = 0
    woken: int = 0
    finished: int = 0
    files: int = 0


@dataclass(slots=True, kw_only=True)
class Sweeper:
    """Sweeps for one worker."""

    db: Ledger
    clock: Callable[[], float]
    redact: Callable[[str], str]
    identity: Identity
    lanes: LaneLookup
    hand_offs: HandOffs
    wake_ups: WakeUps
    endings: Endings
    observer: Observer
    on_folder_made: Callable[[], None]  # somebody had removed the folder of locks, notes and receipts
    keep_leases: Callable[[Tx, float], None]  # renews those of our inboxes
    tell: Callable[[], None]  # tells senders what became of their messages, and people what needs a hand
    neighbours: Neighbours
    late_receipts: LateReceipts = field(init=False)
    _noted_at: float = float("-inf")  # when it was last written down that we sweep (monotonic seconds)
    _looked_at: dict[str, float] = field(default_factory=dict)  # attempts in recovery, since when (monotonic seconds)

    def __post_init__(self) -> None:
        self.late_receipts = LateReceipts(
            db=self.db,
            clock=self.clock,
            identity=self.identity,
            wake_ups=self.wake_ups,
            inspect=self._inspect,
            is_answered_for=lambda attempt: not self._is_abandoned(attempt),
        )

    def sweep(self, *, first: bool = False, asked: bool = False) -> Swept:
        """One round. `first`: at start-up nothing that was woken before counts as awake.

        That it was made is written down where somebody `asked` for it, where it did something, and now and then.
        """
        done = Swept()
        everything = first or self.wake_ups.overlooked.is_set()
        self.wake_ups.overlooked.clear()
        try:
            if self.identity.keep_lock():
                self.on_folder_made()
            self.neighbours.beat()
            self._recover(done)
            self._bury_workers()
            self._finish(done)
            self.tell()
            self._wake(done, first=everything)
            self._clear_files(done)
            if first or asked or done.settled or done.woken or done.finished or self._is_late():
                self._note()
        except LedgerBusyError:  # others count on it that what has run for too long is over
            recovery.end_overdue(self.identity.files)
            if everything:
                self.wake_ups.overlooked.set()
            raise
        except Exception:
            if everything:  # what was owed is owed still
                self.wake_ups.overlooked.set()
            raise
        self.observer.swept()
        return done

    def _is_late(self) -> bool:
        """Whether it is time to write; or the disk is so full that only trying tells whether it takes it."""
        if time.monotonic() - self._noted_at >= leases.RENEW_SECONDS:
            return True
        try:
            return disk.free_bytes(self.identity.files) < FULL_BYTES
        except OSError:
            return True

    def _note(self) -> None:
        def operation(tx: Tx) -> None:
            now = self.clock()
            upkeep.note_sweep(tx, self.identity.worker, now)
            self.keep_leases(tx, now)

        self.db.write(operation)
        self._noted_at = time.monotonic()

    def _recover(self, done: Swept) -> None:
        """Settle attempts whose worker is dead, and our own that no thread holds any more.

        Those of other hosts have their receipts there: they settle them.
        """
        done.settled += self.late_receipts.round()
        running = self.db.read(upkeep.running_attempts)
        done.settled += self.neighbours.round(running)
        abandoned = [one for one in running if one.host == self.identity.host_name and self._is_abandoned(one)]
        self._looked_at = {a.attempt_id: self._looked_at.get(a.attempt_id, time.monotonic()) for a in abandoned}
        for attempt in abandoned:
            try:
                status = self._inspect(attempt)
            except OSError as error:  # a full disk: look again at the next sweep, and at the others now
                logger.warning("attempt %s cannot be looked at yet: %s", attempt.attempt_id, error)
                continue
            step("inspected")
            match status:
                case recovery.StillRunning():
                    done.running += 1
                case recovery.Void():
                    done.settled += self._end(attempt, Ending("void"))
                case recovery.Unknown():
                    done.settled += self._end(attempt, Ending("interrupted"))
                case recovery.Finished(outcome):
                    output = self.redact(outcome.tail.decode("utf-8", "replace"))
                    done.settled += self._end(attempt, ending_of(outcome), output)
            step("recovered")

    def _is_abandoned(self, attempt: RunningAttempt) -> bool:
        """Whether its worker is dead, or is this one and has no thread for it any more."""
        if attempt.worker == self.identity.worker:
            return attempt.attempt_id not in self.hand_offs
        return not self._lives(attempt.worker, attempt.started_at)

    def _lives(self, worker: str, since: float) -> bool:
        return self.identity.worker_lives(worker) or self.identity.may_live_unseen(worker, since)

    def _inspect(self, attempt: RunningAttempt) -> recovery.AttemptStatus:
        # Clocks jump: a time-out also counts from the first look, so that none is waited for in vain.
        looked = time.monotonic() - self._looked_at.setdefault(attempt.attempt_id, time.monotonic())
        return recovery.inspect(
            self.identity.files,
            attempt.attempt_id,
            same_boot=attempt.boot_id == self.identity.boot,
            folder_kept=not self.identity.has_lost(attempt.started_at),
            writer_alive=lambda: self.identity.launcher_lives(attempt.worker),
            started_at=min(attempt.started_at, self.clock() - looked),
            timeout=attempt.timeout,
            now=self.clock(),
        )

    def _end(self, attempt: RunningAttempt, ending: Ending, output: str = "") -> bool:
        transport = self.lanes.transport(attempt.agent, attempt.transport)
        if transport is None:  # its transport is gone from the settings: the defaults decide
            transport = TransportSettings(name=attempt.transport, command=("/gone",))
        logger.warning("recovered attempt %s of delivery %d: %s", attempt.attempt_id, attempt.delivery, ending.kind)
        return self.endings.end(Report(attempt.delivery, attempt.attempt_id, ending, output, transport)) is not None

    def _bury_workers(self) -> None:
        """Workers whose lock is free are gone; their lock files can go once none of their attempts needs settling."""
        busy = {attempt.worker for attempt in self.db.read(upkeep.running_attempts)}
        dead = [
            row["id"]
            for row in self.db.read(upkeep.unstopped_workers)
            if row["id"] != self.identity.worker and row["id"] not in busy and not self._is_there(row)
        ]
        if not dead:
            return

        def operation(tx: Tx) -> None:
            now = self.clock()
            for worker in dead:
                upkeep.note_stop(tx, worker, now)

        self.db.write(operation)
        for worker in dead:
            self.identity.lock_path(worker).unlink(missing_ok=True)
            if not self.identity.launcher_lives(worker):  # one that was killed has left its lock file behind
                self.identity.launcher_lock_path(worker).unlink(missing_ok=True)

    def _is_there(self, row: Row) -> bool:
        if row["host"] == self.identity.host_name:
            return self._lives(row["id"], row["started_at"])
        return bool(self.clock() - (row["seen_at"] or 0.0) <= self.lanes.settings.host_lost_after)

    def _finish(self, done: Swept) -> None:
        for message in self.db.read(upkeep.unfinished_messages):
            self.wake_ups.finalize(message)
            done.finished += 1

    def _wake(self, done: Swept, *, first: bool) -> None:
        """Enqueue due heads that nobody woke, and bring back times that a jumping clock put out of reach."""
        asleep, jumped = self.db.read(lambda db: self._forgotten_lanes(db, first=first))
        if not asleep and not jumped:
            return

        left = sorted(asleep | set(jumped))
        # A file has one writer, and each commit costs; in a server each lane is locked until the commit.
        at_once = LANES_AT_ONCE if self.identity.host is not None else len(left)
        for begin in range(0, len(left), at_once):
            some = left[begin : begin + at_once]
            wakes = self.db.write(lambda tx, some=some: self._wake_some(tx, some, jumped))  # type: ignore[misc]
            step("swept_wake")
            self.wake_ups.send(wakes)
            done.woken += len(wakes)

    def _wake_some(self, tx: Tx, ids: Sequence[int], jumped: Mapping[int, float]) -> list[Wake]:
        for lane in ids:
            if lane in jumped:
                upkeep.clamp_next_at(tx, lane, jumped[lane])
        return self.wake_ups.mark(tx, ids)

    def _forgotten_lanes(self, db: Tx, *, first: bool) -> tuple[set[int], dict[int, float]]:
        """Lanes whose next delivery is due though nobody is about to run it; and lanes with times out of reach."""
        now = self.clock()
        transports = {
            lane.id: transport
            for lane in lanes.pending(db, self.identity.host_name)
            if (transport := self.lanes.transport(lane.agent, lane.transport)) is not None
        }
        ordered = {lane: transport.ordered for lane, transport in transports.items()}
        found = lanes.candidates(db, ordered, now=now, host=self.identity.host_name)
        asleep = {lane for lane, one in found.items() if _is_asleep(one, now, first=first)}
        latest = {lane: now + longest_delay(transport.retry_policy) for lane, transport in transports.items()}
        jumped = {lane: latest[lane] for lane, at in lanes.furthest(db, transports).items() if at > latest[lane]}
        return asleep, jumped

    def _clear_files(self, done: Swept) -> None:
        """Remove the files of settled attempts.

        A void note stays until the launcher that could still come to its attempt is gone: it is what stops it.
        """
        for launcher, pooled in pooled_files(self.identity.files).items():
            if not self.identity.launcher_lives(launcher):  # it was killed
                for path in pooled:
                    path.unlink(missing_ok=True)
        found = attempt_files(self.identity.files)
        if not found:
            return
        ids = [attempt_id for attempt_id in found if attempt_id not in self.hand_offs][: upkeep.ROUND]
        for attempt_id, worker in self.db.read(lambda db: upkeep.settled(db, ids)).items():
            if worker is None:
                if not self._is_old(attempt_id):
                    continue
            elif self.identity.launcher_lives(worker):
                continue
            remove_files(self.identity.files, attempt_id)
            done.files += 1

    def _is_old(self, attempt_id: str) -> bool:
        """Files of an attempt that the ledger does not know: its claim never reached the disk."""
        try:
            newest = max(path.stat().st_mtime for path in self.identity.files.glob(f"{attempt_id}.*"))
        except (OSError, ValueError):
            return False
        return self.clock() - self.identity.ahead() - newest > ORPHAN_FILE_SECONDS


def _is_asleep(found: Candidate, now: float, *, first: bool) -> bool:
    if found.next_at is not None and found.next_at > now - SCHEDULE_GRACE_SECONDS:
        return first and found.next_at <= now
    if first or found.woken_at is None or found.woken_at > now:
        return True
    if found.next_at is not None and found.next_at > found.woken_at:
        return True  # it was scheduled for then, and the schedule did not fire
    return now - found.woken_at > OVERSLEPT_SECONDS
