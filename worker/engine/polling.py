"""One poll: everything that is new in an inbox, taken into the ledger in one transaction, then its lanes woken."""

import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from worker import delivery
from worker.bus.backoff import poll_delay
from worker.bus.client import Collected
from worker.bus.errors import BusError, PageIncompleteError, UnauthorizedError
from worker.bus.page import Id
from worker.bus.wire import InboxMessage
from worker.classes import CLASSES
from worker.engine.inbox_view import BusClock, FirstLook, InboxMemory, InboxView
from worker.engine.inboxes import Inboxes
from worker.engine.slots import Alive, Slots, StoppingError, request_gap, slots_ahead
from worker.engine.wake_ups import WakeUps
from worker.errors import TokenError
from worker.fault_steps import step
from worker.ledger import history, intake
from worker.ledger.database import Database
from worker.ledger.intake import Rhythm, Taken
from worker.ledger.lanes import Wake
from worker.settings import AgentSettings, Settings
from worker.terminal import preamble

logger = logging.getLogger("bus_watch.poll")

ACTIVE_SECONDS = 15.0  # after a message came, poll as fast as the budget allows for this long
FALLBACK_SECONDS = 5.0  # until the next poll when this one ended in a way that nobody foresaw
LONGEST_SECONDS = 3600.0
TAKE_IN_COUNT = 500  # messages that one transaction takes in: a flood must block no other writer for long
CLOCK_BEHIND_SECONDS = 60.0  # ids that a bus gave since its clock was set back may be so much older than its time now


