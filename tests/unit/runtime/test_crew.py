"""Poll threads by work: a few for everybody, one more for each poll that hangs; those not needed leave."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.world.waiting import until
from worker.runtime.crew import FREE, LATE_SECONDS, PollCrew, PollsToMake

PATIENCE = 20.0
Job = Callable[[], object]


class Inboxes:
    """A thousand inboxes whose polls are jobs; `hanging` of them have taken too long."""

    def __init__(self) -> None:
        self.work = PollsToMake()
        self.jobs: list[Job] = []
        self.count = 1000
        self.hanging = 0
        self.stop = threading.Event()
        self.crew = PollCrew(
            self.work,
            self.do,
            self.stop,
            inboxes=lambda: self.count,
            slow=lambda _: self.hanging,
            patience=0.05,
        )

    def do(self, number: str) -> None:
        self.jobs[int(number)]()

    def put(self, job: Job) -> None:
        self.put_together(job)

    def put_together(self, *jobs: Job) -> None:
        before = len(self.jobs)
        self.jobs += jobs
        self.work.put(str(number) for number in range(before, len(self.jobs)))

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
        until(lambda: not inboxes.work, "it hangs", PATIENCE)
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


def test_polls_that_come_together_take_one_thread(inboxes: Inboxes) -> None:
    threads, done = set[int](), threading.Semaphore(0)

    def poll() -> None:
        threads.add(threading.get_ident())
        done.release()

    inboxes.crew.staff()
    inboxes.put_together(*[poll] * 20)
    for _ in range(20):
        assert done.acquire(timeout=PATIENCE)
    assert len(threads) == 1


def test_polls_that_come_together_call_others_when_they_take_long(inboxes: Inboxes) -> None:
    together, done = threading.Barrier(FREE), threading.Semaphore(0)
    inboxes.crew.staff()
    inboxes.put_together(
        lambda: time.sleep(1.5 * LATE_SECONDS), *[lambda: together.wait(PATIENCE)] * FREE, done.release
    )
    assert done.acquire(timeout=PATIENCE)


def test_one_that_hangs_keeps_nobody_waiting_that_came_with_it(inboxes: Inboxes) -> None:
    gate, done = threading.Event(), threading.Semaphore(0)
    inboxes.crew.staff()
    inboxes.put_together(gate.wait, done.release)
    until(lambda: len(inboxes.work) == 1, "it hangs", PATIENCE)
    inboxes.crew.staff()  # as once a second
    assert done.acquire(timeout=PATIENCE)
    gate.set()


def test_who_is_rung_for_goes_first() -> None:
    work = PollsToMake()
    work.put(["a", "b"])
    work.put(["c", "d"], first=True)
    assert [work.get(0.0) for _ in range(5)] == ["c", "d", "a", "b", None]
