"""What people, scripts and monitors want to know of the ledger at a glance. Bounded queries, each through an index."""

import sqlite3
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LaneView:
    """One lane: what it has in which state, and how it is. Times are epoch seconds."""

    id: int
    agent: str
    transport: str
    paused: bool
    broken_since: float | None
    broken_reason: str | None
    waiting: int
    retrying: int
    running: int
    held: int
    dead: int
    oldest_at: float | None  # when the message at its head came

    @property
    def backlog(self) -> int:
        """What is not done yet, and will be without anybody's help."""
        return self.waiting + self.retrying + self.running


@dataclass(frozen=True, slots=True)
class InboxView:
    """One agent's inbox: how polling it goes."""

    agent: str
    polled_at: float | None
    brought_at: float | None
    next_poll_at: float
    failures: int
    failing_since: float | None
    error: str | None
    malformed: int


def lanes(db: sqlite3.Connection) -> list[LaneView]:
    """All lanes, those without settings included."""
    pending = _counts(db, _PENDING)
    retrying = _counts(db, _RETRYING)
    running = _counts(db, _RUNNING)
    held = _counts(db, _STUCK, "held")
    dead = _counts(db, _STUCK, "dead")
    return [
        LaneView(
            id=row["id"],
            agent=row["agent"],
            transport=row["transport"],
            paused=bool(row["paused"]),
            broken_since=row["broken_since"],
            broken_reason=row["broken_reason"],
            waiting=pending.get(row["id"], 0) - retrying.get(row["id"], 0),
            retrying=retrying.get(row["id"], 0),
            running=running.get(row["id"], 0),
            held=held.get(row["id"], 0),
            dead=dead.get(row["id"], 0),
            oldest_at=_oldest(db, row["id"]) if row["id"] in pending else None,
        )
        for row in db.execute("select * from lanes order by agent, transport")
    ]


def _counts(db: sqlite3.Connection, query: str, *parameters: object) -> dict[int, int]:
    return {row["lane"]: row["n"] for row in db.execute(query, parameters)}


_PENDING = """
select lane, count(*) as n from deliveries indexed by deliveries_pending
where state in ('waiting', 'retrying') group by lane
"""
# What retries has a time; one that a person has just made due counts as waiting until it runs.
_RETRYING = """
select lane, count(*) as n from deliveries indexed by deliveries_scheduled
where state in ('waiting', 'retrying') and next_at is not null and state = 'retrying' group by lane
"""
_RUNNING = (
    "select lane, count(*) as n from deliveries indexed by deliveries_running where state = 'running' group by lane"
)
_STUCK = """
select lane, count(*) as n from deliveries indexed by deliveries_stuck
where state in ('held', 'dead') and state = ? group by lane
"""


def _oldest(db: sqlite3.Connection, lane: int) -> float | None:
    row = db.execute(
        """
        select m.received_at from deliveries d indexed by deliveries_pending join messages m on m.id = d.message
        where d.lane = ? and d.state in ('waiting', 'retrying') order by d.ms, d.seq, d.id limit 1
        """,
        (lane,),
    ).fetchone()
    return float(row["received_at"]) if row else None


def inboxes(db: sqlite3.Connection) -> list[InboxView]:
    """All inboxes that were ever watched."""
    return [
        InboxView(
            agent=row["agent"],
            polled_at=row["polled_at"],
            brought_at=row["brought_at"],
            next_poll_at=row["next_poll_at"],
            failures=row["failures"],
            failing_since=row["failing_since"],
            error=row["error"],
            malformed=row["malformed"],
        )
        for row in db.execute("select * from inboxes order by agent")
    ]
