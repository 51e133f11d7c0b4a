"""Keeping an agent in the bus's registry: announced once, then a heartbeat before the entry dies."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from worker.bus.errors import BusError
from worker.bus.requests import BusRequests, Endpoint

HEARTBEAT_EVERY = 240.0
"""Seconds. Registry entries live 600 s; the strictest bridge wants one heartbeat in 300 s."""

ASK_AGAIN = 300.0
"""Seconds until a failed announcement or heartbeat is tried again: the poll says what is wrong meanwhile."""


@dataclass(slots=True)
class _State:
    announced: bool = False
    next_at: float = 0.0


class Presence:
    """Which agents are announced, and when each is due. Safe to share between threads."""

    def __init__(self, requests: BusRequests, clock: Callable[[], float] = time.monotonic) -> None:
        self._requests = requests
        self._clock = clock
        self._lock = threading.Lock()
        self._states: dict[tuple[str, str], _State] = {}

    def keep(self, endpoint: Endpoint, turn: Callable[[], None]) -> None:
        """Announce or send a heartbeat if one is due; `turn` is called before each request.

        A failure is not the poll's business and is tried again later.
        """
        if not endpoint.presence:
            return
        with self._lock:
            state = self._states.setdefault((endpoint.bridge_url, endpoint.agent), _State())
            if self._clock() < state.next_at:
                return
            # Set before the request, so that a second thread of the same agent does not do it too.
            state.next_at = self._clock() + ASK_AGAIN
            announced = state.announced
        turn()
        try:
            if announced:
                self._requests.heartbeat(endpoint)
            else:
                self._requests.announce(endpoint)
        except BusError:
            state.announced = False
            return
        state.announced = True
        state.next_at = self._clock() + HEARTBEAT_EVERY

    def renew(self, endpoint: Endpoint, turn: Callable[[], None]) -> None:
        """Announce and send a heartbeat now: the bus asked for it. Raises BusError."""
        turn()
        self._requests.announce(endpoint)
        turn()
        self._requests.heartbeat(endpoint)
        with self._lock:
            self._states[endpoint.bridge_url, endpoint.agent] = _State(True, self._clock() + HEARTBEAT_EVERY)
