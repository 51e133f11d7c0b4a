"""Whether an agent's doorbell is proven: then polls may be rare, for whatever comes rings.

It is, while its connection lives (keep-alives come) and nothing speaks against it: no message came that did not ring,
and no ring came that brought nothing. One that has failed so is trusted again once a poll brings what it rang for.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

GRACE_SECONDS = 5.0  # a message and its ring may arrive so far apart
_LONG_AGO = float("-inf")


@dataclass(slots=True)
class _Record:
    rang_at: float = _LONG_AGO
    polled_from: float = 0.0  # when the last poll began
    brought_at: float = _LONG_AGO
    silent_since: float | None = None  # a message has come, and nothing has rung for it yet
    doubted: bool = False


class Trust:
    """For all agents of a worker; safe to share between threads. Times are monotonic seconds.

    `is_heard` tells whether an agent's connection lives.
    """

    def __init__(self, is_heard: Callable[[str], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._is_heard = is_heard
        self._clock = clock
        self._lock = threading.Lock()
        self._bells: dict[str, _Record] = {}

    def rang(self, agent: str) -> None:
        """A frame came."""
        with self._lock:
            bell = self._bells.setdefault(agent, _Record())
            self._judge(bell)
            bell.rang_at = self._clock()
            bell.silent_since = None

    def polled(self, agent: str, began: float, *, brought: bool) -> None:
        """A poll that began then has `brought` something that should have rung, or nothing of that kind."""
        with self._lock:
            bell = self._bells.setdefault(agent, _Record())
            self._judge(bell)
            rung = bell.rang_at >= bell.polled_from
            if brought:
                if rung:
                    bell.doubted = False
                elif bell.silent_since is None:
                    bell.silent_since = self._clock()
                bell.brought_at = self._clock()
            elif rung and bell.rang_at <= began and began - bell.brought_at > GRACE_SECONDS:
                bell.doubted = True
            bell.polled_from = began

    def is_proven(self, agent: str) -> bool:
        """Whether polls may be rare."""
        if not self._is_heard(agent):
            return False
        with self._lock:
            bell = self._bells.setdefault(agent, _Record())
            self._judge(bell)
            return not bell.doubted and bell.silent_since is None

    def _judge(self, bell: _Record) -> None:
        if bell.silent_since is not None and self._clock() - bell.silent_since > GRACE_SECONDS:
            bell.silent_since = None
            bell.doubted = True
