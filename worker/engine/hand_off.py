"""A thread hands a lane off: it claims a delivery, and then sleeps while the lane goes on without it."""

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


NextStep = Claim | NotClaimed | Report | None


class HandOff:
    """One thread, the attempts that it answers for, and a letter box with room for what it is to do next."""

    __slots__ = ("_full", "_next", "attempts", "began", "claim", "settled")

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.attempts: set[str] = set()
        self.claim: Claim | None = None  # what runs now
        self.settled: Settled | None = None  # how the last one ended
        self._next: NextStep | Exception = None
        self._full = threading.Lock()
        self._full.acquire()

    def sleep(self) -> NextStep:
        """What the thread is to do next: run a claim, look at a refusal, settle a report; None: its hand-off is over.

        Raises what went wrong while others worked for it.
        """
        self._full.acquire()
        if isinstance(self._next, Exception):
            raise self._next
        return self._next

    def wake(self, following: NextStep | Exception) -> None:
        """Let the thread go on with this."""
        self._next = following
        self._full.release()
