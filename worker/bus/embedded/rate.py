"""How many requests each token made in this minute."""

import threading
import time
from collections.abc import Callable

LIMIT = 60
"""Requests a minute and token, in fixed minutes, as the bridges count them."""


class RateMeter:
    """Counts; the caller decides what too many means. Safe to share between threads."""

    def __init__(self, limit: int = LIMIT, clock: Callable[[], float] = time.time) -> None:
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._minute = 0
        self._counts: dict[str, int] = {}

    def excess(self, agent: str) -> tuple[int, int]:
        """Count one request: (by how much this minute's are over the limit, seconds until the next minute)."""
        now = self._clock()
        with self._lock:
            if self._minute != int(now // 60):
                self._minute = int(now // 60)
                self._counts.clear()
            count = self._counts[agent] = self._counts.get(agent, 0) + 1
        return max(0, count - self._limit), 60 - int(now % 60)
