"""Where a message that we sent lies, and what became of it, as this ledger has it: its recipient may be in it, too."""

from worker.ledger.outbox import Letter, name_of
from worker.ledger.port import Row, Tx
from worker.outgoing import key_of

CLOCKS_APART = 60.0  # seconds that the bus's clock may be behind ours
OPEN = frozenset({"", "stuck"})
FAILED = frozenset({"dead", "expired", "dropped"})
"""What `fate` says while a message may still arrive, and where it did not."""
HOW_IT_FAILED = (
    """case when d.state = 'cancelled' then 'dropped' when d.reason like 'expired%' then 'expired' else 'dead' end"""
)
"""Of a delivery `d` that is dead or cancelled."""
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


def state_of(db: Tx, message: int) -> str:
    """The state of a message that came; empty where it has been forgotten."""
    row = db.execute("select state from messages where id = ?", (message,)).fetchone()
    return str(row["state"]) if row else ""


def fate(db: Tx, row: Row) -> str:
    """What became of a message that the bus has: 'submitted', 'logged', one of OPEN or FAILED.

    Its recipient's worker says so; where its inbox is in this ledger nobody need say it.
    """
    ours = lies_here(db, row)
    if ours is None:
        said = db.execute("select outcome from outbox where id = ?", (row["id"],)).fetchone()
        return (said["outcome"] if said else None) or ""
    if ours["state"] == "failed":
        how = db.execute(
            f"""
            select {HOW_IT_FAILED} as how from deliveries d
            where d.message = ? and d.state in ('dead', 'cancelled') order by d.id limit 1
            """,  # noqa: S608 - our own words
            (ours["id"],),
        ).fetchone()
        return str(how["how"])
    return {"open": "", "delivered": "submitted"}.get(ours["state"], str(ours["state"]))


def is_asked(db: Tx, row: Row) -> bool:
    """Whether the recipient's worker has been, or is being, asked to tell when a message of ours is submitted."""
    return (
        db.execute(
            """
            select 1 from outbox indexed by outbox_recent
            where agent = ? and recipient = ? and created_at >= ? and kind = 'receipt' and answers = ?
              and state not in ('dead', 'cancelled')
            """,
            (row["agent"], row["recipient"], row["created_at"], key_of(row["id"])),
        ).fetchone()
        is not None
    )


def name_of_answered(db: Tx, letter: Letter) -> str:
    """What the bus calls the message that a letter answers; empty where it has no name, or none is answered."""
    agent, _, rest = (letter.answers or "").partition("/")
    stream, _, message_id = rest.rpartition("/")
    ms, _, seq = message_id.partition("-")
    if agent != letter.agent or not ms.isdigit() or not seq.isdigit():
        return ""
    row = db.execute(
        """
        select name from messages indexed by messages_by_time
        where agent = ? and ms = ? and seq = ? and stream = ?
        """,
        (agent, int(ms), int(seq), stream),
    ).fetchone()
    return (row["name"] if row else None) or ""


def answer_to(db: Tx, row: Row) -> Row | None:
    """The message that answers one of ours, whole.

    Where both sides are in this ledger it is the one that was sent as an answer to it; else what says so, on a bus that
    has names for that, or the next that its recipient wrote to us alone and that answers nothing else.
    """
    ours = lies_here(db, row)
    message_id = row["message_id"] if ours is None else ours["message_id"]
    letter: Row | None = db.execute(
        """
        select * from outbox
        where answers = ? and agent = ? and recipient = ? and message_id is not null limit 1
        """,
        (f"{row['recipient']}/{row['stream']}/{message_id}", row["recipient"], row["agent"]),
    ).fetchone()
    if letter is not None or is_watched_here(db, row["recipient"]):
        return letter
    ms = 0 if row["message_id"].startswith(UNTIMED) else int(row["message_id"].partition("-")[0])
    found: Row | None = db.execute(
        """
        select * from messages indexed by messages_by_time
        where agent = :agent and ms >= :ms and source = 'agent:' || :other and (:ms > 0 or received_at >= :ended)
          and stream like '%:agent:' || :agent and coalesce(class, '') <> 'terminal-log'
          and (answers is null or answers = :name)
        order by case when answers is null then 1 else 0 end, ms, id limit 1
        """,
        {
            "agent": row["agent"], "other": row["recipient"], "ms": ms, "ended": row["ended_at"],
            "name": name_of(row["id"], row["created_at"]),
        },
    ).fetchone()  # fmt: skip
    return found
