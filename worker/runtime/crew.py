"""The threads that poll: as many as have work, not as many as there are agents.

A poll that the bus answers takes milliseconds, so a few threads serve a thousand inboxes. One that hangs keeps its
thread: then another comes in its place, so that there are always `FREE` for the others. Who finds nothing to do while
there are too many leaves.
"""

import queue
import threading
from collections.abc import Callable

FREE = 4
SLOW_SECONDS = 0.5  # a poll that has taken longer does not count among the free ones' work
PATIENCE_SECONDS = 5.0  # a thread that finds nothing for so long asks whether it is needed


class PollCrew:
    """Starts the threads, which `poll` what lies in `work`, until `stop`; a None there lets one of them look at it.

    `inboxes` and `slow` tell how many inboxes are polled, and how many polls have taken longer than so many seconds.
    """

    def __init__(
        self,
        work: queue.SimpleQueue[str | None],
        poll: Callable[[str], None],
        stop: threading.Event,
        *,
        inboxes: Callable[[], int],
        slow: Callable[[float], int],
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._queue = work
        self._poll = poll
        self._stop = stop
        self._inboxes = inboxes
        self._slow = slow
        self._patience = patience
        self._lock = threading.Lock()
        self._surplus = 0
        self._count = 0
        self.threads: list[threading.Thread] = []

    def staff(self) -> None:
        """Have as many as are needed now; called about once a second. One that died is replaced."""
        self.threads = [thread for thread in self.threads if thread.is_alive()]
        wanted = max(1, min(self._inboxes(), FREE + self._slow(SLOW_SECONDS)))
        with self._lock:
            self._surplus = max(0, len(self.threads) - wanted)
        for _ in range(wanted - len(self.threads)):
            self._count += 1
            name = f"PollWorker-{self._count}"
            self.threads.append(threading.Thread(target=self._work, name=name, daemon=True))
            self.threads[-1].start()

    def end(self) -> None:
        """Wake the threads that wait: they look whether they are to stop."""
        for _ in self.threads:
            self._queue.put(None)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                agent = self._queue.get(timeout=self._patience)
            except queue.Empty:
                if self._may_leave():
                    return
                continue
            if agent is not None:
                self._poll(agent)

    def _may_leave(self) -> bool:
        with self._lock:
            if self._surplus == 0:
                return False
            self._surplus -= 1
            return True
