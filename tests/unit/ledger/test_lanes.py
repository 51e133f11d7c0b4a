"""The head of a lane and what keeps a delivery from running: one view and one predicate, for all who ask."""

import pytest

from tests.fakes.inbox import message
from worker.ledger import intake, lanes
from worker.ledger.errors import LedgerError
from worker.ledger.lanes import LaneState, Obstacle, obstacle
from worker.ledger.port import Ledger, Tx

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


def _heads(db: Ledger) -> list[tuple[int | None, int | None]]:
    query = "select running, head from lane_heads order by lane"
    return db.read(lambda tx: [tuple(row) for row in tx.execute(query)])


def test_the_view_shows_each_lane_its_first_pending_and_what_runs(db: Ledger) -> None:
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


def test_a_lane_runs_one_attempt_whatever_a_claim_thought(db: Ledger) -> None:
    page = [message(ms) for ms in (9, 10)]
    db.write(lambda tx: intake.take_in(tx, "a", page, lambda _: (None, ["t"]), 1.0))
    db.write(lambda tx: tx.execute("update deliveries set state = 'running' where ms = 9"))
    with pytest.raises(LedgerError, match=r"(?i)unique"):
        db.write(lambda tx: tx.execute("update deliveries set state = 'running' where ms = 10"))
    # What goes with the first, in its attempt, may.
    db.write(lambda tx: tx.execute("update deliveries set state = 'running', companion = id where ms = 10"))


def test_many_lanes_are_asked_for_as_one_is(db: Ledger) -> None:
    """Lanes of every kind, more than one question holds: what each would run next, and whether it must."""
    names = [f"t{n}" for n in range(250)]
    page = [message(ms) for ms in (9, 10, 11)]
    db.write(lambda tx: intake.take_in(tx, "a", page, lambda _: (None, names), 1.0))

    def operation(tx: Tx) -> None:
        tx.execute("update deliveries set next_at = ? + lane, state = 'retrying' where ms = 9", (NOW,))
        tx.execute("update deliveries set next_at = ?, state = 'retrying' where ms = 10 and lane % 7 = 0", (NOW + 1,))
        tx.execute("update lanes set paused = 1 where id % 5 = 0")
        tx.execute("update lanes set broken_since = 1 where id % 11 = 0")
        tx.execute("update deliveries set state = 'running', next_at = null where ms = 9 and lane % 13 = 0")
        tx.execute("update deliveries set state = 'dead', next_at = null where lane % 17 = 0")

    db.write(operation)
    ordered = {lane: lane % 2 == 0 for lane in range(1, 251)}
    found = db.read(lambda tx: lanes.candidates(tx, ordered, now=NOW))
    ms_of = dict(db.read(lambda tx: [(row[0], row[1]) for row in tx.execute("select id, ms from deliveries")]))
    for lane, keeps_order in ordered.items():
        if lane % 5 == 0 or lane % 13 == 0 or lane % 17 == 0:
            assert lane not in found
            continue
        in_order = keeps_order or lane % 11 == 0
        assert found[lane].is_first_in_order == in_order
        assert ms_of[found[lane].delivery] == (9 if in_order else 11 if lane % 7 == 0 else 10), lane
    furthest = db.read(lambda tx: lanes.furthest(tx, ordered))
    assert furthest == {lane: NOW + lane for lane in ordered if lane % 13 and lane % 17} | {
        lane: NOW + 1 for lane in ordered if lane % 13 == 0 and lane % 7 == 0 and lane % 17
    }
