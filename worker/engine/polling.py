"""One poll: everything that is new in an inbox, taken into the ledger in one transaction, then its lanes woken."""

import functools
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from worker import delivery
from worker.bus.backoff import poll_delay
from worker.bus.errors import BusError, PageIncompleteError, UnauthorizedError
from worker.bus.page import Id
from worker.bus.source import Collected
from worker.bus.trust import GRACE_SECONDS
from worker.bus.wire import InboxMessage
from worker.classes import CLASSES
from worker.engine.identity import Identity
from worker.engine.inbox_view import BusClock, FirstLook, InboxMemory, InboxView
from worker.engine.inboxes import Inboxes
from worker.engine.slots import Alive, Slots, StoppingError, longest_ahead, request_gap
from worker.engine.turns import Turn, Turns
from worker.engine.wake_ups import WakeUps
from worker.errors import TokenError
from worker.fault_steps import step
from worker.ledger import history, intake
from worker.ledger.intake import Taken
from worker.ledger.lanes import Wake
from worker.ledger.leases import Inbox
from worker.ledger.port import Ledger, Tx
from worker.settings import AgentSettings, Settings
from worker.terminal import preamble

logger = logging.getLogger("bus_watch.poll")

FALLBACK_SECONDS = 5.0  # until the next poll when this one ended in a way that nobody foresaw
LONGEST_SECONDS = 3600.0
TAKE_IN_COUNT = 500  # messages that one transaction takes in: a flood must block no other writer for long
CLOCK_BEHIND_SECONDS = 60.0  # ids that a bus gave since its clock was set back may be so much older than its time now


