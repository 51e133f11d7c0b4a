"""The outbox: what our agents send is written down first, sent one at a time to each recipient, and kept in order.

The rules are `worker.outgoing`'s. Claimed and settled by compare-and-set, as deliveries are: docs/protocol.md#outbox.
"""

from collections.abc import Callable, Collection
from typing import NamedTuple

from worker.ledger.errors import NoSuchMessageError
from worker.ledger.port import Row, Tx
from worker.outgoing import Counts, Kind, Next, Sending, key_of

_PENDING = "state in ('waiting', 'sending', 'retrying')"


class Letter(NamedTuple):
    """A message of the outbox that is ours to send."""

    id: int
    agent: str
    recipient: str
    kind: str
    text: str
    answers: str | None
    created_at: float
    counts: Counts
    released: bool

    @property
    def name(self) -> str:
        """Its own name, the same at every try, and no other message's of this agent."""
        return name_of(self.id, self.created_at)


def name_of(number: int, created_at: float) -> str:
    """The name of a message of ours, on a bus that has names."""
    return f"bus-watch-{number}-{int(created_at * 1_000_000)}"


class Head(NamedTuple):
    """What comes first of an agent's messages to one recipient; `next_at` in epoch seconds, None: now."""

    id: int
    agent: str
    recipient: str
    state: str
    worker: str | None
    claimed_at: float | None
    next_at: float | None


def put(
    tx: Tx,
    agent: str,
    recipient: str,
    text: str,
    *,
    kind: str,
    now: float,
    message_class: str | None = None,
    answers: str | None = None,
) -> int:
    """Write a message down, behind those to the same recipient. Its number."""
    row = tx.execute(
        """
        insert into outbox (agent, recipient, kind, text, class, answers, created_at, state)
        values (?, ?, ?, ?, ?, ?, ?, 'waiting') returning id
        """,
        (agent, recipient, kind, text, message_class, answers, now),
    ).fetchone()
    return int(row["id"])


def put_once(
    tx: Tx,
    agent: str,
    recipient: str,
    text: str,
    *,
    kind: str,
    now: float,
    message_class: str | None,
    once: str,
) -> int:
    """`put`, unless a message with this name was put before (empty: it has none). Its number, or that one's."""
    name = f"hook:{once}" if once else None
    tx.lock_outbox(agent)
    found = tx.execute(
        "select id from outbox indexed by outbox_recent where agent = ? and recipient = ? and answers = ?",
        (agent, recipient, name),
    ).fetchone()
    if found is not None:
        return int(found["id"])
    return put(tx, agent, recipient, text, kind=kind, now=now, message_class=message_class, answers=name)


def heads(db: Tx, agent: str | None = None, recipient: str | None = None) -> list[Head]:
    """The first pending message of each sender to each recipient, or of these alone."""
    rows = db.execute(
        f"""
        select o.id, o.agent, o.recipient, o.state, o.worker, o.claimed_at, o.next_at
        from (select min(id) as id from outbox indexed by outbox_pending
              where {_PENDING} and kind <> 'probe' and (cast(:agent as text) is null or agent = :agent)
                and (cast(:recipient as text) is null or recipient = :recipient)
              group by agent, recipient) first join outbox o on o.id = first.id order by o.id
        """,  # noqa: S608 - our own words
        {"agent": agent, "recipient": recipient},
    )
    return [Head(*row) for row in rows]


class Sent(NamedTuple):
    """What a worker sends now, or sent when it ended: on which host, and when that worker last swept there."""

    head: Head
    host: str
    seen_at: float


def being_sent(db: Tx) -> list[Sent]:
    """What somebody sends now, or sent when it ended."""
    rows = db.execute(
        f"""
        select o.id, o.agent, o.recipient, o.state, o.worker, o.claimed_at, o.next_at, coalesce(w.host, ''),
               coalesce(w.seen_at, 0)
        from outbox o indexed by outbox_pending left join workers w on w.id = o.worker
        where o.{_PENDING} and o.state = 'sending'
        """  # noqa: S608 - our own words
    )
    return [Sent(Head(*row[:7]), row[7], row[8]) for row in map(tuple, rows)]


def claim(tx: Tx, head: Head, worker: str, now: float) -> Letter | None:
    """The right to send a head that is due; None where somebody else was faster, or another comes first by now.

    A probe waits behind nothing.
    """
    kind = find(tx, head.id)["kind"]
    if kind != Kind.PROBE and not any(one.id == head.id for one in heads(tx, head.agent, head.recipient)):
        return None
    row = tx.execute(
        """
        update outbox set state = 'sending', worker = ?, claimed_at = ?, attempts = attempts + 1, next_at = null
        where id = ? and state in ('waiting', 'retrying') and coalesce(next_at, 0) <= ? returning *
        """,
        (worker, now, head.id, now),
    ).fetchone()
    if row is None:
        return None
    return _letter(row, now)


def _letter(row: Row, now: float) -> Letter:
    counts = Counts(row["failures"], row["unknown"], now - row["created_at"])
    return Letter(
        row["id"], row["agent"], row["recipient"], row["kind"], row["text"] or "", row["answers"], row["created_at"],
        counts, bool(row["released"]),
    )  # fmt: skip


