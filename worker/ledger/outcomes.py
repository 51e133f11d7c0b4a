"""Where a message that we sent lies, and what became of it, as this ledger has it: its recipient may be in it, too."""

from worker.ledger.outbox import Letter
from worker.ledger.port import Row, Tx

CLOCKS_APART = 60.0  # seconds that the bus's clock may be behind ours
UNTIMED = "0-"
"""How an id begins whose sender was not told when it was written: on a mupot only `seq` is known then."""


def is_watched_here(db: Tx, recipient: str) -> bool:
    """Whether the recipient's inbox is in this ledger too: then nobody has to be asked what became of a message."""
    return (
        db.execute("select 1 from inboxes where agent = ? and polled_at is not null", (recipient,)).fetchone()
        is not None
    )


def found_here(db: Tx, letter: Letter) -> tuple[str, str] | None:
    """Where a message lies whose answer was lost, if its recipient's inbox is in this ledger and has it by now."""
    row: Row | None = db.execute(
        """
        select stream, message_id from messages m indexed by messages_by_time
        where agent = :to and ms >= :since and source = 'agent:' || :agent and text = :text
          and not exists (select 1 from outbox o indexed by outbox_sent
                          where o.recipient = :to and o.message_id = m.message_id and o.stream = m.stream)
        order by ms, seq limit 1
        """,
        {
            "to": letter.recipient, "agent": letter.agent, "text": letter.text,
            "since": int((letter.created_at - CLOCKS_APART) * 1000),
        },
    ).fetchone()  # fmt: skip
    return (row["stream"], row["message_id"]) if row else None


def lies_here(db: Tx, row: Row) -> Row | None:
    """The message of its recipient's inbox that a sent one has become; None where that is not in this ledger."""
    ms, _, seq = row["message_id"].partition("-")
    since = int(ms) or int((row["created_at"] - CLOCKS_APART) * 1000)
    found: Row | None = db.execute(
        """
        select * from messages indexed by messages_by_time
        where agent = :agent and ms >= :since and ms <= :until and stream = :stream and seq = :seq limit 1
        """,
        {
            "agent": row["recipient"], "since": since, "until": int(ms) or 2**63 - 1,
            "stream": row["stream"], "seq": int(seq),
        },
    ).fetchone()  # fmt: skip
    return found


def answer_to(db: Tx, row: Row) -> Row | None:
    """The message that answers one of ours: by its key where both sides are in this ledger, else the next that came."""
    ours = lies_here(db, row)
    message_id = row["message_id"] if ours is None else ours["message_id"]
    letter = db.execute(
        """
        select * from outbox
        where answers = ? and agent = ? and recipient = ? and message_id is not null limit 1
        """,
        (f"{row['recipient']}/{row['stream']}/{message_id}", row["recipient"], row["agent"]),
    ).fetchone()
    if letter is not None or is_watched_here(db, row["recipient"]):
        return None if letter is None else lies_here(db, letter)
    found: Row | None = db.execute(
        """
        select * from messages indexed by messages_by_time
        where agent = ? and source = ? and received_at >= ? and coalesce(class, '') <> 'terminal-log'
        order by ms, id limit 1
        """,
        (row["agent"], f"agent:{row['recipient']}", row["ended_at"]),
    ).fetchone()
    return found
