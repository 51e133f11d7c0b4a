"""What this process does next, and whether somebody is at it already: polls, sweeps, finalizers.

Asked four times a second, so it lives in memory. A job is due, then taken by who enqueues its task, then begun by the
thread that runs it, then done. That thread may die: then the job is free again after some time.
"""

import heapq
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable

SOON_SECONDS = 1.0  # after a task could not be enqueued; and between two tasks that look for due polls
FAR_SECONDS = 3600.0  # until something is due where nothing is
OVERTAKEN = 8  # entries of an agenda for each inbox, before it is made anew

RARE_SECONDS = 50.0  # a poll that is so far away is in no hurry,
TOGETHER_SECONDS = 2.0  # and waits for company: at each of these moments all go that have come due since the last

POLL_NOT_BEGUN_SECONDS = 60.0  # a poll that nobody began: its task waits in memory, for a thread that is free
POLL_LOST_SECONDS = 600.0  # a poll that began and never came back

SWEEP_SECONDS = 5.0
SWEEP_NOT_BEGUN_SECONDS = 10.0
SWEEP_LOST_SECONDS = 120.0
RETENTION_SECONDS = 600.0

FINALIZER_LOST_SECONDS = 60.0  # enqueued this long ago, and it never came


class Job:
    """One thing that is done again and again; times in monotonic seconds. Whoever shares it locks around it."""

    __slots__ = ("_busy_until", "_lost", "_not_begun", "due")

    def __init__(self, *, not_begun: float, lost: float, due: float = 0.0) -> None:
        """Nobody waits for a task longer than `not_begun` seconds, nor for one that has begun longer than `lost`."""
        self.due = due
        self._not_begun = not_begun
        self._lost = lost
        self._busy_until = 0.0

    def is_free(self, now: float) -> bool:
        """Whether nobody is at it, or has been for too long."""
        return now >= self._busy_until

    def is_due(self, now: float) -> bool:
        """Whether somebody should take it."""
        return self.is_free(now) and self.due <= now

    def due_at(self, *, rung: bool = False) -> float:
        """When somebody should take it, if nothing happens before."""
        return self._busy_until if rung else max(self.due, self._busy_until)

    def take(self, now: float) -> None:
        """Its task is about to be enqueued."""
        self._busy_until = now + self._not_begun

    def begin(self, now: float) -> None:
        """Its task runs, in this process."""
        self._busy_until = now + self._lost

    def done(self, due: float) -> None:
        """Nobody is at it any more, and it is due again then."""
        self._busy_until = 0.0
        self.due = due


def _poll_job() -> Job:
    return Job(not_begun=POLL_NOT_BEGUN_SECONDS, lost=POLL_LOST_SECONDS)


