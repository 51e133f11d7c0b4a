"""Who waits at `/watch`, and for which streams. Used in the server's event loop only."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

MOST = 1024
MOST_OF_AN_AGENT = 4


class TooManyListenersError(Exception):
    """There is no place for this one."""


class Listeners:
    """Wakes those who wait for a stream."""

    def __init__(self) -> None:
        self.stopping = False
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._agents: Counter[str] = Counter()
        self._count = 0

    @contextmanager
    def listen(self, agent: str, streams: Sequence[str]) -> Iterator[asyncio.Event]:
        """Take a listener's place; the event is set when something came, and when the bus stops."""
        if self._agents[agent] >= MOST_OF_AN_AGENT or self._count >= MOST:
            raise TooManyListenersError
        rung = asyncio.Event()
        self._agents[agent] += 1
        self._count += 1
        for stream in streams:
            self._waiting.setdefault(stream, set()).add(rung)
        if self.stopping:
            rung.set()
        try:
            yield rung
        finally:
            self._agents[agent] -= 1
            self._count -= 1
            for stream in streams:
                self._waiting[stream].discard(rung)
                if not self._waiting[stream]:
                    del self._waiting[stream]

    def ring(self, stream: str) -> None:
        """Something came into a stream."""
        for rung in self._waiting.get(stream, ()):
            rung.set()

    def stop(self) -> None:
        """Wake everybody: the bus stops."""
        self.stopping = True
        for waiting in self._waiting.values():
            for rung in waiting:
                rung.set()
