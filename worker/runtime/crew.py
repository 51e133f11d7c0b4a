"""The threads that poll: as many as have work, not as many as there are agents.

A poll that the bus answers takes milliseconds, so a few threads serve a thousand inboxes. One that hangs keeps its
thread: then another comes in its place, so that there are always `FREE` for the others. Who finds nothing to do while
there are too many leaves.
"""

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

FREE = 4
SLOW_SECONDS = 0.5  # a poll that has taken longer does not count among the free ones' work


class Looper(Protocol):
    """A huey worker, as far as it matters here."""

    task_count: int

    def initialize(self) -> None:
        """Before its first round."""
        ...

    def loop(self, now: datetime | None = None) -> None:
        """One round: take a task and run it, or find none within some seconds."""
        ...

    def shutdown(self) -> None:
        """After its last round."""
        ...


class PollCrew:
    """Starts the threads; `make` makes each one's worker, and `stop` ends them all.

    `inboxes` and `slow` tell how many inboxes are polled, and how many polls have taken longer than so many seconds.
    """

    def __init__(
        self,
        make: Callable[[], Looper],
        stop: threading.Event,
        *,
        inboxes: Callable[[], int],
        slow: Callable[[float], int],
    ) -> None:
        self._make = make
        self._stop = stop
        self._inboxes = inboxes
        self._slow = slow
        self._lock = threading.Lock()
        self._surplus = 0
        self._count = 0
        self.threads: list[threading.Thread] = []

    def staff(self) -> None:
        """Have as many as are needed now; called many times a second. One that died is replaced."""
        self.threads = [thread for thread in self.threads if thread.is_alive()]
        wanted = max(1, min(self._inboxes(), FREE + self._slow(SLOW_SECONDS)))
        with self._lock:
            self._surplus = max(0, len(self.threads) - wanted)
        for _ in range(wanted - len(self.threads)):
            self._count += 1
            name = f"PollWorker-{self._count}"
            self.threads.append(threading.Thread(target=self._work, args=(self._make(),), name=name, daemon=True))
            self.threads[-1].start()

    def _work(self, worker: Looper) -> None:
        worker.initialize()
        try:
            while not self._stop.is_set():
                before = worker.task_count
                worker.loop()
                if worker.task_count == before and self._may_leave():
                    return
        finally:
            worker.shutdown()

    def _may_leave(self) -> bool:
        with self._lock:
            if self._surplus == 0:
                return False
            self._surplus -= 1
            return True