def settle(
    tx: Tx,
    number: int,
    worker: str,
    decide: Callable[[Letter], Next],
    now: float,
    *,
    lies: tuple[str, str] | None = None,
    remark: str | None = None,
) -> Next | None:
    """Write down how a try by `worker` ended; None where somebody else has. `lies`: its stream and id on the bus."""
    row = tx.execute(
        "select * from outbox where id = ? and state = 'sending' and worker = ?", (number, worker)
    ).fetchone()
    if row is None:
        return None
    found = decide(_letter(row, now))
    over = found.state not in {Sending.RETRYING, Sending.HELD}
    stream, message_id = lies or (None, None)
    tx.execute(
        """
        update outbox set state = ?, failures = ?, unknown = ?, reason = ?, next_at = ?, ended_at = ?, stream = ?,
                          message_id = ?, remark = ?
        where id = ?
        """,
        (
            found.state, found.counts.failures, found.counts.unknown, found.reason,
            now + found.delay if found.state is Sending.RETRYING else None, now if over else None, stream, message_id,
            remark, number,
        ),
    )  # fmt: skip
    return found


def exchanged(db: Tx, agent: str, other: str, since: float) -> int:
    """How many messages the two have sent each other, as the ledger of one knows it; 0 if a human wrote meanwhile.

    What wakes nobody does not count.
    """
    row = db.execute(
        """
        select (select count(*) from messages indexed by messages_by_time
                where agent = :agent and ms >= :since_ms and received_at >= :since and source = 'agent:' || :other
                  and coalesce(class, '') <> 'terminal-log') as came,
               (select count(*) from messages indexed by messages_by_time
                where agent = :agent and ms >= :since_ms and received_at >= :since
                  and (class = 'human' or source not like 'agent:%')) as human,
               (select count(*) from outbox indexed by outbox_recent
                where agent = :agent and recipient = :other and created_at >= :since and state = 'sent'
                  and kind = 'message' and coalesce(class, '') <> 'terminal-log') as sent
        """,
        {"agent": agent, "other": other, "since": since, "since_ms": int(since * 1000)},
    ).fetchone()
    return 0 if row["human"] else int(row["came"] + row["sent"])


def find(db: Tx, number: int) -> Row:
    """One message of the outbox. NoSuchMessageError."""
    row: Row | None = db.execute("select * from outbox where id = ?", (number,)).fetchone()
    if row is None:
        raise NoSuchMessageError(f"no message {key_of(number)} in the outbox; see `bus-watch history --sent`")
    return row


def history(db: Tx, agents: Collection[str], limit: int) -> list[Row]:
    """What was sent or is to be by these agents, or by all where none is named; newest first."""
    where = f"where agent in ({', '.join('?' * len(agents))})" if agents else ""
    return db.execute(f"select * from outbox {where} order by id desc limit ?", (*agents, limit)).fetchall()  # noqa: S608 - our own words


def unsent(db: Tx, limit: int) -> list[Row]:
    """What the bus does not have: in order, then held and dead ones."""
    pending = db.execute(
        f"select * from outbox indexed by outbox_pending where {_PENDING} order by agent, recipient, id limit ?",  # noqa: S608 - our own words
        (limit,),
    ).fetchall()
    stuck = db.execute(
        "select * from outbox indexed by outbox_stuck where state in ('held', 'dead') order by state desc, id limit ?",
        (limit,),
    ).fetchall()
    return pending + stuck


def counts(db: Tx) -> dict[str, int]:
    """How many are pending, held and dead, by state."""
    rows = db.execute(
        f"""
        select state, count(*) as n from outbox indexed by outbox_pending where {_PENDING} group by state
        union all
        select state, count(*) as n from outbox indexed by outbox_stuck where state in ('held', 'dead') group by state
        """  # noqa: S608 - our own words
    )
    return {row["state"]: row["n"] for row in rows}


def retry(tx: Tx, number: int) -> tuple[bool, str]:
    """A message that is held, dead, cancelled or retrying is tried again, in its old place. Whether, and in words."""
    row = find(tx, number)
    state = row["state"]
    if state not in {"held", "dead", "cancelled", "retrying"}:
        return False, f"is {state}: nothing to retry"
    if row["text"] is None:
        return False, f"is {state}, and its text was cleared by retention: send it again"
    tx.execute(
        """
        update outbox set state = 'waiting', failures = 0, unknown = 0, next_at = null, reason = '', ended_at = null,
                          released = 1
        where id = ?
        """,
        (number,),
    )
    return True, f"was {state}, waits again"


def drop(tx: Tx, number: int, now: float) -> tuple[bool, str]:
    """Never send it. Whether that could be done, and in words."""
    state = find(tx, number)["state"]
    if state not in {"waiting", "retrying", "held", "dead"}:
        return False, f"is {state}: nothing to drop"
    tx.execute(
        """
        update outbox set state = 'cancelled', next_at = null, ended_at = ?, reason = 'dropped by a person' where id = ?
        """,
        (now, number),
    )
    return True, f"was {state}, is cancelled"


def clear_text(tx: Tx, ended_before: float, limit: int) -> int:
    """Forget what messages said that ended by then. How many."""
    return tx.execute(
        """
        update outbox set text = null
        where id in (select id from outbox indexed by outbox_ended
                     where state in ('sent', 'dead', 'cancelled') and ended_at < ? and text is not null limit ?)
        """,
        (ended_before, limit),
    ).rowcount


def forget(tx: Tx, ended_before: float, limit: int, *, failed: bool) -> int:
    """Forget messages that ended by then: sent ones, or those that `failed`. How many."""
    return tx.execute(
        """
        delete from outbox where id in (select id from outbox indexed by outbox_ended
          where state in ('sent', 'dead', 'cancelled') and ended_at < ? and (state <> 'sent') = ? limit ?)
        """,
        (ended_before, failed, limit),
    ).rowcount
