"""What commands read of messages and how they went: bounded queries, each through an index, none that writes."""

from collections.abc import Iterable
from dataclasses import dataclass

from worker.ledger import sets
from worker.ledger.port import Row, Tx


def outcomes(db: Tx, messages: Iterable[int]) -> list[Row]:
    """Row number (`id`), agent, id and state of these messages, in inbox order; without those that are forgotten."""
    found: list[Row] = []
    for some in sets.of(messages):
        found += db.execute(_OUTCOMES + sets.marks(len(some)) + " order by id", some)
    return found


_OUTCOMES = "select id, agent, message_id, state from messages where id in "


def message(db: Tx, message_row: int) -> Row:
    """One message, whole."""
    row: Row = db.execute("select * from messages where id = ?", (message_row,)).fetchone()
    return row


def latest(db: Tx, agent: str, source: str) -> Row | None:
    """The newest message from a source to an agent, whole; None where there is none."""
    row: Row | None = db.execute(
        """
        select * from messages indexed by messages_by_time where agent = ? and source = ?
        order by ms desc, id desc limit 1
        """,
        (agent, source),
    ).fetchone()
    return row


def attempts(db: Tx, delivery: int) -> list[Row]:
    """The attempts of a delivery, oldest first; `own_starts`: which of its attempts each one was."""
    return db.execute(
        """
        select a.*, a.starts as own_starts from attempts a where a.delivery = :delivery
        union all
        select a.*, c.starts as own_starts from companions c join attempts a on a.id = c.attempt
        where c.delivery = :delivery
        order by own_starts
        """,
        {"delivery": delivery},
    ).fetchall()


def together(db: Tx, attempt_id: str) -> list[str]:
    """The ids of the messages that went together in an attempt, in inbox order; empty where one went alone."""
    rows = db.execute(
        """
        select m.message_id, d.ms, d.seq, d.id from attempts a join deliveries d on d.id = a.delivery
        join messages m on m.id = d.message where a.id = :attempt
        union all
        select m.message_id, d.ms, d.seq, d.id from companions c join deliveries d on d.id = c.delivery
        join messages m on m.id = d.message where c.attempt = :attempt
        order by 2, 3, 4
        """,
        {"attempt": attempt_id},
    ).fetchall()
    return [row["message_id"] for row in rows] if len(rows) > 1 else []


def last_together(db: Tx, message: int) -> dict[str, list[str]]:
    """For each transport that a message went by together with others: their ids, in its last attempt."""
    found = {}
    rows = db.execute(
        "select d.id, l.transport from deliveries d join lanes l on l.id = d.lane where d.message = ? order by d.id",
        (message,),
    ).fetchall()
    for row in rows:
        made = attempts(db, row["id"])
        if made and (ids := together(db, made[-1]["id"])):
            found[row["transport"]] = ids
    return found


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which messages `history` lists; what is empty or None does not narrow it."""

    agents: frozenset[str] = frozenset()
    source: str | None = None
    since: float | None = None  # epoch seconds
    state: str | None = None  # one of STATES
    host: str | None = None  # that has a lane which they are for

    @property
    def narrow(self) -> bool:
        """Whether it lists fewer than all."""
        return self != Wanted()


MESSAGE_STATES = ("open", "delivered", "failed", "logged")
STATES = (*MESSAGE_STATES, "succeeded", "waiting", "retrying", "running", "held", "dead", "cancelled")


def history(db: Tx, wanted: Wanted, limit: int) -> list[Row]:
    """The newest of the wanted messages, newest first."""
    conditions, values = list[str](), list[object]()
    index, order = "", "m.id desc"
    if wanted.agents:
        conditions.append(f"m.agent in ({', '.join('?' * len(wanted.agents))})")
        values += sorted(wanted.agents)
        if len(wanted.agents) == 1:
            # By its id's time: an agent that is rarely written to is not searched for in everybody's history.
            index, order = "indexed by messages_by_time", "m.ms desc, m.id desc"
    if wanted.source is not None:
        conditions.append("m.source = ?")
        values.append(wanted.source)
    if wanted.since is not None:
        conditions.append("m.received_at >= ?")
        values.append(wanted.since)
    if wanted.state in MESSAGE_STATES:
        conditions.append("m.state = ?")
        values.append(wanted.state)
    elif wanted.state is not None:
        conditions.append("exists (select 1 from deliveries d where d.message = m.id and d.state = ?)")
        values.append(wanted.state)
    if wanted.host is not None:
        conditions.append(
            "exists (select 1 from deliveries d join lanes l on l.id = d.lane where d.message = m.id and l.host = ?)"
        )
        values.append(wanted.host)
    where = f"where {' and '.join(conditions)}" if conditions else ""
    query = f"select m.* from messages m {index} {where} order by {order} limit ?"  # noqa: S608 - our own words
    return db.execute(query, (*values, limit)).fetchall()


def last_outputs(db: Tx, message: int) -> list[tuple[str, str]]:
    """Of a message's succeeded deliveries: transport, and what the attempt printed that ended it."""
    rows = db.execute(
        """
        select l.transport, a.output from deliveries d
        join lanes l on l.id = d.lane join attempts a on a.id = coalesce(
          (select o.id from attempts o where o.delivery = d.id and o.starts = d.starts),
          (select c.attempt from companions c where c.delivery = d.id and c.starts = d.starts))
        where d.message = ? and d.state = 'succeeded' and a.output is not null
        """,
        (message,),
    )
    return [(row[0], row[1]) for row in rows]


def last_delivered(db: Tx, agent: str) -> float | None:
    """When the newest of an agent's delivered messages was; epoch seconds. Asks the newest 1,000 only."""
    row = db.execute(
        """
        select max(finished_at) as at from (
          select state, finished_at from messages indexed by messages_by_time
          where agent = ? order by ms desc limit 1000
        ) as latest where state = 'delivered'
        """,
        (agent,),
    ).fetchone()
    return None if row["at"] is None else float(row["at"])


def came_by_hour(db: Tx, agent: str, now: float, hours: int) -> list[tuple[int, int]]:
    """How many messages came in each of the last hours: (how many hours ago it began, number)."""
    since = now - 3600 * hours
    rows = db.execute(
        """
        select cast(? - received_at as integer) / 3600, count(*) from messages indexed by messages_by_time
        where agent = ? and ms > ? and received_at > ? group by 1
        """,
        (now, agent, int((since - 3600) * 1000), since),
    )
    return [(row[0], row[1]) for row in rows]
