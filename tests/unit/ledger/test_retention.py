"""Retention: texts are cleared, rows forgotten, floors raised, pages given back; never more than a round at once."""

import sqlite3
import time
from pathlib import Path

from tests.fakes.inbox import STREAM, message
from worker.engine.retention import retain
from worker.ledger import intake, upkeep
from worker.ledger.database import Database
from worker.settings import AgentSettings, Settings, TransportSettings

DAY = 86400.0


def _count(db: Database, query: str) -> int:
    return int(db.read(lambda tx: tx.execute(query).fetchone())[0])


def _fill(db: Database, count: int, finished_at: float, *, state: str = "delivered", first: int = 1) -> None:
    """`count` messages of this age, each with a delivery and an attempt."""
    page = [message(ms, text="x" * 2000) for ms in range(first, first + count)]

    def operation(tx: sqlite3.Connection) -> None:
        intake.take_in(tx, "a", page, lambda _: (None, ["t"]), 1.0)
        where = f"ms between {first} and {first + count - 1}"
        tx.execute(f"update messages set state = ?, finished_at = ? where {where}", (state, finished_at))
        tx.execute(f"update deliveries set state = 'succeeded' where {where}")
        tx.execute(
            f"""
            insert into attempts (id, delivery, lane, starts, worker, boot_id, source, started_at, timeout)
            select printf('%032x', id), id, lane, 1, 'w', 'b', 's', 1, 30 from deliveries where {where}
            """
        )

    db.write(operation)


def test_texts_are_cleared_and_the_rest_stays(db: Database) -> None:
    _fill(db, 5, 100.0)
    _fill(db, 5, 300.0, first=10)
    _fill(db, 1, 100.0, state="failed", first=20)
    assert db.write(lambda tx: upkeep.clear_text(tx, 200.0)) == 5
    assert db.write(lambda tx: upkeep.clear_text(tx, 200.0)) == 0
    assert _count(db, "select count(*) from messages where text is null") == 5
    assert _count(db, "select count(*) from messages where text is null and state = 'failed'") == 0
    assert _count(db, "select count(*) from messages") == 11


def test_forgotten_messages_take_their_history_along_and_never_come_back(db: Database) -> None:
    _fill(db, 10, 100.0)
    _fill(db, 1, 100.0, state="failed", first=20)
    assert db.write(lambda tx: upkeep.forget_messages(tx, 200.0)) == 0  # not before their texts are cleared
    db.write(lambda tx: upkeep.clear_text(tx, 200.0))
    assert db.write(lambda tx: upkeep.forget_messages(tx, 200.0)) == 10
    for table in ("messages", "deliveries", "attempts"):
        assert _count(db, f"select count(*) from {table}") == 1  # the dead letter stays
    floor = db.read(lambda tx: tx.execute("select stream, floor_ms, floor_seq from streams").fetchone())
    assert tuple(floor) == (STREAM, 10, 0)
    again = [message(ms) for ms in range(1, 13)]
    taken = db.write(lambda tx: intake.take_in(tx, "a", again, lambda _: (None, ["t"]), 1.0))
    assert taken.new == 2
    elsewhere = [message(5, stream="sos:stream:project:p:agent:a")]
    assert db.write(lambda tx: intake.take_in(tx, "a", elsewhere, lambda _: (None, ["t"]), 1.0)).new == 1


def test_a_floor_never_falls(db: Database) -> None:
    _fill(db, 1, 100.0, first=50)
    db.write(lambda tx: upkeep.clear_text(tx, 200.0))
    db.write(lambda tx: upkeep.forget_messages(tx, 200.0))
    older = """
        insert into messages (agent, stream, ms, seq, message_id, source, received_at, state, finished_at)
        values ('a', ?, 7, 0, '7-0', 's', 1, 'delivered', 1)
        """
    db.write(lambda tx: tx.execute(older, (STREAM,)))
    db.write(lambda tx: upkeep.forget_messages(tx, 200.0))
    assert _count(db, "select floor_ms from streams") == 50


def test_rounds_are_bounded_and_the_file_shrinks(tmp_path: Path) -> None:
    settings = Settings(
        agents=(AgentSettings(agent="a", transports=(TransportSettings(name="t", command=("/bin/true",)),)),),
        state_path=str(tmp_path / "ledger.db"),
        clear_text_after=7 * DAY,
        forget_after=30 * DAY,
        config_path=tmp_path / "config.json",
    )

    db = Database(settings.ledger_file)
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
