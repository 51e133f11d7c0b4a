"""The time of a ledger's server, told without asking it each time: hosts whose clocks disagree decide by the same one.

It goes on with a clock of this machine that nobody sets, so that a jump of the wall clock here moves nothing. One
sample says little on a busy machine: the quickest of five is believed, and all of it is done anew every 30 s. No
decision may hang on less than two seconds.
"""

import time
from collections.abc import Callable

from worker.steady_clock import steady

SAMPLES = 5
LEARN_SECONDS = 30.0


class ServerClock:
    """Before the server was heard it has this machine's time. For any thread."""

    def __init__(self) -> None:
        self._ahead = time.time() - steady()
        self._learned_at = float("-inf")

    def now(self) -> float:
        """Epoch seconds."""
        return steady() + self._ahead

    def is_stale(self) -> bool:
        """Whether it is time to learn again."""
        return steady() - self._learned_at > LEARN_SECONDS

    def learn(self, ask: Callable[[], float]) -> None:
        """`ask` returns the server's time, in epoch seconds; what it raises is raised, and changes nothing."""
        best, ahead = float("inf"), 0.0
        for _ in range(SAMPLES):
            before = steady()
            there = ask()
            took = steady() - before
            if took < best:
                best, ahead = took, there - (before + took / 2)
        self._ahead, self._learned_at = ahead, steady()
