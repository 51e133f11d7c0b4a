"""The machine sleeps: some clocks go on meanwhile, others do not."""

import time

import pytest

from worker.suspension import Suspension, slept_so_far


def test_a_sleep_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = 0.0
    goes_on = time.clock_gettime
    monkeypatch.setattr("time.clock_gettime", lambda clock: goes_on(clock) + slept)
    suspension = Suspension()
    assert not suspension.is_over()
    slept = 3600.0
    assert suspension.is_over()
    assert not suspension.is_over()
    slept += 1.0  # clocks that are read one after the other on a busy machine
    assert not suspension.is_over()


def test_awake_it_does_not_grow() -> None:
    assert abs(slept_so_far() - slept_so_far()) < 1.0
