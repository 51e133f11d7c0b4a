"""What the four tasks share: settings, ledger, launcher, bus client, and who we are."""

import logging
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from worker import __version__
from worker.bus.client import BusClient
from worker.bus.endpoints import endpoint_of
from worker.bus.requests import Endpoint
from worker.credentials import TokenSource
from worker.engine.hand_off import HandOff
from worker.errors import BusWatchError
from worker.fault_steps import step
from worker.ledger import claims, intake, lanes, upkeep
from worker.ledger.claims import LaneSettings
from worker.ledger.database import Database
from worker.ledger.errors import LedgerBusyError, LedgerError, LedgerFullError, from_os
from worker.ledger.lanes import Lane, Wake
from worker.settings import AgentSettings, Settings, TransportSettings
from worker.telemetry.observer import Observer
from worker.transports.client import LauncherClient, RunEnded
from worker.transports.locks import boot_id, hold_lock

logger = logging.getLogger("bus_watch.engine")

START_AGAIN_SECONDS = 5.0


class Wakeups(Protocol):
    """How work is handed on: the huey tasks in the consumer, a plain list in `run --once`."""

    def deliver(self, delivery: int, at: float | None) -> None:
        """Run a delivery now, or at `at` (epoch seconds)."""
        ...

    def finalize(self, message: int) -> None:
        """Do what is owed once a message is over."""
        ...

    def may_go_on(self, seconds: float) -> bool:
        """Whether a thread that has been busy with a lane for so long may claim the lane's next head itself."""
        ...


class StoppingError(Exception):
    """The worker is stopping: what waits for a turn at the bus goes home."""


