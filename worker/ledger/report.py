"""What commands read of lanes and of what is not done: bounded queries, each through an index, none that writes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from worker.ledger.port import Row, Rows, Tx


@dataclass(frozen=True, slots=True)
class LaneReport:
    """One lane: who it wakes, what it has to do, and what keeps it."""

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
    oldest: float | None  # received_at of the first message that is not done
    host: str | None = None  # in a fleet: who has it
    moving_to: str | None = None  # and who is to have it


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """One delivery that is not done, with what a sentence about it needs."""

    id: int
    lane: int
    agent: str
    transport: str
    stream: str
    message_id: str
    source: str
    state: str
    starts: int
    burnt: int
    next_at: float | None
    reason: str
    cancel: bool
    received_at: float
    attempt_id: str | None
    started_at: float | None
    timeout: float | None
    worker: str | None
    ambiguous: bool = False
    """Whether another stream has a message of the same id for this agent."""


def lanes(db: Tx, host: str | None = None) -> list[LaneReport]:
    """All lanes, or those that a `host` has, with their counts.

    Only what is not done is counted, so a long history costs nothing.
    """
    counts: dict[int, dict[str, int]] = {}
    pending = """
        select lane, state, count(*) from deliveries indexed by deliveries_pending
        where state in ('waiting', 'retrying') group by lane, state
        """
    stuck = """
        select lane, state, count(*) from deliveries indexed by deliveries_stuck
        where state in ('held', 'dead') group by lane, state
        """
    for lane, state, count in (*db.execute(pending), *db.execute(stuck)):
        counts.setdefault(lane, {})[state] = count
    rows = db.execute(
        """
        select l.id, l.agent, l.transport, l.paused, l.broken_since, l.broken_reason, l.host, l.moving_to,
               m.received_at as oldest,
               (select count(*) from deliveries r indexed by one_runs
                where r.lane = l.id and r.state = 'running') as running
        from lanes l join lane_heads h on h.lane = l.id
        left join deliveries d on d.id = h.head left join messages m on m.id = d.message
        order by l.agent, l.transport
        """
    )
    none = dict.fromkeys(("waiting", "retrying", "held", "dead"), 0)
    return [
        LaneReport(**{**dict(row), "paused": bool(row["paused"]), **none, **counts.get(row["id"], {})})
        for row in rows
        if host in {None, row["host"]}
    ]


def by_agent(lanes: Iterable[LaneReport]) -> dict[str, list[LaneReport]]:
    """The lanes of each agent that has one."""
    found: dict[str, list[LaneReport]] = {}
    for lane in lanes:
        found.setdefault(lane.agent, []).append(lane)
    return found


_DELIVERY = """
select d.id, d.lane, l.agent, l.transport, m.stream, m.message_id, m.source, d.state, d.starts, d.burnt, d.next_at,
       d.reason, d.cancel, m.received_at, d.attempt_id, a.started_at, a.timeout, a.worker,
       (
         select count(*) from messages n indexed by messages_by_time
         where n.agent = m.agent and n.ms = m.ms and n.seq = m.seq
       ) > 1 as ambiguous
from deliveries d {index} join lanes l on l.id = d.lane join messages m on m.id = d.message
left join attempts a on a.id = d.attempt_id
"""


def running(db: Tx, lane: int) -> list[DeliveryReport]:
    """What runs in a lane: at most one attempt, with all that goes together in it."""
    query = _DELIVERY.format(index="indexed by one_runs") + (
        "where d.lane = ? and d.state = 'running' order by d.ms, d.seq, d.id"
    )
    return _deliveries(db.execute(query, (lane,)))


def all_running(db: Tx) -> dict[int, list[DeliveryReport]]:
    """The same of each lane in which something runs, by its id."""
    query = _DELIVERY.format(index="indexed by one_runs") + "where d.state = 'running' order by d.ms, d.seq, d.id"
    found: dict[int, list[DeliveryReport]] = {}
    for one in _deliveries(db.execute(query)):
        found.setdefault(one.lane, []).append(one)
    return found


def ages(db: Tx, lane: int, now: float, bounds: Sequence[float]) -> tuple[list[int], float]:
    """How many of what waits in a lane are at most so many seconds old, by their ids; and the sum of their ages."""
    younger = ", ".join("coalesce(sum(case when ms >= ? then 1 else 0 end), 0)" for _ in bounds)
    row = db.execute(
        f"""
        select {younger}, coalesce(sum(case when ms / 1000.0 < ? then ? - ms / 1000.0 else 0.0 end), 0.0)
        from deliveries indexed by deliveries_pending
        where lane = ? and state in ('waiting', 'retrying')
        """,  # noqa: S608 - our own words
        (*(int((now - bound) * 1000) for bound in bounds), now, now, lane),
    ).fetchone()
    return list(row)[:-1], float(row[-1])


def head(db: Tx, lane: int) -> DeliveryReport | None:
    """What comes first of what waits in a lane."""
    query = _DELIVERY.format(index="") + "where d.id = (select head from lane_heads where lane = ?)"  # noqa: S608 - our own words
    found = _deliveries(db.execute(query, (lane,)))
    return found[0] if found else None


def heads(db: Tx) -> dict[int, DeliveryReport]:
    """What comes first in each lane in which something waits, by the lane's id."""
    query = _DELIVERY.format(index="") + "where d.id in (select head from lane_heads)"  # noqa: S608 - our own words
    return {one.lane: one for one in _deliveries(db.execute(query))}


