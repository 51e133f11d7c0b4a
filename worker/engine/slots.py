"""A token's budget at the bus: slots for requests, booked in the ledger, so that two workers share them."""

import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass

from worker.ledger import intake
from worker.ledger.database import Database
from worker.settings import AgentSettings

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
    """The worker is stopping, or the agent is not ours any more: what polls, or waits for that, goes home."""


Alive = Callable[[float], None]
"""Told before each request, with the seconds until it begins: a poll that is still making requests does not hang."""


@dataclass(slots=True)
class Slots:
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
        return intake.book_slot(tx, self.agent.agent, self.clock(), request_gap(self.agent), self.ahead)

    def wait(self) -> None:
        """Wait for a slot; StoppingError when the worker stops meanwhile."""
        seconds = self.db.write(self.book) if self.booked is None else self.booked
        self.booked = None
        self.alive(seconds)
        if self.stopping.wait(seconds) if seconds > 0 else self.stopping.is_set():
            raise StoppingError
