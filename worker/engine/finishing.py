"""Which messages have just ended: one finalizer takes all that ended since the one before it."""

import threading
import time

GATHER_SECONDS = 0.02  # how long a finalizer waits for company
LOST_SECONDS = 60.0  # a finalizer enqueued this long ago that never came: its task was lost with the queue file


class FinishedBook:
    """The messages that wait for the next finalizer; in memory, for the ledger and the sweep know of them too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._messages: dict[int, None] = {}
        self._called_at: float | None = None  # monotonic seconds

    def add(self, message: int) -> bool:
        """Note a message; true if the caller is to enqueue a finalizer: none is on its way."""
        now = time.monotonic()
        with self._lock:
            self._messages[message] = None
            if self._called_at is not None and now - self._called_at < LOST_SECONDS:
                return False
            self._called_at = now
            return True

    def take(self) -> list[int]:
        """All that ended so far; what ends from now on is for the next finalizer."""
        with self._lock:
            messages, self._messages = self._messages, {}
            self._called_at = None
            return list(messages)
