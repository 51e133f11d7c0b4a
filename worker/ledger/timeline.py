"""Whether the server has forgotten commits: after a failover, or a restore, its history is another one.

PostgreSQL counts it: each time that it goes on from a point in the past, or a standby takes over, its timeline is
another one. Then nobody knows what the ledger has forgotten, and what was to run is held until a person says `resume`.
"""

import logging
from typing import NamedTuple

from worker.ledger.port import Tx
from worker.times import stamp

logger = logging.getLogger("bus_watch.ledger")


class Line(NamedTuple):
    """A server's history: the cluster's own number, and how often it has gone another way."""

    system: str
    timeline: int


class Change(NamedTuple):
    """That it is another one since then (epoch seconds), and how many lanes are held."""

    at: float
    held: int


def keep(tx: Tx, now: Line) -> bool:
    """Note the history that the ledger is in; true where it was another before: then what was to run is held."""
    row = tx.execute("select system, timeline from server_line").fetchone()
    if row is None:
        tx.execute("insert into server_line (number, system, timeline) values (1, ?, ?) on conflict do nothing", now)
        return False
    if Line(row["system"], row["timeline"]) == now:
        return False
    ids = [
        row["id"]
        for row in tx.execute(
            """
            select id from lanes l where exists
              (select 1 from deliveries d where d.lane = l.id and d.state in ('waiting', 'retrying', 'running'))
            order by id
            """
        ).fetchall()
    ]
    tx.lock_lanes(ids)
    tx.executemany("update lanes set paused = 1 where id = ?", [(lane,) for lane in ids])
    at = tx.now()
    tx.execute("update server_line set system = ?, timeline = ?, changed_at = ?", (*now, at))
    logger.critical("the ledger's server is in another history since %s: %d lanes are held", stamp(at), len(ids))
    return True


def change(db: Tx) -> Change | None:
    """The change that nobody has looked at."""
    row = db.execute(
        "select changed_at, (select count(*) from lanes where paused = 1) as held from server_line "
        "where changed_at is not null"
    ).fetchone()
    return None if row is None else Change(row["changed_at"], row["held"])


def looked(tx: Tx) -> None:
    """A person has resumed something: once nothing is held any more, the change is looked at."""
    tx.execute("update server_line set changed_at = null where not exists (select 1 from lanes where paused = 1)")
