"""One poll: everything that is new in an inbox, taken into the ledger in one transaction, then its lanes woken."""

import logging
import random
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from worker import delivery
from worker.bus.backoff import poll_delay
from worker.bus.client import Collected
from worker.bus.errors import BusError, UnauthorizedError
from worker.bus.wire import InboxMessage
from worker.classes import CLASSES
from worker.engine.inboxes import Inboxes
from worker.engine.wake_ups import WakeUps
from worker.errors import TokenError
from worker.fault_steps import step
from worker.ledger import intake
from worker.ledger.database import Database
from worker.ledger.intake import Rhythm, Taken
from worker.ledger.lanes import Wake
from worker.settings import AgentSettings, Settings
from worker.terminal import preamble

logger = logging.getLogger("bus_watch.poll")

ACTIVE_SECONDS = 15.0  # after a message came, poll as fast as the budget allows for this long
FALLBACK_SECONDS = 5.0  # until the next poll when this one ended in a way that nobody foresaw
LONGEST_SECONDS = 3600.0
BUDGET_MARGIN = 1.1  # a little under the limit: the bridge's minutes and ours do not begin together
RUNG_AHEAD = 4  # slots that a poll may go early, at most, when the doorbell rang


def request_gap(agent: AgentSettings) -> float:
    """Seconds between two requests with this agent's token."""
    return 60.0 / agent.requests_per_minute * BUDGET_MARGIN


def slots_ahead(agent: AgentSettings) -> int:
    """Slots that a rung poll may go early: no more than the margin leaves free in a minute."""
    spare = int(agent.requests_per_minute * (1 - 1 / BUDGET_MARGIN)) - 1
    return max(0, min(RUNG_AHEAD, spare))


class StoppingError(Exception):
    """The worker is stopping: what waits for a slot at the bus goes home."""


Alive = Callable[[float], None]
"""Told before each request, with the seconds until it begins: a poll that is still making requests does not hang."""


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
        slots = _Slots(self.db, self.clock, self.stopping, agent, ahead, alive)

        def begin(tx: sqlite3.Connection) -> float | None:
            due = intake.begin_poll(tx, name, self.clock(), interval, rung=rung, asked=asked)
            if due is None:
                slots.booked = slots.book(tx)  # the first request's, in the same commit
            return due

        due = self.db.write(begin)
        if due is not None:
            return None, due
        try:
            collected = self.inboxes.collect(agent, KnownMessages(self.db, self.clock, name), slots.wait)
        except StoppingError:
            return None, self.clock()
        except (BusError, TokenError) as error:
            return None, self._failed(agent, error)
        step("collected")
        taken = self.take_in(agent, collected)
        return taken, self.db.read(lambda db: intake.next_poll_at(db, name, self.clock()))

    def _failed(self, agent: AgentSettings, error: BusError | TokenError) -> float:
        now = self.clock()
        failures = self.db.read(lambda db: intake.failures(db, agent.agent)) + 1
        # A token that cannot be read is treated as one that the bus refuses: looked at again soon.
        cause = error if isinstance(error, BusError) else UnauthorizedError(str(error))
        delay = poll_delay(cause, failures, self.rng)
        self.db.write(lambda tx: intake.poll_failed(tx, agent.agent, now, self.redact(str(error)), delay))
        level = logging.WARNING if failures == 1 else logging.DEBUG
        logger.log(level, "%s: %s; next try in %.1f s", agent.agent, error, delay, extra={"agent": agent.agent})
        return now + delay

    def take_in(self, agent: AgentSettings, collected: Collected) -> Taken:
        """Write down what a poll brought, and wake the lanes that have something new."""

        def route(message: InboxMessage) -> tuple[str | None, list[str]]:
            message_class = class_of(message)
            return message_class, [t.name for t in agent.transports if delivery.routes(message_class, t.classes)]

        rhythm = Rhythm(
            gap=agent.poll_interval,
            active_gap=min(agent.poll_interval, request_gap(agent)),
            active_for=ACTIVE_SECONDS,
        )

        def operation(tx: sqlite3.Connection) -> tuple[Taken, list[Wake]]:
            now = self.clock()
            taken = intake.take_in(tx, agent.agent, collected.messages, route, now)
            malformed = len(collected.malformed)
            intake.poll_answered(tx, agent.agent, now, rhythm, malformed=malformed, brought=taken.new > 0)
            return taken, self.wake_ups.mark(tx, taken.lanes, only_new=True)

        taken, wakes = self.db.write(operation)
        step("taken")
        self.wake_ups.send(wakes)
        step("woken")
        fields = {"agent": agent.agent}
        if taken.new:
            logger.info("%s: %d new message(s)", agent.agent, taken.new, extra=fields)
        for reason in collected.malformed:
            logger.warning("%s: skipped an entry that is no message: %s", agent.agent, reason, extra=fields)
        return taken


@dataclass(slots=True)
class KnownMessages:
    """What the bus client may ask the ledger while it completes a page."""

    db: Database
    clock: Callable[[], float]
    agent: str

    def cursor(self) -> tuple[int, int]:
        """See `worker.bus.client.Seen`."""
        return self.db.read(lambda db: intake.cursor(db, self.agent, self.clock()))

    def overlap(self) -> int:
        """How many known messages lie after the cursor."""
        ms, _ = self.cursor()
        return self.db.read(lambda db: intake.known_after(db, self.agent, ms))

    def known(self, messages: Sequence[InboxMessage]) -> set[tuple[str, str]]:
        """The (stream, message_id) of those that are known."""
        return self.db.read(lambda db: intake.known(db, self.agent, messages))


@dataclass(slots=True)
class _Slots:
    """One poll's slots at the bus: a token's are booked in the ledger, so that two workers share its budget."""

    db: Database
    clock: Callable[[], float]
    stopping: threading.Event
    agent: AgentSettings
    ahead: float
    alive: Alive
    booked: float | None = None  # seconds from now, of a slot that is ours already

    def book(self, tx: sqlite3.Connection) -> float:
        """Take the next slot; in how many seconds it begins."""
        return intake.take_turn(tx, self.agent.agent, self.clock(), request_gap(self.agent), self.ahead)

    def wait(self) -> None:
        """Wait for a slot; StoppingError when the worker stops meanwhile."""
        seconds = self.db.write(self.book) if self.booked is None else self.booked
        self.booked = None
        self.alive(seconds)
        if self.stopping.wait(seconds) if seconds > 0 else self.stopping.is_set():
            raise StoppingError


def class_of(message: InboxMessage) -> str | None:
    """What the message is for: the bus's field, else the class in its preamble. Only the class of that is believed."""
    if message.message_class in CLASSES:
        return message.message_class
    addressed = preamble.parse(message.text)
    return addressed.message_class if addressed else None
