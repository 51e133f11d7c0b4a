"""One inbox's rhythm and budget in memory: as they were in the ledger, and as deaf to a clock that jumps."""

import random
from itertools import pairwise

import pytest

from worker.engine.pace import ACTIVE_SECONDS, Pace


def test_a_poll_is_not_due_before_its_token_has_a_slot() -> None:
    pace = Pace()
    for _ in range(5):
        pace.book(100.0, 1.1, 5.0)
    assert pace.due() == pytest.approx(105.5)
    pace.forget_stale(10.0)  # the clock was set back: what is booked too far ahead silences nothing
    assert pace.due() == 0.0


def test_slots_are_a_gap_apart_and_a_hurried_one_is_paid_back() -> None:
    rng = random.Random(1)
    pace, now = Pace(), 1000.0
    plain: list[float] = []
    hurried: list[float] = []
    for _ in range(50):
        now += rng.uniform(0, 0.5)
        hurry = rng.random() < 0.3
        (hurried if hurry else plain).append(now + pace.book(now, 1.1, 4.4 if hurry else 0.0))
    assert all(later - sooner >= 1.1 - 1e-6 for sooner, later in pairwise(sorted(plain)))
    times = sorted(plain + hurried)
    assert max(sum(first <= at < first + 60.0 for at in times) for first in times) <= (60 + 4.4) / 1.1 + 1


def test_another_process_s_slots_count() -> None:
    pace = Pace()
    pace.heed(next_request_at=105.0)
    assert pace.book(100.0, 1.1, 0.0) == pytest.approx(5.0)


def test_after_activity_the_gap_is_short_for_a_while() -> None:
    pace = Pace()
    pace.answered(100.0, brought=True, gap=3.0, active_gap=1.1)
    assert pace.next_poll_at == pytest.approx(101.1)
    pace.answered(100.0 + ACTIVE_SECONDS, brought=False, gap=3.0, active_gap=1.1)
    assert pace.next_poll_at == pytest.approx(101.1 + ACTIVE_SECONDS)
    pace.answered(100.1 + ACTIVE_SECONDS, brought=False, gap=3.0, active_gap=1.1)
    assert pace.next_poll_at == pytest.approx(103.1 + ACTIVE_SECONDS)
