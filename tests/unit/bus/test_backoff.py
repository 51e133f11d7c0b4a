"""How long the bus is left alone."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.bus.backoff import LONGEST_RETRY_AFTER, poll_delay
from worker.bus.errors import BusError, ClosedError, IdentityError, RateLimitedError, UnauthorizedError


@given(failures=st.integers(0, 10**9), seed=st.integers())
def test_ordinary_failures_never_wait_more_than_five_seconds(failures: int, seed: int) -> None:
    for kind in (ClosedError, UnauthorizedError, RateLimitedError):
        assert 0 < poll_delay(kind("x"), failures, Random(seed)) <= 5.0


def test_waits_grow_and_spread() -> None:
    rng = Random(1)
    first = [poll_delay(ClosedError("x"), 1, rng) for _ in range(50)]
    later = [poll_delay(ClosedError("x"), 6, rng) for _ in range(50)]
    assert max(first) <= 0.5
    assert min(later) >= 2.5
    assert len({round(delay, 3) for delay in later}) > 20


def test_no_error_no_wait() -> None:
    assert poll_delay(None, 0, Random(1)) == 0.0


def test_what_needs_a_person_is_asked_once_a_minute() -> None:
    assert 50 < poll_delay(IdentityError("x"), 1, Random(1)) < 70


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [(30.0, 30.0, 30.0), (10**12, LONGEST_RETRY_AFTER, LONGEST_RETRY_AFTER), (0.0, 0.0, 5.0), (-5.0, 0.0, 5.0)],
)
def test_what_the_bus_asks_for_is_kept_within_reason(asked: float, least: float, most: float) -> None:
    error: BusError = RateLimitedError("x", retry_after=asked)
    assert least <= poll_delay(error, 3, Random(1)) <= most
