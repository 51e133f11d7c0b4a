"""What there is to tell the senders of messages, and what other workers have told about ours."""

from typing import NamedTuple

from worker.ledger import lanes, outbox
from worker.ledger.outcomes import HOW_IT_FAILED, UNTIMED
from worker.ledger.port import Row, Tx
from worker.outgoing import Kind

ROUND = 100


class Told(NamedTuple):
    """A message whose sender may want to know something: row, who, where it lies, and what."""

    message: int
    agent: str
    source: str
    stream: str
    message_id: str
    message_class: str | None
    text: str
    state: str
    why: str


def waiting(db: Tx) -> list[Row]:
    """Notices that came and were not read."""
    return db.execute(
        """
        select m.id, m.agent, m.source, m.text from notices n join messages m on m.id = n.message
        order by n.message limit ?
        """,
        (ROUND,),
    ).fetchall()


def done(tx: Tx, message: int) -> None:
    """A notice was read."""
    tx.execute("delete from notices where message = ?", (message,))


def want_receipt(tx: Tx, agent: str, source: str, stream: str, message_id: str) -> None:
    """The sender of this message, and nobody else, wants to know when it is submitted."""
    number = int(message_id.removeprefix(UNTIMED)) if message_id.startswith(UNTIMED) else -1
    tx.execute(
        """
        update messages set receipt = 'wanted'
        where agent = :agent and source = :source and stream = :stream and receipt is null
          and (message_id = :id or seq = :number)
        """,
        {"agent": agent, "source": source, "stream": stream, "id": message_id, "number": number},
    )


def note_outcome(tx: Tx, agent: str, recipient: str, stream: str, message_id: str, state: str, now: float) -> None:
    """The worker of the recipient, and nobody else, says what became of a message of ours. A later word counts."""
    tx.execute(
        """
        update outbox set outcome = ?, outcome_at = ?
        where agent = ? and recipient = ? and stream = ? and message_id in (?, ?)
        """,
        (state, now, agent, recipient, stream, message_id, UNTIMED + message_id.partition("-")[2]),
    )


def unreported(db: Tx) -> list[Told]:
    """Messages that failed, and whose senders were not told."""
    rows = db.execute(
        f"""
        select m.id, m.agent, m.source, m.stream, m.message_id, m.class, coalesce(m.text, '') as text,
               (select {HOW_IT_FAILED}
                from deliveries d where d.message = m.id and d.state in ('dead', 'cancelled') order by d.id limit 1),
               (select d.reason
                from deliveries d where d.message = m.id and d.state in ('dead', 'cancelled') order by d.id limit 1)
        from messages m indexed by messages_unreported
        where m.state = 'failed' and (m.reported is null or m.reported = 'stuck') order by m.id limit ?
        """,  # noqa: S608 - our own words
        (ROUND,),
    )
    return [Told(*row) for row in rows]


def heads_since(db: Tx) -> list[tuple[int, str, str, float]]:
    """Where something waits or runs: lane, agent, transport, and when its first message came that nobody was told of.

    The sender of each is yet to be told, should it be `stuck`.
    """
    rows = db.execute(
        f"""
        select l.lane, l.agent, l.transport, m.received_at from ({lanes.PENDING}) p join lane_heads l on l.lane = p.id
        join deliveries d on d.id = coalesce(l.running, l.head) join messages m on m.id = d.message
        where m.reported is null
        """  # noqa: S608 - our own words
    )
    return [(row[0], row[1], row[2], row[3]) for row in rows]


def stuck(db: Tx, lane: int) -> Told | None:
    """The head of a lane as what its sender is to be told of."""
    row = db.execute(
        """
        select m.id, m.agent, m.source, m.stream, m.message_id, m.class, coalesce(m.text, ''), 'stuck', d.reason
        from lane_heads l join deliveries d on d.id = coalesce(l.running, l.head) join messages m on m.id = d.message
        where l.lane = ?
        """,
        (lane,),
    ).fetchone()
    return Told(*row) if row else None


def receipts(db: Tx) -> list[Told]:
    """Messages that were submitted, and whose senders wanted to know."""
    rows = db.execute(
        """
        select id, agent, source, stream, message_id, class, coalesce(text, ''), 'submitted', ''
        from messages indexed by messages_receipts
        where receipt = 'wanted' and state <> 'open' and state = 'delivered' order by id limit ?
        """,
        (ROUND,),
    )
    return [Told(*row) for row in rows]


def told_lately(db: Tx, agent: str, sender: str, since: float) -> int:
    """How many reports this agent's sender has been sent since then."""
    row = db.execute(
        """
        select count(*) as n from outbox indexed by outbox_recent
        where agent = ? and recipient = ? and created_at >= ? and kind = ?
        """,
        (agent, sender, since, Kind.REPORT),
    ).fetchone()
    return int(row["n"])


def tell(tx: Tx, told: Told, to: str, text: str, now: float) -> bool:
    """Put a report into the outbox, and note that there is one: both or neither. False: another worker has told it."""
    if not note_told(tx, told):
        return False
    outbox.put(tx, told.agent, to, text, kind=Kind.REPORT, now=now, message_class="terminal-log")
    return True


def tell_once(tx: Tx, agent: str, to: str, text: str, since: float, now: float) -> None:
    """Put a notice into the outbox, unless one that begins like it was put there since then."""
    beginning = text.partition(": ")[0] + ": %"
    told = tx.execute(
        """
        select 1 from outbox indexed by outbox_recent
        where agent = ? and recipient = ? and created_at >= ? and kind = ? and text like ? limit 1
        """,
        (agent, to, since, Kind.REPORT, beginning),
    ).fetchone()
    if told is None:
        outbox.put(tx, agent, to, text, kind=Kind.REPORT, now=now, message_class="terminal-log")


def brakes(db: Tx, since: float) -> list[Row]:
    """What other workers have told ours since then about brakes, newest first, so many of each agent."""
    return db.execute(
        """
        select agent, source, text, received_at from (
          select agent, source, text, received_at, ms, id,
                 row_number() over (partition by agent order by ms desc, id desc) as nth
          from messages indexed by messages_notices
          where class = 'terminal-log' and ms >= ? and received_at >= ?
            and text like '[% -> % class=terminal-log] bus-watch brake: %'
        ) latest where nth <= 20 order by ms desc, id desc
        """,
        (int(since * 1000), since),
    ).fetchall()


def note_told(tx: Tx, told: Told, *, silently: bool = False) -> bool:
    """There is nothing more to tell about it. False: another worker was faster."""
    if told.state == "submitted":
        given = "update messages set receipt = 'given' where id = ? and receipt = 'wanted'"
        return tx.execute(given, (told.message,)).rowcount == 1
    untold = (
        "reported is null" if told.state == "stuck" else "state = 'failed' and coalesce(reported, 'stuck') = 'stuck'"
    )
    changed = tx.execute(
        f"update messages set reported = ? where id = ? and {untold}",  # noqa: S608 - our own words
        ("none" if silently else told.state, told.message),
    )
    return changed.rowcount == 1