class PollsDue:
    """Which inboxes this process polls next."""

    def __init__(self, agents: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._jobs = {agent: _poll_job() for agent in agents}
        self._expected = dict.fromkeys(self._jobs, time.monotonic())  # when a sign of life is due
        self._asked_until = 0.0
        self._rung: set[str] = set()
        self._agenda: list[tuple[float, str]] = []  # a heap of when each is due, among entries that have been overtaken
        self._begun: dict[str, float] = {}  # the polls that are under way, since when
        self._begin_agenda()

    def __len__(self) -> int:
        return len(self._jobs)

    def serve(self, agents: Iterable[str], *, at_once: Collection[str] = ()) -> None:
        """From now on these inboxes and no others; new ones, and those named in `at_once`, are due now."""
        now = time.monotonic()
        with self._lock:
            wanted = dict.fromkeys(agents)
            for agent in self._jobs.keys() - wanted.keys():
                del self._jobs[agent], self._expected[agent]
                self._rung.discard(agent)
            for agent in wanted:
                if agent not in self._jobs:
                    self._jobs[agent] = _poll_job()
                    self._expected[agent] = now
                elif agent in at_once:
                    self._jobs[agent].due = now
                    self._rung.add(agent)  # a poll that is under way would put its own next time over that
            self._asked_until = 0.0
            self._begin_agenda()

    def take(self) -> list[str]:
        """The inboxes to poll now; each is busy until `done` is called for it."""
        now = time.monotonic()
        due = []
        with self._lock:
            self._asked_until = 0.0
            while self._soonest() <= now:
                agent = self._agenda[0][1]
                due.append(agent)
                self._jobs[agent].take(now)
                self._note(agent)
        return due

    def _begin_agenda(self) -> None:
        self._agenda = [(self._due_at(agent), agent) for agent in self._jobs]
        heapq.heapify(self._agenda)

    def _due_at(self, agent: str) -> float:
        return self._jobs[agent].due_at(rung=agent in self._rung)

    def _note(self, agent: str) -> None:
        """Put it in the agenda anew, after a change. Holds the lock, as all that is about the agenda."""
        if len(self._agenda) > OVERTAKEN * len(self._jobs):
            self._begin_agenda()
        else:
            heapq.heappush(self._agenda, (self._due_at(agent), agent))

    def _soonest(self) -> float:
        """When the first inbox is due; that one is on top of the agenda then."""
        agenda = self._agenda
        while agenda and (agenda[0][1] not in self._jobs or agenda[0][0] != self._due_at(agenda[0][1])):
            heapq.heappop(agenda)
        return agenda[0][0] if agenda else time.monotonic() + FAR_SECONDS

    def anything(self) -> bool:
        """Whether somebody should call `take`; who is told so has a second for it before the next one is."""
        now = time.monotonic()
        with self._lock:
            if now < self._asked_until or self._soonest() > now:
                return False
            self._asked_until = now + SOON_SECONDS
            return True

    def seconds_until(self) -> float:
        """How long nothing will be due, if no doorbell rings."""
        now = time.monotonic()
        with self._lock:
            return max(0.0, self._soonest() - now)

    def ring(self, agent: str) -> None:
        """The doorbell rang: poll as soon as the budget allows."""
        with self._lock:
            if agent in self._jobs:
                self._rung.add(agent)
                self._note(agent)

    def begin(self, agent: str) -> bool:
        """A poll of this inbox begins; true if the doorbell had rung for it."""
        with self._lock:
            rung = agent in self._rung
            self._rung.discard(agent)
            if agent in self._jobs:
                self._jobs[agent].begin(time.monotonic())
                self._note(agent)
            self._begun[agent] = time.monotonic()
            return rung

    def alive(self, agent: str, seconds: float) -> None:
        """The poll of this inbox makes its next request in `seconds`."""
        with self._lock:
            if agent in self._jobs:
                self._expected[agent] = time.monotonic() + seconds

    def done(self, agent: str, seconds: float, *, well: bool) -> None:
        """The poll is over, the next one is due in `seconds`.

        `well`: it was attempted, whatever the bus said; not if it failed by itself, on a full disk for instance.
        """
        with self._lock:
            self._begun.pop(agent, None)
            if agent in self._jobs:
                due = time.monotonic() + max(0.0, seconds)
                if seconds >= RARE_SECONDS:
                    due = math.ceil(due / TOGETHER_SECONDS) * TOGETHER_SECONDS
                self._jobs[agent].done(due)
                self._note(agent)
                if well:
                    self._expected[agent] = due

    def slow(self, seconds: float) -> int:
        """How many polls have been under way for longer."""
        before = time.monotonic() - seconds
        with self._lock:
            return sum(begun <= before for begun in self._begun.values())

    def lateness(self) -> dict[str, float]:
        """For each inbox that is late, how many seconds ago its poll should have shown a sign of life."""
        now = time.monotonic()
        with self._lock:
            return {agent: now - expected for agent, expected in self._expected.items() if expected < now}


class SweepDue:
    """When this process sweeps next. `signal` returns something else whenever a command asks for a sweep."""

    def __init__(self, signal: Callable[[], int]) -> None:
        self._ask_signal = signal
        self._signalled = signal()
        self._was_asked = False
        self._lock = threading.Lock()
        self._job = Job(not_begun=SWEEP_NOT_BEGUN_SECONDS, lost=SWEEP_LOST_SECONDS)
        self._retention_due = time.monotonic() + RETENTION_SECONDS
        self._went_through = time.monotonic()

    def silence(self) -> float:
        """Seconds since a sweep last went through."""
        return time.monotonic() - self._went_through

    def take(self) -> bool:
        """Whether a sweep is due; if so its task is the caller's to enqueue."""
        now = time.monotonic()
        with self._lock:
            if not self._job.is_free(now):
                return False
            signalled = self._ask_signal()
            if not self._job.is_due(now) and signalled == self._signalled:
                return False
            self._was_asked = self._was_asked or signalled != self._signalled
            self._signalled = signalled
            self._job.take(now)
            return True

    def begin(self) -> bool:
        """A sweep begins in this process; whether a command has asked for it."""
        with self._lock:
            self._job.begin(time.monotonic())
            asked, self._was_asked = self._was_asked, False
            return asked

    def done(self, *, well: bool) -> None:
        """The sweep is over; `well` if it went through."""
        now = time.monotonic()
        with self._lock:
            if well:
                self._went_through = now
            self._job.done(now + SWEEP_SECONDS)

    def missed(self) -> None:
        """Its task could not be enqueued: try again soon."""
        with self._lock:
            self._job.done(time.monotonic() + SOON_SECONDS)

    def hurry(self) -> None:
        """Sweep as soon as possible."""
        with self._lock:
            self._job.due = 0.0

    def retention_due(self) -> bool:
        """Whether it is time for retention; asked by the sweep only."""
        return time.monotonic() >= self._retention_due

    def retained(self, *, more: bool) -> None:
        """A round of retention is over; where there is more to do the next sweep goes on."""
        self._retention_due = time.monotonic() + (0.0 if more else RETENTION_SECONDS)


class FinalizerDue:
    """The messages that have just ended: one finalizer takes all that ended since the one before it.

    In memory, for the ledger and the sweep know of them too.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._messages: dict[int, None] = {}
        self._job = Job(not_begun=FINALIZER_LOST_SECONDS, lost=FINALIZER_LOST_SECONDS)

    def add(self, message: int) -> bool:
        """Note a message; true if the caller is to enqueue a finalizer: none is on its way."""
        now = time.monotonic()
        with self._lock:
            self._messages[message] = None
            if not self._job.is_due(now):
                return False
            self._job.take(now)
            return True

    def take(self) -> list[int]:
        """All that ended so far; what ends from now on is for the next finalizer."""
        with self._lock:
            messages, self._messages = self._messages, {}
            self._job.done(due=0.0)
            return list(messages)
