"""Every state that an operator can meet has a sentence."""

from typing import Any

import pytest

from worker.delivery import State
from worker.ledger.report import DeliveryReport, LaneReport
from worker.view.words import LaneContext, sentence

NOW = 1_795_300_000.0
HEAD_ID, ID = "1795300087770-0", "1795300087771-0"


def delivery(state: str, **fields: Any) -> DeliveryReport:
    given: dict[str, Any] = {
        "id": 2, "lane": 1, "agent": "bob", "transport": "tmux", "stream": "s", "message_id": ID,
        "source": "agent:alice", "state": state, "starts": 0, "burnt": 0, "next_at": None, "reason": "",
        "cancel": False, "received_at": NOW - 60, "attempt_id": None,
        "started_at": None, "timeout": None, "worker": None,
    }  # fmt: skip
    return DeliveryReport(**given | fields)


def lane(*, paused: bool = False, broken_since: float | None = None, **fields: Any) -> LaneContext:
    report = LaneReport(
        id=1, agent="bob", transport="tmux", paused=paused, broken_since=broken_since, broken_reason=None,
        waiting=0, retrying=0, running=0, held=0, dead=0, oldest=None,
    )  # fmt: skip
    given: dict[str, Any] = {"report": report, "workers": frozenset({"w"})}
    return LaneContext(**given | fields)


RUNNING: dict[str, Any] = {"starts": 3, "started_at": NOW - 12, "timeout": 30.0, "worker": "w"}
RETRYING: dict[str, Any] = {
    "id": 1,
    "message_id": HEAD_ID,
    "starts": 2,
    "next_at": NOW + 42,
    "reason": "exit 1: can't find pane",
}
RUNNING_HEAD = delivery("running", id=1, message_id=HEAD_ID, **RUNNING)
RETRYING_HEAD = delivery("retrying", **RETRYING)
DUE_HEAD = delivery("waiting", id=1, message_id=HEAD_ID)
PUT_OFF_HEAD = delivery("waiting", id=1, message_id=HEAD_ID, next_at=NOW + 20, reason="had its wakes")

SENTENCES: list[tuple[DeliveryReport, LaneContext, str]] = [
    (delivery("running", **RUNNING), lane(), "attempt 3 runs since 12 s (time-out 30 s)"),
    (
        delivery("running", **RUNNING, cancel=True),
        lane(),
        "attempt 3 runs since 12 s (time-out 30 s); dropped when it ends, unless it succeeds",
    ),
    (
        delivery("running", **RUNNING),
        lane(workers=frozenset()),
        "attempt 3 runs since 12 s (time-out 30 s); its worker is gone: a running worker's sweep settles it",
    ),
    (
        delivery("running", **RUNNING | {"started_at": NOW - 300}),
        lane(),
        "attempt 3 runs since 5 min (time-out 30 s); its worker does not answer: is the process stopped?",
    ),
    (delivery("waiting"), lane(), "due now"),
    (delivery("waiting"), lane(workers=frozenset()), "due now, but no worker is running: bus-watch run"),
    (delivery("waiting"), lane(paused=True), "paused: bus-watch resume tmux"),
    (
        delivery("waiting"),
        lane(orphaned=True),
        "transport tmux is not configured any more: configure it again, or drop this",
    ),
    (delivery("waiting"), lane(running=RUNNING_HEAD), f"behind {HEAD_ID}, which runs since 12 s"),
    (
        delivery("waiting"),
        lane(head=RETRYING_HEAD),
        f"behind {HEAD_ID}, which retries in 42 s: exit 1: can't find pane",
    ),
    (delivery("waiting"), lane(head=RETRYING_HEAD, ordered=False), "due now"),
    (delivery("waiting"), lane(head=DUE_HEAD), f"behind {HEAD_ID}, which is due now"),
    (
        delivery("waiting"),
        lane(head=PUT_OFF_HEAD),
        f"behind {HEAD_ID}, which is put off and due in 20 s: had its wakes",
    ),
    (
        delivery("waiting"),
        lane(head=RETRYING_HEAD, ordered=False, broken_since=NOW - 600),
        f"behind {HEAD_ID}, which retries in 42 s: exit 1: can't find pane",
    ),
    (
        delivery("waiting", next_at=NOW + 20, reason="deferred: its transport has had its wakes for this minute"),
        lane(),
        "deferred: its transport has had its wakes for this minute; looks again in 20 s",
    ),
    (delivery("waiting", next_at=NOW + 20), lane(), "put off; looks again in 20 s"),
    (RETRYING_HEAD, lane(), "attempt 3 in 42 s: exit 1: can't find pane"),
    (
        delivery("retrying", **RETRYING | {"next_at": NOW - 1}),
        lane(workers=frozenset()),
        "due now, but no worker is running: bus-watch run: exit 1: can't find pane",
    ),
    (delivery("retrying", **RETRYING), lane(paused=True), "paused: bus-watch resume tmux: exit 1: can't find pane"),
    (
        delivery("retrying", **RETRYING | {"reason": "exit 69: no server running"}),
        lane(broken_since=NOW - 8 * 3600),
        "nobody there since 8 h; looks again in 42 s: exit 69: no server running",
    ),
    (delivery("held", reason="exit 76; retry it or drop it"), lane(), "exit 76; retry it or drop it"),
    (delivery("held"), lane(), "nobody knows whether it was done; retry it or drop it"),
    (delivery("succeeded", starts=2), lane(), "done, in attempt 2"),
    (delivery("dead", reason="exit 65"), lane(), "exit 65"),
    (delivery("cancelled", reason="dropped by a person"), lane(), "dropped by a person"),
]


@pytest.mark.parametrize(("row", "where", "words"), SENTENCES, ids=[words for _, _, words in SENTENCES])
def test_sentence(row: DeliveryReport, where: LaneContext, words: str) -> None:
    assert sentence(row, where, NOW) == words


def test_no_state_is_forgotten() -> None:
    assert {row.state for row, _, _ in SENTENCES} == set(State)


@pytest.mark.parametrize("state", State)
def test_a_row_with_nothing_known_has_words_too(state: State) -> None:
    assert sentence(delivery(state), lane())
