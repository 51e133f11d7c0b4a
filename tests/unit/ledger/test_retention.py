"""Retention: texts are cleared, rows forgotten, floors raised, pages given back; never more than a round at once."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.inbox import STREAM, message
from worker.engine.retention import retain
from worker.ledger import forgetting, intake, operate, upkeep
from worker.ledger.operate import Chosen
from worker.ledger.port import Ledger, Tx
from worker.ledger.sqlite import SqliteLedger
from worker.settings import AgentSettings, Settings, TransportSettings

HOUR, DAY = 3600.0, 86400.0


def _count(db: Ledger, query: str) -> int:
    return int(db.read(lambda tx: tx.execute(query).fetchone())[0])


def _fill(db: Ledger, count: int, finished_at: float, *, state: str = "delivered", first: int = 1) -> None:
    """`count` messages of this age, each with a delivery and an attempt."""
    page = [message(ms, text="x" * 2000) for ms in range(first, first + count)]

    def operation(tx: Tx) -> None:
        intake.take_in(tx, "a", page, lambda _: (None, ["t"]), 1.0)
        where = f"ms between {first} and {first + count - 1}"
        tx.execute(f"update messages set state = ?, finished_at = ? where {where}", (state, finished_at))
        tx.execute(f"update deliveries set state = 'succeeded' where {where}")
        tx.execute(
            f"""
            insert into attempts (id, delivery, lane, starts, worker, boot_id, source, started_at, timeout)
            select cast(id as text), id, lane, 1, 'w', 'b', 's', 1, 30 from deliveries where {where}
            """
        )

    db.write(operation)


def test_texts_are_cleared_and_the_rest_stays(db: Ledger) -> None:
    _fill(db, 5, 100.0)
    _fill(db, 5, 300.0, first=10)
    _fill(db, 1, 100.0, state="failed", first=20)
    assert db.write(lambda tx: forgetting.clear_text(tx, 200.0)) == 5
    assert db.write(lambda tx: forgetting.clear_text(tx, 200.0)) == 0
    assert _count(db, "select count(*) from messages where text is null") == 5
    assert _count(db, "select count(*) from messages where text is null and state = 'failed'") == 0
    assert _count(db, "select count(*) from messages") == 11


def test_forgotten_messages_take_their_history_along_and_never_come_back(db: Ledger) -> None:
    _fill(db, 10, 100.0)
    _fill(db, 1, 100.0, state="failed", first=20)
    assert db.write(lambda tx: forgetting.forget_messages(tx, 200.0)) == 0  # not before their texts are cleared
    db.write(lambda tx: forgetting.clear_text(tx, 200.0))
    assert db.write(lambda tx: forgetting.forget_messages(tx, 200.0)) == 10
    for table in ("messages", "deliveries", "attempts"):
        assert _count(db, f"select count(*) from {table}") == 1  # the dead letter stays
    floor = db.read(lambda tx: tx.execute("select stream, floor_ms, floor_seq from streams").fetchone())
    assert tuple(floor) == (STREAM, 10, 0)
    again = [message(ms) for ms in range(1, 13)]
    taken = db.write(lambda tx: intake.take_in(tx, "a", again, lambda _: (None, ["t"]), 1.0))
    assert taken.new == 2
    elsewhere = [message(5, stream="sos:stream:project:p:agent:a")]
    assert db.write(lambda tx: intake.take_in(tx, "a", elsewhere, lambda _: (None, ["t"]), 1.0)).new == 1


def test_a_floor_never_falls(db: Ledger) -> None:
    _fill(db, 1, 100.0, first=50)
    db.write(lambda tx: forgetting.clear_text(tx, 200.0))
    db.write(lambda tx: forgetting.forget_messages(tx, 200.0))
    older = """
        insert into messages (agent, stream, ms, seq, message_id, source, received_at, state, finished_at)
        values ('a', ?, 7, 0, '7-0', 's', 1, 'delivered', 1)
        """
    db.write(lambda tx: tx.execute(older, (STREAM,)))
    db.write(lambda tx: forgetting.forget_messages(tx, 200.0))
    assert _count(db, "select floor_ms from streams") == 50


NOW = 1_795_300_000.0


def _take(db: Ledger, ms: int) -> int:
    """How many messages were new."""
    return db.write(lambda tx: intake.take_in(tx, "a", [message(ms)], lambda _: (None, ["t"]), NOW)).new


def _settings(path: Path, **settings: Any) -> Settings:
    return Settings(
        agents=(AgentSettings(agent="a", transports=(TransportSettings(name="t", command=("/bin/true",)),)),),
        state_path=str(path / "ledger.db"),
        config_path=path / "config.json",
        **settings,
    )


def test_dead_and_dropped_messages_are_cleared_like_others_and_forgotten_later(db: Ledger, tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    for days, first in ((8, 1), (31, 10), (91, 20)):
        _fill(db, 2, NOW - days * DAY, state="failed", first=first)
        _fill(db, 1, NOW - days * DAY, first=first + 5)
    retain(db, settings, NOW)
    rows = db.read(lambda tx: tx.execute("select ms, state, text from messages order by ms").fetchall())
    assert [tuple(row) for row in rows] == [
        (1, "failed", None), (2, "failed", None), (6, "delivered", None), (10, "failed", None), (11, "failed", None)
    ]  # fmt: skip
    assert _take(db, 20) == 0  # forgotten, and it never comes back


def test_a_message_that_is_not_over_keeps_everything(db: Ledger, tmp_path: Path) -> None:
    """One dead delivery, and one that waits: nobody has decided yet."""
    db.write(lambda tx: intake.take_in(tx, "a", [message(1)], lambda _: (None, ["t", "u"]), 1.0))
    db.write(lambda tx: tx.execute("update deliveries set state = 'dead', ended_at = 1 where id = 1"))
    retain(db, _settings(tmp_path), NOW)
    assert _count(db, "select count(*) from messages where text is not null") == 1


def test_what_has_no_text_any_more_cannot_be_tried_again(db: Ledger) -> None:
    """A retry would hand the transport an empty message."""
    _fill(db, 1, 100.0, state="failed")
    db.write(lambda tx: tx.execute("update deliveries set state = 'dead'"))
    db.write(lambda tx: forgetting.clear_text(tx, 200.0, failed=True))
    (change,) = db.write(lambda tx: operate.retry(tx, 1, Chosen(), NOW))
    assert not change.done
    assert change.words == "is dead, and its text was cleared by retention: ask its sender to send it again"
    assert _count(db, "select count(*) from deliveries where state = 'dead'") == 1


@pytest.mark.parametrize("state", ["delivered", "failed"])
def test_an_id_from_the_future_hides_nothing_that_comes_after_it(db: Ledger, tmp_path: Path, state: str) -> None:
    """Another writer chose it: two days ahead, and delivered long ago. It is forgotten when its time is over."""
    settings = _settings(tmp_path, forget_after=HOUR, forget_dead_after=HOUR, clear_text_after=0)
    future = int((NOW + 2 * DAY) * 1000)
    _fill(db, 1, NOW, state=state, first=future)
    later = NOW + 2 * HOUR
    retain(db, settings, later)
    assert _count(db, "select count(*) from streams where floor_ms > 0") == 0
    assert _take(db, int(later * 1000)) == 1
    assert _take(db, future) == 0
    retain(db, settings, NOW + 2 * DAY + 2 * HOUR)
    assert _count(db, f"select count(*) from messages where ms = {future}") == 0
    assert _take(db, future) == 0


def test_a_floor_that_lies_in_the_future_is_lowered(db: Ledger, tmp_path: Path) -> None:
    """An older version raised it: every message since then was taken for one that is done."""
    future = int((NOW + 2 * DAY) * 1000)
    db.write(lambda tx: tx.execute("insert into streams values ('a', ?, ?, 0)", (STREAM, future)))
    present = int(NOW * 1000)
    assert _take(db, present) == 0
    retain(db, _settings(tmp_path), NOW)
    assert _take(db, present) == 1
    assert _take(db, future) == 0  # the one that had raised it
    assert _take(db, int((NOW - 31 * DAY) * 1000)) == 0  # forgotten before
    retain(db, _settings(tmp_path), NOW)
    assert _take(db, present + 1) == 1


def test_purging_is_for_what_is_over_and_it_never_comes_back(db: Ledger) -> None:
    _fill(db, 2, 100.0, state="failed")
    _fill(db, 1, 300.0, first=10)
    assert _take(db, 20) == 1
    rows = {row["ms"]: row["id"] for row in db.read(lambda tx: tx.execute("select id, ms from messages").fetchall())}
    assert not db.write(lambda tx: forgetting.purge(tx, rows[20])).done
    assert db.write(lambda tx: forgetting.purge(tx, rows[2])).done
    assert db.read(lambda tx: forgetting.over_before(tx, 200.0)) == {"failed": 1}
    assert db.write(lambda tx: forgetting.purge_older(tx, 200.0)) == {"failed": 1}
    assert db.write(lambda tx: forgetting.purge_older(tx, 200.0)) == {}
    for table in ("messages", "deliveries"):
        assert _count(db, f"select count(*) from {table}") == 2
    assert [_take(db, ms) for ms in (1, 2, 3, 10, 20)] == [0, 0, 1, 0, 0]  # 3 was never seen: no floor hides it


def test_purged_ids_are_remembered_until_a_floor_stands_for_them(db: Ledger, tmp_path: Path) -> None:
    ms = int((NOW - DAY) * 1000)
    _fill(db, 1, NOW - DAY, first=ms)
    db.write(lambda tx: forgetting.purge_older(tx, NOW))
    retain(db, _settings(tmp_path), NOW)
    assert _count(db, "select count(*) from skipped") == 1
    retain(db, _settings(tmp_path), NOW + 30 * DAY)
    assert _count(db, "select count(*) from skipped") == 0
    assert _take(db, ms) == 0


def test_rounds_are_bounded_and_the_file_shrinks(tmp_path: Path) -> None:
    settings = _settings(tmp_path, clear_text_after=7 * DAY, forget_after=30 * DAY)

    db = SqliteLedger(settings.ledger_file)
    db.write(lambda tx: intake.ensure_inbox(tx, "a", 0))
    _fill(db, 2 * upkeep.ROUND + 100, time.time() - 40 * DAY)
    db._writer.execute("pragma wal_checkpoint(truncate)")
    size = settings.ledger_file.stat().st_size
    rounds = 0
    while (done := retain(db, settings, time.time())).more:
        assert done.forgotten <= upkeep.ROUND
        rounds += 1
    assert 3 <= rounds <= 10
    db._writer.execute("pragma wal_checkpoint(truncate)")
    assert settings.ledger_file.stat().st_size < size / 4
    assert _count(db, "select count(*) from messages") == 0
    db.close()
