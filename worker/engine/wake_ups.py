"""How work is handed on: the ledger marks what a lane has to do next, then the queue is told."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from worker.engine.lane_lookup import LaneLookup
from worker.ledger import lanes
from worker.ledger.lanes import Wake
from worker.ledger.port import Tx
from worker.ledger.settling import Settled

logger = logging.getLogger("bus_watch.engine")


class Queue(Protocol):
    """Who is told: the huey tasks in the consumer, a plain list in `run --once`."""

    def deliver(self, delivery: int, at: float | None) -> None:
        """Run a delivery now, or at `at` (epoch seconds)."""
        ...

    def finalize(self, message: int) -> None:
        """Do what is owed once a message is over."""
        ...

    def may_claim_next(self, seconds: float, after: Settled) -> bool:
        """Whether a thread that has been busy with a lane for so long may claim the lane's next head itself.

        `after`: how it has just settled the one before.
        """
        ...


@dataclass(slots=True)
class WakeUps:
    """The queue, as the tasks use it: what it does not take (its disk is full) is brought back by the next sweep."""

    queue: Queue
    lanes: LaneLookup
    clock: Callable[[], float]
    host: str = ""  # in a fleet: ours
    aside: Queue | None = None  # the alerts' own, where they have one: a channel that hangs must not hold messages up
    overlooked: threading.Event = field(default_factory=threading.Event)  # one was lost: the next sweep wakes all

    def mark(self, tx: Tx, ids: Iterable[int], *, only_new: bool = False) -> list[Wake]:
        """Mark what each lane has to do next; `send` the result once the transaction is done."""
        transports = ((lane, self.lanes.transport_of(tx, lane)) for lane in ids)
        ordered = {lane: transport.ordered for lane, transport in transports if transport is not None}
        return lanes.next_wakes(tx, ordered, now=self.clock(), only_new=only_new, host=self.host)

    def send(self, wakes: Iterable[Wake]) -> None:
        """Enqueue or schedule."""
        for wake in wakes:
            try:
                queue = self.aside if self.aside and self.lanes.is_of_alerts(wake.lane) else self.queue
                queue.deliver(wake.delivery, wake.at)
            except (sqlite3.Error, OSError) as error:
                self._lost(error)

    def finalize(self, message: int) -> None:
        """Enqueue a finalizer; the sweep does what one that is lost here owed."""
        try:
            self.queue.finalize(message)
        except (sqlite3.Error, OSError) as error:
            self._lost(error)

    def _lost(self, error: Exception) -> None:
        if not self.overlooked.is_set():  # once, not for each
            logger.warning("the queue took no wake-up (%s); the next sweep brings it back", error)
        self.overlooked.set()
