"""The head of a lane and what keeps a delivery from running: one view and one predicate, for all who ask."""

import pytest

from tests.fakes.inbox import message
from worker.ledger import intake
from worker.ledger.database import Database
from worker.ledger.lanes import LaneState, Obstacle, obstacle

NOW = 1000.0
FREE = LaneState(paused=False, broken_since=None, running=None, head=1)


@pytest.mark.parametrize(
    ("state", "delivery", "next_at", "ordered", "expected"),
    [
        (FREE, 1, None, True, None),
        (FREE, 1, NOW, True, None),
        (FREE, 1, NOW + 1, True, Obstacle.NOT_DUE),
        (FREE, 2, None, True, Obstacle.NOT_HEAD),
        (FREE, 2, None, False, None),
        (FREE, 2, NOW + 1, False, Obstacle.NOT_DUE),
        (FREE._replace(broken_since=1.0), 2, None, False, Obstacle.NOT_HEAD),
        (FREE._replace(broken_since=1.0), 1, None, False, None),
        (FREE._replace(running=3), 1, None, True, Obstacle.LANE_RUNS),
        (FREE._replace(running=3), 2, None, False, Obstacle.LANE_RUNS),
        (FREE._replace(paused=True, running=3), 2, NOW + 1, True, Obstacle.PAUSED),
    ],
)
def test_what_may_run(
    state: LaneState, delivery: int, next_at: float | None, expected: Obstacle | None, *, ordered: bool
) -> None:
    assert obstacle(state, delivery, next_at, ordered=ordered, now=NOW) is expected


def _heads(db: Database) -> list[tuple[int | None, int | None]]:
    query = "select running, head from lane_heads order by lane"
    return db.read(lambda tx: [tuple(row) for row in tx.execute(query)])


def test_the_view_shows_each_lane_its_first_pending_and_what_runs(db: Database) -> None:
    db.write(lambda tx: intake.ensure_lane(tx, "a", "empty"))
    page = [message(ms) for ms in (9, 10, 11)]
    db.write(lambda tx: intake.take_in(tx, "a", page, lambda _: (None, ["t"]), 1.0))
    assert _heads(db) == [(None, None), (None, 1)]
    db.write(lambda tx: tx.execute("update deliveries set state = 'running' where ms = 9"))
    assert _heads(db) == [(None, None), (1, 2)]
    db.write(lambda tx: tx.execute("update deliveries set state = 'held' where ms = 10"))
    assert _heads(db) == [(None, None), (1, 3)]
    late = [message(5)]  # an older one that came late is the head from now on
    db.write(lambda tx: intake.take_in(tx, "a", late, lambda _: (None, ["t"]), 1.0))
    assert _heads(db) == [(None, None), (1, 4)]
