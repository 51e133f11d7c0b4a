"""What a person may do to deliveries: retry and drop. Each in one transaction, each says what it did."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from worker.ledger import settling
from worker.ledger.errors import NoSuchMessageError
from worker.ledger.port import Row, Tx

_ID = re.compile(r"([0-9]{1,19})-([0-9]{1,19})")
_LARGEST = 2**63 - 1  # what SQLite can compare with; no message has it


@dataclass(frozen=True, slots=True)
class Change:
    """One delivery that an operator's command touched, or refused to touch."""

    key: str
    transport: str
    done: bool
    words: str
    lane: int


def find_message(db: Tx, key: str) -> int:
    """The row of the message that a person means: `AGENT/STREAM/ID`, `AGENT/ID`, or an id that is unique.

    Raises NoSuchMessageError, which lists the candidates where there are several.
    """
    agent, _, rest = key.partition("/")
    stream, _, message_id = rest.rpartition("/")
    if not rest:
        agent, message_id = "", key
    found = _ID.fullmatch(message_id)
    if found is None:
        raise NoSuchMessageError(f"{key!r} is no message key; write AGENT/ID, for example hadi/1795300087770-0")
    ms, seq = (min(int(part), _LARGEST) for part in found.groups())
    rows = db.execute(
        """
        select id, agent, stream, message_id from messages indexed by messages_by_time
        where agent = :agent and ms = :ms and seq = :seq and (:stream = '' or stream = :stream) limit 20
        """
        if agent and ms
        else _BY_NUMBER
        if agent
        else _BY_BARE_ID,
        {"agent": agent, "stream": stream, "ms": ms, "seq": seq},
    ).fetchall()
    if not rows:
        raise NoSuchMessageError(f"no message {key} in the ledger; see `bus-watch history`")
    if len(rows) > 1:
        keys = ", ".join(f"{r['agent']}/{r['stream']}/{r['message_id']}" for r in rows)
        raise NoSuchMessageError(f"{key} means {len(rows)} messages; say which: {keys}")
    return int(rows[0]["id"])


# What `send` on a mupot says: it was not told when the message was written.
_BY_NUMBER = """
select id, agent, stream, message_id from messages
where agent = :agent and seq = :seq and stream like 'mupot:%' and (:stream = '' or stream = :stream) limit 20
"""
_BY_BARE_ID = """
select id, agent, stream, message_id from messages indexed by messages_by_time
where agent in (select agent from inboxes) and ms = :ms and seq = :seq limit 20
"""


class Chosen(NamedTuple):
    """Which deliveries of a message a command means: by default all.

    Or those of one transport, those in state dead, those of the lanes that a host of the fleet has.
    """

    transport: str | None = None
    only_dead: bool = False
    host: str | None = None


def _deliveries(tx: Tx, message: int, chosen: Chosen) -> list[Row]:
    tx.lock_lanes_of(message)
    return tx.execute(
        """
        select d.id, d.state, d.lane, l.transport, m.agent, m.message_id, m.id as message, m.text is null as cleared
        from deliveries d join lanes l on l.id = d.lane join messages m on m.id = d.message
        where d.message = :message and (cast(:transport as text) is null or l.transport = :transport)
          and (not :only_dead or d.state = 'dead')
          and (cast(:host as text) is null or l.host = :host)
        order by d.id
        """,
        {"message": message, **chosen._asdict()},
    ).fetchall()


_RETRIED = frozenset({"dead", "held", "cancelled"})
_NO_TEXT = "its text was cleared by retention: ask its sender to send it again"


def retry(tx: Tx, message: int, chosen: Chosen, now: float) -> list[Change]:
    """Dead, held and cancelled deliveries wait again, with fresh attempts; others are left with a word why.

    They are as young as if they had just come: neither `expires_after` nor `give_up_after` takes them away again.
    """
    changes = []
    for row in _deliveries(tx, message, chosen):
        if row["cleared"] and row["state"] in _RETRIED:
            changes.append(_change(row, done=False, words=f"is {row['state']}, and {_NO_TEXT}"))
        elif row["state"] in _RETRIED:
            tx.execute(
                """
                update deliveries set state = 'waiting', burnt = 0, frees = 0, voids = 0, next_at = null, cancel = 0,
                                      reason = '', ended_at = null, woken_at = null, renewed_at = ?
                where id = ?
                """,
                (now, row["id"]),
            )
            tx.execute("update messages set state = 'open', finished_at = null where id = ?", (message,))
            changes.append(_change(row, done=True, words=f"was {row['state']}, waits again"))
        elif row["state"] == "retrying":
            tx.execute(
                "update deliveries set next_at = null, woken_at = null, renewed_at = ? where id = ?", (now, row["id"])
            )
            changes.append(_change(row, done=True, words="was retrying, is due now"))
        else:
            changes.append(_change(row, done=False, words=f"is {row['state']}: nothing to retry"))
    return changes


def drop(tx: Tx, message: int, chosen: Chosen, now: float) -> list[Change]:
    """Cancel what is not done; what runs is cancelled when it ends, unless it succeeds."""
    changes = []
    for row in _deliveries(tx, message, chosen):
        if row["state"] in {"waiting", "retrying", "held", "dead"}:
            tx.execute(
                """
                update deliveries set state = 'cancelled', next_at = null, ended_at = ?, reason = 'dropped by a person'
                where id = ?
                """,
                (now, row["id"]),
            )
            changes.append(_change(row, done=True, words=f"was {row['state']}, is cancelled"))
        elif row["state"] == "running":
            tx.execute("update deliveries set cancel = 1 where id = ?", (row["id"],))
            changes.append(_change(row, done=True, words="is running: cancelled when it ends, unless it succeeds"))
        else:
            changes.append(_change(row, done=False, words=f"is {row['state']}: nothing to drop"))
    settling.finish(tx, message, now)
    return changes


def _change(row: Row, *, done: bool, words: str) -> Change:
    return Change(f"{row['agent']}/{row['message_id']}", row["transport"], done, words, row["lane"])


def dead_messages(db: Tx) -> list[int]:
    """Messages with a dead letter among their deliveries."""
    rows = db.execute(
        """
        select distinct message from deliveries indexed by deliveries_stuck
        where state in ('held', 'dead') and state = 'dead' order by message
        """
    )
    return [int(row["message"]) for row in rows]