@dataclass(slots=True, kw_only=True)
class Poller:
    """Polls inboxes, one a call."""

    settings: Settings
    db: Ledger
    identity: Identity
    inboxes: Inboxes
    wake_ups: WakeUps
    clock: Callable[[], float]
    rng: random.Random
    redact: Callable[[str], str]
    stopping: threading.Event
    began: float  # epoch seconds: when this worker did
    turns: Turns
    _memories: dict[str, InboxMemory] = field(default_factory=dict)
    _came: dict[str, float] = field(default_factory=dict)  # `began` for agents that were configured since

    def adopt(self, settings: Settings, changed: Iterable[str]) -> None:
        """From now on these settings; what is remembered of the inboxes that they change is found out anew."""
        now = self.clock()
        for agent in settings.agents:
            if self.settings.agent(agent.agent) is None:
                self._came[agent.agent] = now
        self.settings = settings
        for name in changed:
            self._memories.pop(name, None)
            self.turns.poll_now(name)

    def poll(
        self, name: str, *, rung: bool = False, asked: bool = False, alive: Alive = lambda _: None
    ) -> tuple[Taken | None, float]:
        """Poll one inbox. Returns what it brought (None: not our turn, or the bus failed) and the next due time.

        `rung`: the doorbell asks for it; `asked`: a person does, who waits for neither rhythm nor backoff. A bus that
        fails is written down and backed off from; it is never an exception.
        """
        agent = self.settings.agent(name)
        if agent is None or not agent.transports:
            return None, self.clock() + 3600.0
        turn = self.turns.of_a_person(agent) if asked else self.turns.of(agent, rung=rung)
        if not isinstance(turn, Turn):
            return None, turn
        gap = request_gap(agent)
        slots = Slots(
            book=functools.partial(self.turns.book, turn, gap),
            stopping=self.stopping,
            hurry=longest_ahead(agent) if rung or asked or turn.pace.is_new else 0.0,
            alive=alive,
            spare=min(longest_ahead(agent), gap),
        )
        try:
            taken = self._read(agent, turn, slots, rung=rung)
        except StoppingError:
            return None, self.clock()
        except (BusError, TokenError) as error:
            return None, self._failed(agent, turn, error)
        return taken, turn.pace.due()

    def _read(self, agent: AgentSettings, turn: Turn, slots: Slots, *, rung: bool) -> Taken:
        """Take in what is new; and look back at once where the bus rang for something that an ordinary poll misses."""
        name, began, pace = agent.agent, time.monotonic(), turn.pace
        memory = self._memories.setdefault(name, InboxMemory(BusClock(clock=self.clock)))
        look_back = memory.look_back
        quiet = pace.brought_at is None or not 0 <= self.clock() - pace.brought_at < GRACE_SECONDS
        first = turn.inbox.looked_from_ms is None
        whole = first or look_back.is_due(time.monotonic())
        taken, brought = self._read_on(agent, turn, slots, memory, first=first, whole=whole)
        if turn.inbox.failures and not whole:  # a bus that was down may have lost its data
            look_back.hurry(time.monotonic())
        if rung and not whole:
            look_back.rang(time.monotonic(), brought=taken.new > 0)
            if quiet and not taken.new and look_back.may_begin_at_once():
                taken, brought = self._read_on(agent, turn, slots, memory, first=False, whole=True)
        self.turns.trust.polled(name, began, brought=brought)
        wanted = self.clock() + max(agent.poll_interval, look_back.rung_in(time.monotonic()))
        pace.next_poll_at = min(pace.next_poll_at, wanted)
        return taken

    def _read_on(
        self, agent: AgentSettings, turn: Turn, slots: Slots, memory: InboxMemory, *, first: bool, whole: bool
    ) -> tuple[Taken, bool]:
        """Take in what is new, a page after the other while there is more; and whether any of it should have rung."""
        name = agent.agent
        if first:
            collected = self._first_look(agent, turn.inbox, memory, slots)
        else:
            collected = self._collect(agent, self._view(agent, memory, slots, whole=whole), slots)
            self._heed_bus_clock(turn, memory)
        size = collected.size
        brought = any(rings(name, message) for message in collected.messages)
        taken = self._take_in(agent, collected, turn, memory, slots)
        while collected.more and collected.messages:
            last = collected.messages[-1]
            rest = InboxView(
                db=self.db,
                agent=name,
                since=(last.ms, last.seq),
                expected=collected.count,
                memory=memory,
                alive=slots.alive,
            )
            collected = self._collect(agent, rest, slots)
            taken = taken.and_then(self._take_in(agent, collected, turn, memory, slots))
        if whole:
            memory.look_back.done(size, time.monotonic(), found=taken.new > 0)
        return taken, brought

    def _take_in(
        self, agent: AgentSettings, collected: Collected, turn: Turn, memory: InboxMemory, slots: Slots
    ) -> Taken:
        """Write down what a page brought, and only then tell the bus that we have it."""
        taken = self.take_in(agent, collected, turn, memory.bus_clock.ahead, slots.alive)
        self.inboxes.ack(agent, (*collected.shown_again, *collected.messages), slots.wait)
        return taken

    def _collect(self, agent: AgentSettings, view: InboxView, slots: Slots) -> Collected:
        collected = view.memory.without_said(self.inboxes.collect(agent, view, slots.wait))
        slots.alive(0.0)
        step("collected")
        return collected

    def _view(self, agent: AgentSettings, memory: InboxMemory, slots: Slots, *, whole: bool) -> InboxView:
        """What an ordinary poll asks for; or, `whole`, one that looks back."""
        name = agent.agent

        def look(db: Tx) -> tuple[Id, int]:
            if whole:
                since = memory.look_back.start(max(history.floor_of(db, name), history.looked_from(db, name) or 0))
            else:
                since = history.cursor(db, name, memory.bus_clock.now_ms())
            return since, history.known_after(db, name, since[0])

        since, expected = self.db.read(look)
        return InboxView(db=self.db, agent=name, since=since, expected=expected, memory=memory, alive=slots.alive)

    def _first_look(self, agent: AgentSettings, inbox: Inbox, memory: InboxMemory, slots: Slots) -> Collected:
        """See all that is on the bus, or where that is too much, all from the floor on; note what is history."""
        name = agent.agent
        view = FirstLook(
            db=self.db,
            agent=name,
            since=(0, 0),
            expected=0,
            memory=memory,
            alive=slots.alive,
            inbox=inbox,
            start_from=self.settings.start_from,
            began=self._came.get(name, self.began),
        )
        try:
            collected = self._collect(agent, view, slots)
        except PageIncompleteError:
            if view.floor <= 0:
                raise
            view.since = view.floor - 1, 0
            view.skipped.clear()
            collected = self._collect(agent, view, slots)
        floor, seen_from = view.found_floor(), view.since[0] if collected.count else None
        if seen_from is None:  # nothing tells yet whose time its ids are in: what comes from now on must be new in both
            floor = min(floor, intake.floor_ms(self.settings.start_from, min(self.clock(), view.began)))
        # An inbox on which nothing ever was is looked at like this every time.
        if view.skipped or (inbox.floor_ms, inbox.looked_from_ms) != (floor, seen_from):
            self.db.write(lambda tx: history.note_first_look(tx, name, floor, seen_from, view.skipped))
        return collected

    def _heed_bus_clock(self, turn: Turn, memory: InboxMemory) -> None:
        """A floor that the bus's clock has not come to yet would hide what comes now."""
        floor = int(memory.bus_clock.now_ms() - CLOCK_BEHIND_SECONDS * 1000)
        if turn.inbox.floor_ms > memory.bus_clock.now_ms() and self.db.write(
            lambda tx: history.lower_floor(tx, turn.agent, floor)
        ):
            logger.warning("%s: the bus's clock is behind the inbox's beginning, which is set back", turn.agent)
            memory.look_back.hurry(time.monotonic())

    def _failed(self, agent: AgentSettings, turn: Turn, error: BusError | TokenError) -> float:
        now, pace = self.clock(), turn.pace
        if self.settings.agent(agent.agent) != agent:
            return now  # it was asked with settings that are not in force any more, and says nothing about today's
        # A token that cannot be read is treated as one that the bus refuses: looked at again soon.
        cause = error if isinstance(error, BusError) else UnauthorizedError(str(error))
        delay = poll_delay(cause, pace.failures + 1, self.rng)
        pace.failed(now, delay)
        failures, why, known = pace.failures, self.redact(str(error)), turn.inbox
        # One that lasts is written down ever more rarely: the first, second, fourth, eighth time.
        if (
            not turn.leased
            or failures & (failures - 1) == 0
            or (known.error, known.error_code) != (why, error.code)
            or cause.retry_after is not None
        ):
            self.db.write(
                lambda tx: intake.poll_failed(tx, agent.agent, now, why, delay, code=error.code, failures=failures)
            )
        level = logging.WARNING if failures == 1 else logging.DEBUG
        logger.log(level, "%s: %s; next try in %.1f s", agent.agent, error, delay, extra={"agent": agent.agent})
        return now + delay

    def take_in(
        self,
        agent: AgentSettings,
        collected: Collected,
        turn: Turn | None = None,
        bus_ahead: float | None = None,
        alive: Alive = lambda _: None,
    ) -> Taken:
        """Write down what a page brought, oldest first, and wake the lanes that have something new."""

        def route(message: InboxMessage) -> tuple[str | None, list[str]]:
            today = self.settings.agent(agent.agent)
            if today is None or not today.transports:
                raise StoppingError  # it was taken out of the configuration meanwhile: its mail stays on the bus
            message_class = class_of(message)
            return message_class, [t.name for t in today.transports if delivery.routes(message_class, t.classes)]

        turn = turn or self.turns.of_a_person(agent)
        pace = turn.pace
        gaps = {"gap": self._gap(agent), "active_gap": min(agent.poll_interval, request_gap(agent))}
        if not collected.messages:
            pace.answered(self.clock(), brought=False, **gaps)
            if not turn.says_nothing_new(collected, bus_ahead):
                self.db.write(
                    lambda tx: self._answered(
                        tx, agent, turn, bus_ahead, malformed=len(collected.malformed), brought=False
                    )
                )
        taken = Taken(0, (), 0)
        for first in range(0, len(collected.messages), TAKE_IN_COUNT):
            some = collected.messages[first : first + TAKE_IN_COUNT]
            malformed = len(collected.malformed) if first == 0 else 0

            def operation(
                tx: Tx, some: Sequence[InboxMessage] = some, malformed: int = malformed
            ) -> tuple[Taken, list[Wake]]:
                now = self.clock()
                taken = intake.take_in(tx, agent.agent, some, route, now)
                history.lower_floor_above(tx, agent.agent, some)
                pace.answered(now, brought=taken.new > 0, **gaps)
                self._answered(tx, agent, turn, bus_ahead, malformed=malformed, brought=taken.new > 0)
                return taken, self.wake_ups.mark(tx, taken.lanes, only_new=True)

            found, wakes = self.db.write(operation)
            step("taken")
            self.wake_ups.send(wakes)
            step("woken")
            taken = taken.and_then(found)
            alive(0.0)
        fields = {"agent": agent.agent}
        if taken.new:
            logger.info("%s: %d new message(s)", agent.agent, taken.new, extra=fields)
        for reason in collected.malformed:
            logger.warning("%s: skipped an entry that is no message: %s", agent.agent, reason, extra=fields)
        return taken

    def _gap(self, agent: AgentSettings) -> float:
        """Seconds until the next poll while nothing happens: long where the doorbell is proven, and spread then.

        A little less than `broadcast_wait`, which is a promise: such polls wait for company (`worker.runtime.due`).
        """
        if not self.turns.trust.is_proven(agent.agent):
            return agent.poll_interval
        return max(agent.poll_interval, agent.broadcast_wait * self.rng.uniform(0.9, 0.96))

    def _answered(
        self,
        tx: Tx,
        agent: AgentSettings,
        turn: Turn,
        bus_ahead: float | None,
        *,
        malformed: int,
        brought: bool,
    ) -> None:
        """Write down that the bus answered, and what it said."""
        intake.poll_answered(
            tx,
            agent.agent,
            self.clock(),
            malformed=malformed,
            brought=brought,
            next_poll_at=turn.pace.next_poll_at,
            next_request_at=turn.pace.next_request_at,
            bus_ahead=bus_ahead,
        )


def rings(agent: str, message: InboxMessage) -> bool:
    """Whether a doorbell rings for this message: not for broadcasts, which lie in streams of nobody's."""
    return message.stream.endswith(f":agent:{agent}")


def class_of(message: InboxMessage) -> str | None:
    """What the message is for: the bus's field, else the class in its preamble. Only the class of that is believed."""
    if message.message_class in CLASSES:
        return message.message_class
    addressed = preamble.parse(message.text)
    return addressed.message_class if addressed else None