@dataclass(slots=True, kw_only=True)
class Poller:
    """Polls inboxes, one a call."""

    settings: Settings
    db: Database
    inboxes: Inboxes
    wake_ups: WakeUps
    clock: Callable[[], float]
    rng: random.Random
    redact: Callable[[str], str]
    stopping: threading.Event
    began: float  # epoch seconds: when this worker did
    _memories: dict[str, InboxMemory] = field(default_factory=dict)
    _came: dict[str, float] = field(default_factory=dict)  # the same for agents that were configured since

    def adopt(self, settings: Settings, changed: Iterable[str]) -> None:
        """From now on these settings; what is remembered of the inboxes that they change is found out anew."""
        now = self.clock()
        for agent in settings.agents:
            if self.settings.agent(agent.agent) is None:
                self._came[agent.agent] = now
        self.settings = settings
        for name in changed:
            self._memories.pop(name, None)

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
        interval = agent.poll_interval
        ahead = slots_ahead(agent) * request_gap(agent) if rung or asked else 0.0
        slots = Slots(self.db, self.clock, self.stopping, agent, ahead, alive)

        def begin(tx: sqlite3.Connection) -> float | None:
            due = intake.begin_poll(tx, name, self.clock(), interval, rung=rung, asked=asked)
            if due is None:
                slots.booked = slots.book(tx)  # the first request's, in the same commit
            return due

        due = self.db.write(begin)
        if due is not None:
            return None, due
        try:
            taken = self._read(agent, slots, rung=rung)
        except StoppingError:
            return None, self.clock()
        except (BusError, TokenError) as error:
            return None, self._failed(agent, error)
        return taken, self.db.read(lambda db: intake.next_poll_at(db, name, self.clock()))

    def _read(self, agent: AgentSettings, slots: Slots, *, rung: bool) -> Taken:
        """Take in what is new, a page after the other while there is more."""
        name = agent.agent
        memory = self._memories.setdefault(name, InboxMemory(BusClock(clock=self.clock)))
        looked_from = self.db.read(lambda db: history.looked_from(db, name))
        whole = looked_from is None or memory.look_back.is_due(time.monotonic())
        if looked_from is None:
            collected = self._first_look(agent, memory, slots)
        else:
            collected = self._collect(agent, self._view(agent, memory, whole=whole), slots)
            self._heed_bus_clock(name, memory)
        size = collected.size
        taken = self.take_in(agent, collected, memory.bus_clock.ahead, slots.alive)
        while collected.more and collected.messages:
            last = collected.messages[-1]
            rest = InboxView(db=self.db, agent=name, since=(last.ms, last.seq), expected=collected.count, memory=memory)
            collected = self._collect(agent, rest, slots)
            taken = taken.and_then(self.take_in(agent, collected, memory.bus_clock.ahead, slots.alive))
        if whole:
            memory.look_back.done(size, time.monotonic())
        elif rung and not taken.new:
            memory.look_back.hurry(time.monotonic())
        return taken

    def _collect(self, agent: AgentSettings, view: InboxView, slots: Slots) -> Collected:
        collected = self.inboxes.collect(agent, view, slots.wait)
        slots.alive(0.0)
        step("collected")
        return collected

    def _view(self, agent: AgentSettings, memory: InboxMemory, *, whole: bool) -> InboxView:
        """What an ordinary poll asks for; or, `whole`, one that looks back."""
        name = agent.agent

        def look(db: sqlite3.Connection) -> tuple[Id, int]:
            if whole:
                since = memory.look_back.start(max(history.floor_of(db, name), history.looked_from(db, name) or 0))
            else:
                since = history.cursor(db, name, memory.bus_clock.now_ms())
            return since, history.known_after(db, name, since[0])

        since, expected = self.db.read(look)
        return InboxView(db=self.db, agent=name, since=since, expected=expected, memory=memory)

    def _first_look(self, agent: AgentSettings, memory: InboxMemory, slots: Slots) -> Collected:
        """See all that is on the bus, or where that is too much, all from the floor on; note what is history."""
        name = agent.agent
        view = FirstLook(
            db=self.db,
            agent=name,
            since=(0, 0),
            expected=0,
            memory=memory,
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
        self.db.write(lambda tx: history.note_first_look(tx, name, floor, seen_from, view.skipped))
        return collected

    def _heed_bus_clock(self, name: str, memory: InboxMemory) -> None:
        """A floor that the bus's clock has not come to yet would hide what comes now."""
        floor = int(memory.bus_clock.now_ms() - CLOCK_BEHIND_SECONDS * 1000)
        if self.db.read(lambda db: history.floor_of(db, name)) > memory.bus_clock.now_ms() and self.db.write(
            lambda tx: history.lower_floor(tx, name, floor)
        ):
            logger.warning("%s: the bus's clock is behind the inbox's beginning, which is set back", name)
            memory.look_back.hurry(time.monotonic())

    def _failed(self, agent: AgentSettings, error: BusError | TokenError) -> float:
        now = self.clock()
        if self.settings.agent(agent.agent) != agent:
            return now  # it was asked with settings that are not in force any more, and says nothing about today's
        failures = self.db.read(lambda db: intake.failures(db, agent.agent)) + 1
        # A token that cannot be read is treated as one that the bus refuses: looked at again soon.
        cause = error if isinstance(error, BusError) else UnauthorizedError(str(error))
        delay = poll_delay(cause, failures, self.rng)
        self.db.write(
            lambda tx: intake.poll_failed(tx, agent.agent, now, self.redact(str(error)), delay, code=error.code)
        )
        level = logging.WARNING if failures == 1 else logging.DEBUG
        logger.log(level, "%s: %s; next try in %.1f s", agent.agent, error, delay, extra={"agent": agent.agent})
        return now + delay

    def take_in(
        self,
        agent: AgentSettings,
        collected: Collected,
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

        rhythm = Rhythm(
            gap=agent.poll_interval,
            active_gap=min(agent.poll_interval, request_gap(agent)),
            active_for=ACTIVE_SECONDS,
        )
        taken = Taken(0, (), 0)
        for first in range(0, max(1, len(collected.messages)), TAKE_IN_COUNT):
            some = collected.messages[first : first + TAKE_IN_COUNT]

            def operation(tx: sqlite3.Connection, some: Sequence[InboxMessage] = some) -> tuple[Taken, list[Wake]]:
                now = self.clock()
                taken = intake.take_in(tx, agent.agent, some, route, now)
                intake.poll_answered(
                    tx,
                    agent.agent,
                    now,
                    rhythm,
                    malformed=len(collected.malformed),
                    brought=taken.new > 0,
                    bus_ahead=bus_ahead,
                )
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


def class_of(message: InboxMessage) -> str | None:
    """What the message is for: the bus's field, else the class in its preamble. Only the class of that is believed."""
    if message.message_class in CLASSES:
        return message.message_class
    addressed = preamble.parse(message.text)
    return addressed.message_class if addressed else None
