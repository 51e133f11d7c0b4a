"""Looks are quick at first, and never more than a dozen a second for long."""

from itertools import pairwise

from worker.terminal.pace import SLOWEST, pace


def test_quick_at_first_then_slower_and_never_slower_than_that() -> None:
    waited, looks = 0.0, []
    while waited < 5:
        looks.append(waited)
        waited += pace(waited)
    assert sum(at < 0.1 for at in looks) >= 6
    assert sum(1 <= at < 2 for at in looks) <= 1 / SLOWEST + 1
    assert all(0.01 <= after - before <= SLOWEST + 1e-9 for before, after in pairwise(looks))