def heads_since(db: Tx) -> dict[int, float]:
    """When what came before the head of each lane, in which something waits, ended (epoch seconds); 0: nothing did."""
    rows = db.execute(
        """
        select h.lane, coalesce((
          select ended_at from attempts indexed by attempts_recent
          where lane = h.lane and delivery <> h.head and ended_at is not null order by started_at desc limit 1
        ), 0.0) from lane_heads h where h.head is not null
        """
    )
    return {row[0]: row[1] for row in rows}


def pending(db: Tx, lane: int, limit: int) -> list[DeliveryReport]:
    """What waits or retries in a lane, in inbox order."""
    query = _DELIVERY.format(index="indexed by deliveries_pending") + (
        "where d.lane = ? and d.state in ('waiting', 'retrying') order by d.ms, d.seq, d.id limit ?"
    )
    return _deliveries(db.execute(query, (lane, limit)))


def most_from(db: Tx, lane: int, among: int = 1000) -> tuple[str, int] | None:
    """From whom most of what waits in a lane comes, and how much; of the first `among` only. None: nothing waits."""
    row = db.execute(
        """
        select m.source, count(*) as number from (
          select message from deliveries indexed by deliveries_pending
          where lane = ? and state in ('waiting', 'retrying') order by ms, seq, id limit ?
        ) d join messages m on m.id = d.message group by m.source order by number desc limit 1
        """,
        (lane, among),
    ).fetchone()
    return None if row is None else (row["source"], row["number"])


def one(db: Tx, delivery: int) -> DeliveryReport | None:
    """One delivery, in whatever state; None where it is forgotten."""
    found = _deliveries(db.execute(_DELIVERY.format(index="") + "where d.id = ?", (delivery,)))
    return found[0] if found else None


def stuck(db: Tx, lane: int, limit: int) -> list[DeliveryReport]:
    """What is held or dead in a lane: it needs a person."""
    found = []
    for state in ("held", "dead"):
        # The first condition repeats the partial index's own: without it SQLite does not see that it may use it.
        query = _DELIVERY.format(index="indexed by deliveries_stuck") + (
            "where d.state in ('held', 'dead') and d.state = ? and d.lane = ? order by d.ms, d.seq, d.id limit ?"
        )
        found += _deliveries(db.execute(query, (state, lane, limit)))
    return found


def of_message(db: Tx, message: int) -> list[DeliveryReport]:
    """All deliveries of a message."""
    return _deliveries(db.execute(_DELIVERY.format(index="") + "where d.message = ? order by d.id", (message,)))


def _deliveries(rows: Rows) -> list[DeliveryReport]:
    return [
        DeliveryReport(**{**dict(row), "cancel": bool(row["cancel"]), "ambiguous": bool(row["ambiguous"])})
        for row in rows
    ]


def inboxes(db: Tx) -> dict[str, Row]:
    """How each inbox is: last good poll, and why polls fail where they do."""
    return {row["agent"]: row for row in db.execute("select * from inboxes")}


def workers(db: Tx) -> list[Row]:
    """Workers that were not seen to stop; whether they live is told by their locks."""
    return db.execute("select * from workers where stopped_at is null order by started_at desc").fetchall()
