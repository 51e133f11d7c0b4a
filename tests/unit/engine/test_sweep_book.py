"""When this process sweeps."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from worker.engine import sweeping
from worker.engine.sweeping import SweepBook
from worker.ledger.sweep_signal import send_sweep_signal


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sweeping, "time", SimpleNamespace(monotonic=clock))
    return clock


def test_one_sweep_at_a_time_and_the_next_some_seconds_after_it_is_done(clock: Clock, tmp_path: Path) -> None:
    book = SweepBook(tmp_path)
    assert book.take_due()
    assert not book.take_due()
    book.begin()
    clock.now += 60
    assert not book.take_due()  # it is under way still
    book.done(well=True)
    assert not book.take_due()
    clock.now += sweeping.SWEEP_SECONDS
    assert book.take_due()


def test_a_sweep_whose_task_was_lost_is_made_again(clock: Clock, tmp_path: Path) -> None:
    book = SweepBook(tmp_path)
    assert book.take_due()
    clock.now += sweeping.NOT_BEGUN_SECONDS
    assert book.take_due()
    book.begin()
    clock.now += sweeping.LOST_SECONDS
    assert book.take_due()


def test_a_sweep_signal_and_a_hurry_make_it_due_at_once(clock: Clock, tmp_path: Path) -> None:
    book = SweepBook(tmp_path)
    assert book.take_due()
    book.done(well=True)
    send_sweep_signal(tmp_path)
    assert book.take_due()
    book.done(well=True)
    assert not book.take_due()
    book.hurry()
    assert book.take_due()


def test_silence_counts_from_the_last_that_went_through(clock: Clock, tmp_path: Path) -> None:
    book = SweepBook(tmp_path)
    clock.now += 7
    assert book.silence() == 7
    book.done(well=False)
    assert book.silence() == 7
    book.done(well=True)
    assert book.silence() == 0


def test_retention_comes_now_and_then_and_goes_on_while_there_is_more(clock: Clock, tmp_path: Path) -> None:
    book = SweepBook(tmp_path)
    assert not book.retention_due()
    clock.now += sweeping.RETENTION_SECONDS
    assert book.retention_due()
    book.retained(more=True)
    assert book.retention_due()
    book.retained(more=False)
    assert not book.retention_due()
