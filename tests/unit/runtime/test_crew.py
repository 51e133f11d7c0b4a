"""Poll threads by work: a few for everybody, one more for each poll that hangs; those not needed leave."""

import queue
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.world.waiting import until
from worker.runtime.crew import FREE, PollCrew

PATIENCE = 20.0
Job = Callable[[], object]


class Inboxes:
    """A thousand inboxes whose polls are jobs; `hanging` of them have taken too long."""

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.jobs: list[Job] = []
        self.count = 1000
        self.hanging = 0
        self.stop = threading.Event()
        self.crew = PollCrew(
            self.queue,
            self.do,
            self.stop,
            inboxes=lambda: self.count,
            slow=lambda _: self.hanging,
            patience=0.05,
        )

    def do(self, number: str) -> None:
        self.jobs[int(number)]()

    def put(self, job: Job) -> None:
        self.jobs.append(job)
        self.queue.put(str(len(self.jobs) - 1))

    def alive(self) -> int:
        return sum(thread.is_alive() for thread in self.crew.threads)


@pytest.fixture
def inboxes() -> Iterator[Inboxes]:
    made = Inboxes()
    yield made
    made.stop.set()
    made.crew.end()
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
        inboxes.put(gate.wait)
        until(inboxes.queue.empty, "it hangs", PATIENCE)
        inboxes.hanging = hanging + 1
        inboxes.crew.staff()
    inboxes.put(done.release)
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

    inboxes.put(dies)
    until(lambda: inboxes.alive() == FREE - 1, "it died", PATIENCE)
    inboxes.crew.staff()
    assert inboxes.alive() == FREE
