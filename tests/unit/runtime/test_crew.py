"""Poll threads by work: a few for everybody, one more for each poll that hangs; those not needed leave."""

import queue
import threading
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest

from tests.world.waiting import until
from worker.runtime.crew import FREE, PollCrew

PATIENCE = 20.0
Job = Callable[[], object]


class Inboxes:
    """A thousand inboxes whose polls are jobs; those in `hanging` have taken too long."""

    def __init__(self) -> None:
        self.jobs: queue.Queue[Job] = queue.Queue()
        self.count = 1000
        self.hanging = 0
        self.stop = threading.Event()
        self.crew = PollCrew(lambda: Worker(self), self.stop, inboxes=lambda: self.count, slow=lambda _: self.hanging)

    def alive(self) -> int:
        return sum(thread.is_alive() for thread in self.crew.threads)


class Worker:
    def __init__(self, inboxes: Inboxes) -> None:
        self.inboxes = inboxes
        self.task_count = 0

    def initialize(self) -> None: ...
    def shutdown(self) -> None: ...

    def loop(self, now: datetime | None = None) -> None:
        try:
            job = self.inboxes.jobs.get(timeout=0.05)
        except queue.Empty:
            return
        self.task_count += 1
        job()


@pytest.fixture
def inboxes() -> Iterator[Inboxes]:
    made = Inboxes()
    yield made
    made.stop.set()
    for thread in made.crew.threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_a_thousand_inboxes_have_few_threads(inboxes: Inboxes) -> None:
    inboxes.crew.staff()
    inboxes.crew.staff()
    assert inboxes.alive() == FREE
    inboxes.count = 2
    inboxes.crew.staff()
    until(lambda: inboxes.alive() == 2, "two have left", PATIENCE)
    inboxes.crew.staff()
    assert inboxes.alive() == 2


def test_polls_that_hang_keep_nobody_waiting(inboxes: Inboxes) -> None:
    gate, done = threading.Event(), threading.Semaphore(0)
    inboxes.crew.staff()
    for hanging in range(3 * FREE):
        inboxes.jobs.put(gate.wait)
        until(inboxes.jobs.empty, "it hangs", PATIENCE)
        inboxes.hanging = hanging + 1
        inboxes.crew.staff()
    inboxes.jobs.put(done.release)
    assert done.acquire(timeout=PATIENCE)
    assert inboxes.alive() == 4 * FREE
    gate.set()
    inboxes.hanging = 0
    inboxes.crew.staff()
    until(lambda: inboxes.alive() == FREE, "those that are not needed have left", PATIENCE)


def test_a_thread_that_died_is_replaced(inboxes: Inboxes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    inboxes.crew.staff()

    def dies() -> None:
        raise SystemExit

    inboxes.jobs.put(dies)
    until(lambda: inboxes.alive() == FREE - 1, "it died", PATIENCE)
    inboxes.crew.staff()
    assert inboxes.alive() == FREE
