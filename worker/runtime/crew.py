"""The threads that poll: as many as have work, not as many as there are agents.

A poll that the bus answers takes milliseconds, so a few threads serve a thousand inboxes. One that hangs keeps its
thread: then another comes in its place, so that there are always `FREE` for the others. Who finds nothing to do while
there are too many leaves.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

FREE = 4
SLOW_SECONDS = 0.5  # a poll that has taken longer does not count among the free ones' work
PATIENCE_SECONDS = 5.0  # a thread that finds nothing for so long asks whether it is needed
LATE_SECONDS = 0.25  # a poll that has waited longer for a thread


class PollsToMake:
    """The inboxes that wait for a thread.

    Those that come together wake one thread, which polls one after the other: to wake a thread costs as much as a poll
    that brings nothing. It calls another one as soon as that takes too long.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._agents: deque[tuple[float, str]] = deque()  # each with when it came
        self._closed = False

    def __len__(self) -> int:
        return len(self._agents)

    def put(self, agents: Iterable[str], *, first: bool = False) -> None:
        """Let them be polled; `first`: before those that wait."""
        now = time.monotonic()
        with self._condition:
            if first:
                self._agents.extendleft([(now, agent) for agent in agents][::-1])
            else:
                self._agents.extend((now, agent) for agent in agents)
            if self._agents:
                self._condition.notify()

    def get(self, seconds: float) -> str | None:
        """Who is next; None if nobody has come for so long, or everybody is to look around."""
        with self._condition:
            if not self._agents and not self._closed:
                self._condition.wait(seconds)
            if not self._agents:
                return None
            came, agent = self._agents.popleft()
            if self._agents and time.monotonic() - came > LATE_SECONDS:
                self._condition.notify()
            return agent

    def wake_all(self) -> None:
        """Let every thread that waits look around."""
        with self._condition:
            self._condition.notify_all()

    def close(self) -> None:
        """Let nobody wait any more."""
        self._closed = True
        self.wake_all()


class PollCrew:
    """Starts the threads, which `poll` what lies in `work`, until `stop`; once woken they look at it.

    `inboxes` and `slow` tell how many inboxes are polled, and how many polls have taken longer than so many seconds.
    """

    def __init__(
        self,
        work: PollsToMake,
        poll: Callable[[str], None],
        stop: threading.Event,
        *,
        inboxes: Callable[[], int],
        slow: Callable[[float], int],
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._work = work
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
            self.threads.append(threading.Thread(target=self._poll_on, name=name, daemon=True))
            self.threads[-1].start()
        if self._work:  # who was to take them hangs
            self._work.wake_all()

    def end(self) -> None:
        """`stop` is set: let the threads that wait, or are about to, look at it."""
        self._work.close()

    def _poll_on(self) -> None:
        while not self._stop.is_set():
            agent = self._work.get(self._patience)
            if agent is not None:
                self._poll(agent)
            elif self._may_leave():
                return

    def _may_leave(self) -> bool:
        with self._lock:
            if self._surplus == 0:
                return False
            self._surplus -= 1
            return True
