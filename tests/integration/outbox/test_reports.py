"""Senders are told, once, what became of their messages; never about a report, and never a broadcast's sender."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.inbox import message
from tests.world.engine import Rig, running
from worker import notices
from worker.bus.source import Collected
from worker.ledger import operate, outbox
from worker.ledger.operate import Chosen
from worker.outgoing import Kind


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with running(tmp_path, max_attempts=1) as made:
        yield made


def told(rig: Rig) -> list[tuple[str, str]]:
    """The reports in the outbox: to whom, and what."""
    return [
        (row["recipient"], row["text"])
        for row in rig.rows("select * from outbox order by id")
        if row["kind"] == "report"
    ]


def comes(rig: Rig, text: str = "hello", **fields: Any) -> str:
    """A message comes; its id."""
    rig.now += 0.01
    one = message(int(rig.now * 1000), len(rig.rows("select id from messages")), text=text, **fields)
    rig.engine.poller.take_in(rig.settings.agents[0], Collected((one,), (), 1))
    return one.message_id


def test_dead_dropped_and_expired_are_told_once(tmp_path: Path) -> None:
    with running(tmp_path, max_attempts=1, expires_after=50) as rig:
        rig.answer(65)
        dead = comes(rig)
        rig.run()
        rig.answer(75)
        dropped = comes(rig)
        rig.run()
        row = rig.engine.db.read(lambda db: operate.find_message(db, dropped))
        rig.engine.db.write(lambda tx: operate.drop(tx, row, Chosen(), rig.now))
        expired = comes(rig)
        rig.run()
        rig.pass_time(100)
        for _ in range(3):
            rig.sweep()
        stream = "sos:stream:global:agent:a"
        line = f"[a -> s class=terminal-log] bus-watch report: {stream}/"
        assert told(rig) == [
            ("s", f"{line}{dead} dead: exit 65"),
            ("s", f"{line}{dropped} dropped: dropped by a person"),
            ("s", f"{line}{expired} expired: expired: too old when its turn came; last: exit 75"),
        ]


def test_stuck_is_told_once_and_the_end_once(tmp_path: Path) -> None:
    with running(tmp_path, report_stuck_after=30) as rig:
        rig.answer(75)
        comes(rig)
        rig.run()
        rig.sweep()
        assert not told(rig)
        rig.now += 31
        rig.sweep()
        rig.sweep()
        assert [text.split()[7] for _, text in told(rig)] == ["stuck:"]
        rig.answer(65)
        rig.pass_time(200)
        rig.sweep()
        rig.sweep()
        assert [text.split()[7] for _, text in told(rig)] == ["stuck:", "dead:"]


@pytest.mark.parametrize(
    ("source", "stream", "text"),
    [
        ("github", "sos:stream:global:agent:a", "no agent"),
        ("agent:s", "sos:stream:global:broadcast", "a broadcast"),
        ("agent:a", "sos:stream:global:agent:a", "to itself"),
        ("agent:s", "sos:stream:global:agent:a", notices.report("s", "a", "x", "1-1", "dead", "")),
        ("agent:s", "sos:stream:global:agent:a", notices.wish("s", "a", "x", "1-1")),
    ],
)
def test_nobody_is_told(tmp_path: Path, source: str, stream: str, text: str) -> None:
    everything = frozenset({"actionable", "terminal-log"})
    with running(tmp_path, max_attempts=1, classes=everything) as rig:
        rig.answer(65)
        comes(rig, text, source=source, stream=stream)
        rig.run()
        rig.sweep()
        assert rig.states == ["dead"]
        assert not told(rig)
        assert rig.rows("select reported from messages")[0]["reported"] == "none"


def test_a_storm_of_failures_is_told_slowly(rig: Rig) -> None:
    rig.answer(65)
    for _ in range(10):
        comes(rig)
    rig.run()
    rig.sweep()
    rig.sweep()
    assert len(told(rig)) == 6
    rig.now += 61
    rig.sweep()
    assert len(told(rig)) == 10


def _sent(rig: Rig, to: str, lies: tuple[str, str]) -> int:
    """A message of ours that the bus has."""

    def put(tx: Any) -> int:
        number = outbox.put(tx, "a", to, "hi", kind=Kind.MESSAGE, now=rig.now)
        tx.execute("update outbox set state = 'sent', stream = ?, message_id = ? where id = ?", (*lies, number))
        return number

    return rig.engine.db.write(put)


def test_a_report_is_believed_from_the_recipient_alone(rig: Rig) -> None:
    lies = ("sos:stream:global:agent:b", "7-0")
    number = _sent(rig, "b", lies)
    comes(rig, notices.report("c", "a", *lies, "dead", "a lie"), source="agent:c")
    comes(rig, notices.report("b", "a", *lies, "dead", "a lie"), source="agent:c")
    rig.sweep()
    assert rig.engine.db.read(lambda db: outbox.find(db, number))["outcome"] is None
    comes(rig, notices.report("b", "a", *lies, "dead", "exit 65: no such pane"), source="agent:b")
    rig.sweep()
    assert rig.engine.db.read(lambda db: outbox.find(db, number))["outcome"] == "dead"
    assert not rig.rows("select * from notices")


def test_a_receipt_for_who_wants_one(rig: Rig) -> None:
    first = comes(rig)
    other = comes(rig, source="agent:c")
    stream = "sos:stream:global:agent:a"
    comes(rig, notices.wish("s", "a", stream, first))
    comes(rig, notices.wish("s", "a", stream, other))  # not s's message
    rig.sweep()
    assert not told(rig)
    rig.run()
    rig.sweep()
    rig.sweep()
    assert told(rig) == [("s", f"[a -> s class=terminal-log] bus-watch report: {stream}/{first} submitted")]


def test_a_loop_of_two_broken_agents_ends_by_itself(tmp_path: Path) -> None:
    """Each one's reports are dead letters of the other's."""
    with running(tmp_path, max_attempts=1, classes=frozenset({"actionable", "terminal-log"})) as rig:
        rig.answer(65)
        comes(rig, "hello")
        for _ in range(5):
            rig.run()
            rig.sweep()
            for _, text in told(rig)[len(rig.rows("select id from messages")) - 1 :]:
                comes(rig, text.replace("[a -> s", "[s -> a"))
        assert len(told(rig)) == 1
