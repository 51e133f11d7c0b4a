"""What this process does next: polls, sweeps, finalizers; on a clock of its own."""

from pathlib import Path

import pytest

from worker.ledger.sweep_signal import send_sweep_signal, stamp
from worker.runtime import due
from worker.runtime.due import FinalizerDue, PollsDue, SweepDue


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    return clock


def test_each_inbox_goes_to_one_poll_at_a_time(clock: Clock) -> None:
    jobs = PollsDue(["a", "b"])
    assert jobs.anything()
    assert jobs.take() == ["a", "b"]
    assert jobs.take() == []
    assert jobs.begin("a") is False
    jobs.done("a", 3.0, well=True)
    assert jobs.take() == []
    assert jobs.seconds_until() == 3.0
    clock.now += 3.0
    assert jobs.take() == ["a"]


def test_rare_polls_go_together_a_little_later(clock: Clock) -> None:
    jobs = PollsDue(["a", "b", "c", "d"])
    jobs.take()
    for agent, seconds in (("a", 56.1), ("b", 57.3), ("c", 57.9), ("d", 3.0)):
        jobs.begin(agent)
        jobs.done(agent, seconds, well=True)
    assert jobs.seconds_until() == 3.0
    clock.now += 57.9
    assert jobs.take() == ["d"]
    clock.now += 0.1
    assert jobs.take() == ["a", "b", "c"]


def test_a_ring_makes_it_due_and_is_remembered_while_it_polls(clock: Clock) -> None:
    jobs = PollsDue(["a"])
    jobs.take()
    jobs.begin("a")
    jobs.ring("a")
    jobs.ring("nobody")
    assert jobs.take() == []
    jobs.done("a", 3.0, well=True)
    assert jobs.take() == ["a"]
    assert jobs.begin("a") is True
    jobs.done("a", 3.0, well=True)
    assert jobs.take() == []


def test_whether_anything_is_due_is_right_whatever_was_asked_before(clock: Clock) -> None:
    jobs = PollsDue(["a", "b"])
    jobs.take()
    jobs.begin("a")
    jobs.begin("b")
    assert not jobs.anything()
    jobs.ring("a")
    assert not jobs.anything()  # it is being polled
    jobs.done("a", 3.0, well=True)
    assert jobs.anything()
    assert jobs.take() == ["a"]
    jobs.begin("a")
    jobs.done("a", 3.0, well=True)
    jobs.done("b", 1.0, well=True)
    assert not jobs.anything()
    assert jobs.seconds_until() == 1.0
    clock.now += 1.0
    assert jobs.anything()
    assert jobs.take() == ["b"]
    assert jobs.seconds_until() == 2.0


def test_a_poll_whose_task_was_lost_is_made_again(clock: Clock) -> None:
    jobs = PollsDue(["a"])
    assert jobs.take() == ["a"]
    clock.now += due.POLL_NOT_BEGUN_SECONDS - 0.1
    assert jobs.take() == []
    clock.now += 0.2
    assert jobs.take() == ["a"]
    jobs.begin("a")
    clock.now += due.POLL_NOT_BEGUN_SECONDS * 2
    assert jobs.take() == []  # it runs: a hanging bus may take its time
    clock.now += due.POLL_LOST_SECONDS
    assert jobs.take() == ["a"]


def test_lateness_tells_a_hanging_poll(clock: Clock) -> None:
    jobs = PollsDue(["a"])
    jobs.take()
    jobs.begin("a")
    jobs.alive("a", 2.0)
    clock.now += 10
    assert jobs.lateness() == {"a": 8.0}
    jobs.done("a", 3.0, well=True)
    assert jobs.lateness() == {}  # it is not due yet


def test_one_sweep_at_a_time_and_the_next_some_seconds_after_it_is_done(clock: Clock, tmp_path: Path) -> None:
    jobs = SweepDue(lambda: stamp(tmp_path))
    assert jobs.take()
    assert not jobs.take()
    jobs.begin()
    clock.now += 60
    assert not jobs.take()  # it is under way still
    jobs.done(well=True)
    assert not jobs.take()
    clock.now += due.SWEEP_SECONDS
    assert jobs.take()


