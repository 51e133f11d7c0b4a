"""A ledger of every older version is opened, is then like a new one, and goes on with what it held."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from worker.ledger import claims
from worker.ledger.claims import Claim
from worker.ledger.groups import LaneSettings
from worker.ledger.schema import MIGRATIONS, VERSION
from worker.ledger.sqlite import SqliteLedger

ROWS = """
insert into inboxes (agent, floor_ms) values ('a', 0);
insert into lanes (id, agent, transport) values (1, 'a', 't');
insert into messages (id, agent, stream, ms, seq, message_id, source, text, received_at, state)
values (1, 'a', 's', 7, 0, '7-0', 'agent:b', 'hello', 1.0, 'open');
insert into deliveries (id, message, lane, ms, seq, state) values (1, 1, 1, 7, 0, 'waiting');
"""


def _shape(path: Path) -> dict[str, Any]:
    """What a ledger has: tables with their columns, indexes, views."""
    with closing(sqlite3.connect(path)) as db:
        names = db.execute("select type, name from sqlite_master where name not like 'sqlite_%'").fetchall()
        return {
            name: [row[1:4] for row in db.execute(f"pragma table_info({name})")] if kind == "table" else kind
            for kind, name in names
        }


@pytest.mark.parametrize("version", range(1, VERSION))
def test_an_older_ledger_becomes_todays(tmp_path: Path, version: int) -> None:
    old = tmp_path / "old.db"
    with closing(sqlite3.connect(old)) as db:
        for script in MIGRATIONS[:version]:
            db.executescript(script)
        db.executescript(ROWS)
        db.execute(f"pragma user_version = {version}")
    with closing(SqliteLedger(tmp_path / "new.db")), closing(SqliteLedger(old)) as opened:
        assert _shape(old) == _shape(tmp_path / "new.db")
        claimed = opened.write(
            lambda tx: claims.claim(
                tx,
                claims.head_of(1),
                attempt_id="0" * 32,
                worker="w",
                boot_id="b",
                settings=lambda *_: LaneSettings(),
                now=8.0,
            )
        )
        assert isinstance(claimed, Claim)
        assert claimed.text == "hello"


RUNNING = """
insert into messages (id, agent, stream, ms, seq, message_id, source, text, received_at, state)
values (2, 'a', 's', 8, 0, '8-0', 'agent:b', 'too', 1.0, 'open');
insert into deliveries (id, message, lane, ms, seq, state) values (2, 2, 1, 8, 0, 'waiting');
update deliveries set state = 'running', attempt_id = 'x', starts = 1;
insert into attempts (id, delivery, lane, starts, worker, boot_id, source, started_at, timeout)
values ('x', 1, 1, 1, 'w', 'b', 's', 1.0, 30.0);
insert into companions values ('x', 2, 1);
"""


def test_what_went_together_when_it_was_migrated_still_does(tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    before_one_runs = 12
    with closing(sqlite3.connect(old)) as db:
        for script in MIGRATIONS[:before_one_runs]:
            db.executescript(script)
        db.executescript(ROWS + RUNNING)
        db.execute(f"pragma user_version = {before_one_runs}")
    with closing(SqliteLedger(old)) as opened:
        rows = opened.read(lambda tx: [tuple(row) for row in tx.execute("select id, state, companion from deliveries")])
        assert rows == [(1, "running", 0), (2, "running", 2)]
