"""What the bus client may ask about an inbox while it reads a page, and what it tells on the way."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from worker.bus.page import Id
from worker.bus.source import Collected
from worker.bus.wire import InboxMessage
from worker.engine.look_back import LookBack
from worker.engine.slots import Alive
from worker.ledger import history, intake
from worker.ledger.leases import Inbox
from worker.ledger.port import Ledger

MOST_SKIPPED = 100_000
AGREE_SECONDS = 2.0  # a Date has whole seconds, rounded down: clocks that differ by less are taken for one


@dataclass(slots=True, kw_only=True)
class BusClock:
    """What time it is on the bus, as far as its last answer told; where it did not, it is ours."""

    clock: Callable[[], float]
    ahead: float | None = None  # seconds; None: it does not say

    def says(self, bus_time: float | None) -> None:
        """An answer was made at this time."""
        if bus_time is not None:
            ahead = bus_time - self.clock()
            self.ahead = 0.0 if -AGREE_SECONDS <= ahead <= 1.0 else ahead

    def now(self) -> float:
        """Epoch seconds."""
        return self.clock() + (self.ahead or 0.0)

    def now_ms(self) -> int:
        """Milliseconds, as in ids."""
        return int(self.now() * 1000)


@dataclass(slots=True)
class InboxMemory:
    """What this process remembers of an inbox from one poll to the next."""

    bus_clock: BusClock
    look_back: LookBack = field(default_factory=LookBack)
    skipped: set[int] = field(default_factory=set)  # the marks of entries that are no messages, and were said to be

    def without_said(self, collected: Collected) -> Collected:
        """Without the entries that an earlier poll skipped already: pages bring the same ones again."""
        if not collected.marks:
            return collected
        fresh = dict(zip(collected.marks, collected.malformed, strict=True))
        new = [mark for mark in fresh if mark not in self.skipped]
        if len(self.skipped) > MOST_SKIPPED:
            self.skipped.clear()
        self.skipped.update(new)
        return replace(collected, malformed=tuple(fresh[mark] for mark in new), marks=tuple(new))


@dataclass(slots=True, kw_only=True)
class InboxView:
    """One poll's, from the id `since` on, where about `expected` known messages lie.

    `alive` is told whenever a part of a page has been read: a long one on a slow machine is no poll that hangs.
    """

    db: Ledger
    agent: str
    since: Id
    expected: int
    memory: InboxMemory
    alive: Alive

    def cursor(self) -> Id:
        """See `worker.bus.source.KnownInbox`."""
        return self.since

    def overlap(self) -> int:
        """How many known messages lie after the cursor."""
        return self.expected

    def begins(self, bus_time: float | None) -> None:
        """An answer begins."""
        self.memory.bus_clock.says(bus_time)
        if bus_time is not None:
            self.memory.look_back.bus_says(bus_time, time.monotonic())

    def known(self, messages: Sequence[InboxMessage]) -> set[tuple[str, str]]:
        """The (stream, message_id) of those that are known."""
        self.alive(0.0)
        return self.db.read(lambda db: history.known(db, self.agent, messages))

    def holds(self, messages: Sequence[InboxMessage]) -> set[tuple[str, str]]:
        """The (stream, message_id) of those that are in the ledger."""
        return self.db.read(lambda db: history.held_here(db, self.agent, messages))


@dataclass(slots=True, kw_only=True)
class FirstLook(InboxView):
    """The first look at an `inbox`: what lies below its floor is history, and remembered as that.

    `start_from` is the configuration's, `began` when this process began (epoch seconds by our clock): for `now`,
    what came since then is no history.
    """

    inbox: Inbox
    start_from: str | float
    began: float
    floor: int = history.NOT_YET
    skipped: set[tuple[str, int, int]] = field(default_factory=set)

    def begins(self, bus_time: float | None) -> None:
        """An answer begins: now it is known what time it is on the bus, and so where the inbox begins."""
        super(FirstLook, self).begins(bus_time)  # slots make a new class: a bare `super()` would mean the old one
        self.found_floor()

    def found_floor(self) -> int:
        """Where the inbox begins, in milliseconds; by our clock, where no answer has told what the bus's says."""
        if self.floor == history.NOT_YET:
            clock = self.memory.bus_clock
            wanted = intake.floor_ms(self.start_from, clock.now() - max(0.0, clock.clock() - self.began))
            self.floor = self.inbox.first_floor(wanted, clock.now_ms())
        return self.floor

    def known(self, messages: Sequence[InboxMessage]) -> set[tuple[str, str]]:
        """Those that are known already, and history."""
        old = [message for message in messages if message.ms < self.floor]
        self.skipped.update((message.stream, message.ms, message.seq) for message in old)
        return {message.key for message in old} | super(FirstLook, self).known(messages)
