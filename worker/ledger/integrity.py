"""Whether a ledger is sound, and a copy of one moment of it."""

import contextlib
import sqlite3
from pathlib import Path

from worker.ledger.errors import translated
from worker.ledger.port import Tx


def problems(db: Tx) -> list[str]:
    """Damage first; where there is none, the rules that every transaction keeps. Empty: the ledger is sound."""
    found: list[str] = []
    if isinstance(db, sqlite3.Connection):  # a server looks after its files itself
        damage = [row[0] for row in db.execute("pragma integrity_check(20)") if row[0] != "ok"]
        if damage:
            return [*damage, "the file is damaged: stop the worker, put a backup in its place, keep the damaged file"]
        found = [
            f"{table} row {row} points to a {parent} that is not there"
            for table, row, parent, _ in db.execute("pragma foreign_key_check")
        ]
    for words, query in _RULES:
        count = db.execute(query).fetchone()[0]
        if count:
            found.append(f"{count} {words}")
    return found


_RULES = (
    (
        "lane(s) with more than one running attempt",
        """select count(*) from (select 1 from deliveries where state = 'running'
           group by lane having count(distinct coalesce(attempt_id, cast(id as text))) > 1) as doubled""",
    ),
    (
        "running deliveries without an attempt",
        """select count(*) from deliveries d where state = 'running'
           and not exists (select 1 from attempts a where a.id = d.attempt_id and a.ended_at is null)""",
    ),
    (
        "finished message(s) with a delivery that is not final",
        """select count(*) from messages m where m.state <> 'open' and exists
           (select 1 from deliveries d where d.message = m.id
            and d.state in ('waiting', 'running', 'retrying', 'held'))""",
    ),
)


def backup(ledger: Path, target: Path) -> None:
    """Copy a consistent moment of the ledger into the empty file `target`, while others write.

    Raises LedgerError.
    """
    with (
        contextlib.closing(sqlite3.connect(f"{ledger.absolute().as_uri()}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        try:
            source.backup(copy)
        except sqlite3.Error as error:
            raise translated(error, ledger) from error


def try_writing(ledger: Path) -> None:
    """Take the write lock and let go of it: nothing is changed. Raises sqlite3.Error where that cannot be done."""
    with contextlib.closing(sqlite3.connect(ledger, timeout=5, isolation_level=None)) as probe:
        probe.execute("begin immediate")
        probe.execute("rollback")
