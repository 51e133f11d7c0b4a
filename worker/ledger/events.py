"""Every change of a state, in the order of the commits: what followers read, each from where it was (its cursor)."""

from typing import NamedTuple

from worker.ledger.port import Tx

KEPT = 200_000  # the newest ones; a follower that was away for longer is told that it missed some


class Event(NamedTuple):
    """One change. `key` is that of the message; `transport` is empty where it is not a delivery's."""

    cursor: int
    at: float
    key: str
    kind: str
    transport: str
    state: str
    reason: str


def after(db: Tx, cursor: int, limit: int) -> list[Event]:
    """What happened after the cursor, oldest first; what is forgotten by now has an empty key."""
    rows = db.execute(
        """
        select e.id, e.at,
               case when e.sent is not null then 'out-' || e.sent
                    else coalesce(m.agent || '/' || m.stream || '/' || m.message_id, '') end as key,
               case when e.sent is not null then 'sent' when e.delivery is not null then 'delivery' else 'message' end,
               coalesce(l.transport, ''), e.state, coalesce(d.reason, o.reason, '')
        from events e left join deliveries d on d.id = e.delivery left join lanes l on l.id = d.lane
        left join messages m on m.id = coalesce(e.message, d.message) left join outbox o on o.id = e.sent
        where e.id > ? order by e.id limit ?
        """,
        (cursor, limit),
    )
    return [Event(*row) for row in rows]


def newest(db: Tx) -> int:
    """The cursor of the newest event; 0 where there is none."""
    row = db.execute("select max(id) as id from events").fetchone()
    return int(row["id"] or 0)


def oldest(db: Tx) -> int:
    """The cursor of the oldest event that is kept; 0 where there is none."""
    row = db.execute("select min(id) as id from events").fetchone()
    return int(row["id"] or 0)


def forget(tx: Tx, limit: int) -> int:
    """Forget the oldest beyond KEPT. How many."""
    return tx.execute(
        "delete from events where id in (select id from events where id <= ? order by id limit ?)",
        (newest(tx) - KEPT, limit),
    ).rowcount
