"""A thread's turn at a lane: it claims a delivery, and then sleeps while the lane goes on without it."""

import threading
import time
from typing import NamedTuple

from worker.delivery import Ending
from worker.ledger.claims import Claim, NotClaimed, Settled
from worker.settings import TransportSettings


class Report(NamedTuple):
    """How an attempt ended, as it is to be written down."""

    delivery: int
    attempt_id: str
    ending: Ending
    output: str
    transport: TransportSettings


News = Claim | NotClaimed | Report | None


class Turn:
    """One thread, the attempts that it answers for, and a letter box with room for one piece of news."""

    __slots__ = ("_full", "_news", "attempts", "began", "claim", "settled")

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.attempts: set[str] = set()
        self.claim: Claim | None = None  # what runs now
        self.settled: Settled | None = None  # how the last one ended
        self._news: News | Exception = None
        self._full = threading.Lock()
        self._full.acquire()

    def sleep(self) -> News:
        """What the thread is to do next: run a claim, look at a refusal, settle a report; None: its turn is over.

        Raises what went wrong while others worked for it.
        """
        self._full.acquire()
        if isinstance(self._news, Exception):
            raise self._news
        return self._news

    def wake(self, news: News | Exception) -> None:
        """Let the thread go on with this."""
        self._news = news
        self._full.release()