@dataclass(slots=True)
class Engine:
    """One worker process at work on one ledger."""

    settings: Settings
    db: Database
    wake: Wakeups
    bus: BusClient
    go_on: Callable[["Engine", Sequence[RunEnded]], None]  # what to do with the attempts that have ended
    kind: str = "consumer"
    clock: Callable[[], float] = time.time
    redact: Callable[[str], str] = str
    observer: Observer = field(default_factory=Observer)
    rng: random.Random = field(default_factory=random.Random)  # noqa: S311 - jitter, not secrets
    stopping: threading.Event = field(default_factory=threading.Event)
    worker: str = field(default_factory=lambda: os.urandom(16).hex())
    boot: str = field(default_factory=boot_id)
    launcher: LauncherClient = field(init=False)
    files: Path = field(init=False)  # the folder of notes, receipts and locks
    held: dict[str, HandOff] = field(default_factory=dict)  # attempts that a thread of this process answers for
    overlooked: threading.Event = field(default_factory=threading.Event)  # a wake-up was lost: the next sweep wakes all
    looked_at: dict[str, float] = field(default_factory=dict)  # attempts in recovery, since when (monotonic seconds)
    _lock: int | None = None
    _tokens: dict[str, TokenSource] = field(default_factory=dict)
    _lane_settings: dict[tuple[str, str], LaneSettings | None] = field(default_factory=dict)  # they never change
    _lanes: dict[int, Lane] = field(default_factory=dict)  # nor do these

    def __post_init__(self) -> None:
        self.files = self.settings.files_dir
        self.launcher = LauncherClient(
            self.files, self.worker, lambda told: self.go_on(self, told), on_death=self._launcher_died
        )

    def _launcher_died(self) -> None:
        self.stopping.set()
        self.observer.launcher_died()

    def start(self) -> None:
        """Show that we live (lock, worker row), start the launcher, make the rows that the settings ask for.

        Raises LedgerError where the folder or the ledger cannot be written, LauncherGone.
        """
        try:
            self.files.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = hold_lock(self.lock_path(self.worker))
        except OSError as error:
            raise from_os(error, self.files) from error
        self._register_when_possible()
        step("registered")
        self.launcher.start()
        step("started")

    def _register_when_possible(self) -> None:
        """A full disk or a locked ledger passes: wait for that here, instead of ending and being started again."""
        while True:
            try:
                self.db.write(self._register)
            except (LedgerFullError, LedgerBusyError) as error:
                logger.error("the worker cannot start yet: %s", error)  # noqa: TRY400 - our sentence says it all
                if self.stopping.wait(START_AGAIN_SECONDS):
                    raise
            else:
                return

    def _register(self, tx: sqlite3.Connection) -> None:
        now = self.clock()
        upkeep.register_worker(
            tx, self.worker, pid=os.getpid(), boot_id=self.boot, version=__version__, kind=self.kind, now=now
        )
        for agent in self.settings.agents:
            intake.ensure_inbox(tx, agent.agent, intake.floor_ms(self.settings.start_from, now))
            for transport in agent.transports:
                intake.ensure_lane(tx, agent.agent, transport.name)

    def stop(self) -> None:
        """Let go: running transports go on under the launcher, which leaves their receipts."""
        self.stopping.set()
        self.launcher.close()
        self.bus.close()
        try:
            self.db.write(lambda tx: upkeep.note_stop(tx, self.worker, self.clock()))
        except LedgerError as error:  # the next sweep of anybody finds the lock free, and writes it down
            logger.warning("the stop is not written down: %s", error)
        finally:
            self.db.close()
            if self._lock is not None:
                os.close(self._lock)
                self.lock_path(self.worker).unlink(missing_ok=True)

    def note_health(self, health: str) -> bool:
        """Write down what the watchdog finds; false where the ledger cannot be written, which `status` sees itself."""
        try:
            self.db.write(lambda tx: upkeep.note_health(tx, self.worker, health))
        except BusWatchError as error:
            logger.warning("the worker's health could not be written down: %s", error)
            return False
        return True

    def new_attempt(self, hand_off: HandOff) -> str:
        """An id for an attempt; from now on the sweep of this process does not take it for abandoned."""
        attempt_id = claims.new_attempt_id(self.clock())
        hand_off.attempts.add(attempt_id)
        self.held[attempt_id] = hand_off
        return attempt_id

    def drop(self, hand_off: HandOff, attempt_id: str) -> None:
        """This attempt is settled."""
        hand_off.attempts.discard(attempt_id)
        self.held.pop(attempt_id, None)

    def let_go(self, hand_off: HandOff) -> None:
        """The hand-off is over: whatever is not settled now is the sweep's."""
        for attempt_id in hand_off.attempts:
            self.held.pop(attempt_id, None)

    def lock_path(self, worker: str) -> Path:
        """The lock file that proves a worker's life."""
        return self.files / f"{worker}.lock"

    def endpoint(self, agent: AgentSettings) -> Endpoint:
        """An agent's inbox, as the bus client wants it."""
        return endpoint_of(agent, self._token_source(agent).read)

    def _token_source(self, agent: AgentSettings) -> TokenSource:
        """One for the life of the process: it reads its file again only when that has changed."""
        return self._tokens.setdefault(agent.agent, agent.token_source(self.settings.config_path))

    def lane_settings(self, agent: str, transport: str) -> LaneSettings | None:
        """What a claim must know of a lane's settings; None for an orphaned lane."""
        lane = agent, transport
        if lane not in self._lane_settings:
            found = self.settings.transport(*lane)
            self._lane_settings[lane] = lane_settings_of(found) if found else None
        return self._lane_settings[lane]

    def wake_lanes(self, tx: sqlite3.Connection, ids: Iterable[int], *, only_new: bool = False) -> list[Wake]:
        """Mark what each lane has to do next; hand the result to `hand_on` once the transaction is done."""
        wakes = []
        for number in ids:
            lane = self._lanes.get(number) or lanes.find(tx, number)
            if lane is None:
                continue
            self._lanes[number] = lane
            transport = self.settings.transport(lane.agent, lane.transport)
            if transport is None:
                continue
            wake = lanes.next_wake(tx, number, ordered=transport.ordered, now=self.clock(), only_new=only_new)
            if wake is not None:
                wakes.append(wake)
        return wakes

    def hand_on(self, wakes: Iterable[Wake]) -> None:
        """Enqueue or schedule; what the queue does not take (its disk is full) is brought back by the next sweep."""
        for wake in wakes:
            try:
                self.wake.deliver(wake.delivery, wake.at)
            except (sqlite3.Error, OSError) as error:
                self._not_handed_on(error)

    def finalize_later(self, message: int) -> None:
        """Enqueue a finalizer; the sweep does what one that is lost here owed."""
        try:
            self.wake.finalize(message)
        except (sqlite3.Error, OSError) as error:
            self._not_handed_on(error)

    def _not_handed_on(self, error: Exception) -> None:
        logger.warning("the queue took no wake-up (%s); the next sweep brings it back", error)
        self.overlooked.set()


def lane_settings_of(transport: TransportSettings) -> LaneSettings:
    """The part of a transport's settings that a claim depends on."""
    return LaneSettings(
        ordered=transport.ordered,
        timeout=transport.timeout,
        max_wakes_per_minute=transport.max_wakes_per_minute,
        max_wakes_per_source=transport.max_wakes_per_source,
        expires_after=transport.expires_after,
    )