def test_a_sweep_whose_task_was_lost_is_made_again(clock: Clock, tmp_path: Path) -> None:
    jobs = SweepDue(lambda: stamp(tmp_path))
    assert jobs.take()
    clock.now += due.SWEEP_NOT_BEGUN_SECONDS
    assert jobs.take()
    jobs.begin()
    clock.now += due.SWEEP_LOST_SECONDS
    assert jobs.take()


def test_a_sweep_signal_and_a_hurry_make_it_due_at_once(clock: Clock, tmp_path: Path) -> None:
    jobs = SweepDue(lambda: stamp(tmp_path))
    assert jobs.take()
    jobs.done(well=True)
    send_sweep_signal(tmp_path)
    assert jobs.take()
    assert jobs.begin() is True  # a command asked for it
    assert jobs.begin() is False
    jobs.done(well=True)
    assert not jobs.take()
    jobs.hurry()
    assert jobs.take()


def test_silence_counts_from_the_last_that_went_through(clock: Clock, tmp_path: Path) -> None:
    jobs = SweepDue(lambda: stamp(tmp_path))
    clock.now += 7
    assert jobs.silence() == 7
    jobs.done(well=False)
    assert jobs.silence() == 7
    jobs.done(well=True)
    assert jobs.silence() == 0


def test_retention_comes_now_and_then_and_goes_on_while_there_is_more(clock: Clock, tmp_path: Path) -> None:
    jobs = SweepDue(lambda: stamp(tmp_path))
    assert not jobs.retention_due()
    clock.now += due.RETENTION_SECONDS
    assert jobs.retention_due()
    jobs.retained(more=True)
    assert jobs.retention_due()
    jobs.retained(more=False)
    assert not jobs.retention_due()


def test_a_due_poll_is_asked_for_once_a_second(clock: Clock) -> None:
    jobs = PollsDue(["a"])
    assert jobs.anything()
    assert not jobs.anything()
    clock.now += 1.1
    assert jobs.anything()


def test_a_sweep_that_another_worker_took_is_due_again_after_seconds(clock: Clock, tmp_path: Path) -> None:
    jobs = SweepDue(lambda: stamp(tmp_path))
    assert jobs.take()
    clock.now += 9
    assert not jobs.take()
    clock.now += 2
    assert jobs.take()
    jobs.begin()
    clock.now += 60
    assert not jobs.take()
    jobs.done(well=True)
    assert not jobs.take()
    clock.now += 5
    assert jobs.take()
    jobs.missed()
    clock.now += 1
    assert jobs.take()


def test_one_finalizer_takes_all_that_ended_since_the_last(clock: Clock) -> None:
    jobs = FinalizerDue()
    assert [jobs.add(1), jobs.add(2)] == [True, False]
    assert jobs.take() == [1, 2]
    assert jobs.take() == []
    assert jobs.add(3)


def test_a_finalizer_that_never_came_is_called_again(clock: Clock) -> None:
    jobs = FinalizerDue()
    assert jobs.add(1)
    clock.now += due.FINALIZER_LOST_SECONDS - 1
    assert not jobs.add(2)
    clock.now += 1
    assert jobs.add(3)
    assert jobs.take() == [1, 2, 3]


def test_inboxes_come_and_go(clock: Clock) -> None:
    jobs = PollsDue(["a", "b", "c"])
    assert jobs.take() == ["a", "b", "c"]
    for agent in ("a", "b", "c"):
        jobs.begin(agent)
    jobs.done("a", 30, well=True)
    jobs.done("b", 30, well=True)
    jobs.serve(["b", "c", "d"], at_once=["b", "c", "d"])
    assert len(jobs) == 3
    assert jobs.take() == ["b", "d"]  # c is being polled, with the settings of before
    jobs.done("c", 30, well=True)
    assert jobs.take() == ["c"]
    jobs.alive("a", 5)  # its last poll has not ended yet
    jobs.done("a", 5, well=True)
    clock.now += 1000
    assert sorted(jobs.lateness()) == ["b", "c", "d"]
    assert "a" not in jobs.take()
