"""How often an agent's screen was not explained by its profile, by agent and version; no text of any screen."""

import sqlite3
from typing import NamedTuple

_KEPT = 50  # rows: versions come monthly, and a transport could make some up


class Drift(NamedTuple):
    """One UI in one version. Times are epoch seconds."""

    ui: str
    version: str
    times: int
    first_at: float
    last_at: float


def note(tx: sqlite3.Connection, ui: str, version: str, now: float) -> None:
    """One more unknown screen."""
    tx.execute(
        """
        insert into unknown_screens (ui, version, count, first_at, last_at) values (?, ?, 1, ?, ?)
        on conflict (ui, version) do update set count = count + 1, last_at = excluded.last_at
        """,
        (ui, version, now, now),
    )
    tx.execute(
        """
        delete from unknown_screens where (ui, version) not in
          (select ui, version from unknown_screens order by last_at desc limit ?)
        """,
        (_KEPT,),
    )


def all_of(db: sqlite3.Connection) -> list[Drift]:
    """Every one, the latest first."""
    rows = db.execute("select ui, version, count, first_at, last_at from unknown_screens order by last_at desc")
    return [Drift(*row) for row in rows]
