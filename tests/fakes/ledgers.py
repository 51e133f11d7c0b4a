"""A ledger in memory, with just what collecting an inbox needs to know; and the first look at an inbox."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.bus.wire import InboxMessage
from worker.engine.inbox_view import BusClock, FirstLook, InboxMemory
from worker.ledger import leases
from worker.ledger.sqlite import SqliteLedger

OVERLAP_MS = 60_000


@dataclass
class MemoryLedger:
    """`floor`: ids at or below it count as known. `taken`: every message taken, in order."""

    floor: tuple[int, int] = (0, 0)
    taken: list[InboxMessage] = field(default_factory=list)
    keys: set[tuple[str, str]] = field(default_factory=set)
    newest: tuple[int, int] = (0, 0)
    bus_time: float | None = None

    def cursor(self) -> tuple[int, int]:
        return max(self.floor, (max(0, self.newest[0] - OVERLAP_MS), 0))

    def overlap(self) -> int:
        cursor = self.cursor()
        return sum((message.ms, message.seq) > cursor for message in self.taken)

    def begins(self, bus_time: float | None) -> None:
        self.bus_time = bus_time

    def known(self, messages: Sequence[InboxMessage]) -> set[tuple[str, str]]:
        return {
            message.key for message in messages if message.key in self.keys or (message.ms, message.seq) <= self.floor
        }

    def holds(self, messages: Sequence[InboxMessage]) -> set[tuple[str, str]]:
        return {message.key for message in messages if message.key in self.keys}

    def take(self, messages: Sequence[InboxMessage]) -> None:
        for message in messages:
            assert message.key not in self.keys, "taken twice"
            self.taken.append(message)
            self.keys.add(message.key)
            self.newest = max(self.newest, (message.ms, message.seq))


def first_look(db: SqliteLedger, agent: str, *, start_from: str | float = "all") -> FirstLook:
    """The first look of a worker that begins now, at a bus whose clock is ours."""
    look = FirstLook(
        db=db,
        agent=agent,
        since=(0, 0),
        expected=0,
        memory=InboxMemory(BusClock(clock=time.time)),
        alive=lambda _: None,
        inbox=db.read(lambda tx: leases.inbox_of(tx, agent, time.time())),
        start_from=start_from,
        began=time.time(),
    )
    look.begins(None)
    return look
