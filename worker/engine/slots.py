"""A token's budget at the bus: slots for requests, a gap apart."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from worker.settings import AgentSettings

BUDGET_MARGIN = 1.1  # a little under the limit: the bridge's minutes and ours do not begin together
RUNG_AHEAD = 4  # slots that a poll may go early, at most, when the doorbell rang


def request_gap(agent: AgentSettings) -> float:
    """Seconds between two requests with this agent's token."""
    return 60.0 / agent.requests_per_minute * BUDGET_MARGIN


def longest_ahead(agent: AgentSettings) -> float:
    """How many seconds before its slot a hurried request may go: no more than the margin leaves free in a minute."""
    spare = int(agent.requests_per_minute * (1 - 1 / BUDGET_MARGIN)) - 1
    return max(0, min(RUNG_AHEAD, spare)) * request_gap(agent)


class StoppingError(Exception):
    """The worker is stopping, or the agent is not ours any more: what polls, or waits for that, goes home."""


Alive = Callable[[float], None]
"""Told before each request, with the seconds until it begins, and while an answer comes: such a poll does not hang."""


@dataclass(slots=True)
class Slots:
    """One poll's slots at the bus, each taken by `book`: told how far ahead of its slot a request may go (seconds).

    `book` returns in how many seconds the request may go.
    """

    book: Callable[[float], float]
    stopping: threading.Event
    hurry: float
    alive: Alive
    spare: float  # how far ahead any other request than a poll's first may go: its announcement must not hold it up
    begun: bool = False

    def wait(self) -> None:
        """Wait for a slot; StoppingError when the worker stops meanwhile."""
        seconds = self.book(max(self.hurry, self.spare if self.begun else 0.0))
        self.begun = True
        self.alive(seconds)
        if self.stopping.wait(seconds) if seconds > 0 else self.stopping.is_set():
            raise StoppingError
