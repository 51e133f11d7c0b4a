"""Alerts: which conditions people have been told of; and each telling, a message with a delivery for each channel."""

from collections.abc import Iterable
from typing import NamedTuple

from worker.ledger.intake import ensure_lane
from worker.ledger.port import Tx

STREAM = "alerts"


class OpenAlert(NamedTuple):
    """A condition that people have been told of. Times are epoch seconds."""

    condition: str
    about: str
    opened_at: float
    clear_since: float | None
    said: str


def every(db: Tx, host: str | None = None, alive_since: float = 0.0) -> list[OpenAlert]:
    """All that are open, the oldest first.

    `host`: those that this host of a fleet has opened, and those of hosts that nobody has seen since then.
    """
    rows = db.execute(
        """
        select condition, about, opened_at, clear_since, said from alerts
        where cast(:host as text) is null or host = :host
           or host not in (select name from hosts where seen_at >= :since and forgotten_at is null)
        order by opened_at
        """,
        {"host": host, "since": alive_since},
    )
    return [OpenAlert(*row) for row in rows]


def open_one(tx: Tx, condition: str, about: str, said: str, now: float, host: str = "") -> bool:
    """It holds, and people are to be told; false where another worker has opened it."""
    changed = tx.execute(
        "insert into alerts (condition, about, opened_at, said, host) values (?, ?, ?, ?, ?) on conflict do nothing",
        (condition, about, now, said, host),
    )
    return changed.rowcount == 1


def note_clear(tx: Tx, one: OpenAlert, since: float | None) -> None:
    """It does not hold since then; None: it holds again."""
    tx.execute("update alerts set clear_since = ? where condition = ? and about = ?", (since, one.condition, one.about))


def close_one(tx: Tx, one: OpenAlert) -> bool:
    """It is over, and people are to be told; false where another worker has closed it."""
    changed = tx.execute("delete from alerts where condition = ? and about = ?", (one.condition, one.about))
    return changed.rowcount == 1


def put(tx: Tx, agent: str, channels: Iterable[str], text: str, now: float) -> list[int]:
    """Write a telling down: a message to `agent`, behind all that were, for each of the channels. Their lanes."""
    lanes = [ensure_lane(tx, agent, channel) for channel in channels]
    tx.lock_lanes(lanes)
    last = tx.execute(
        "select ms, seq from messages indexed by messages_by_time where agent = ? order by ms desc, seq desc limit 1",
        (agent,),
    ).fetchone()
    ms, seq = int(now * 1000), 0
    if last is not None and last["ms"] >= ms:  # the same moment, or the clock was set back
        ms, seq = last["ms"], last["seq"] + 1
    message = tx.execute(
        """
        insert into messages (agent, stream, ms, seq, message_id, source, text, received_at, state)
        values (?, ?, ?, ?, ?, 'bus-watch', ?, ?, 'open') returning id
        """,
        (agent, STREAM, ms, seq, f"{ms}-{seq}", text, now),
    ).fetchone()["id"]
    tx.executemany(
        "insert into deliveries (message, lane, ms, seq, state) values (?, ?, ?, ?, 'waiting')",
        [(message, lane, ms, seq) for lane in lanes],
    )
    return lanes


def text_of(db: Tx, delivery: int) -> str | None:
    """What the message says that a delivery is of; None where it is cleared."""
    row = db.execute(
        "select m.text from deliveries d join messages m on m.id = d.message where d.id = ?", (delivery,)
    ).fetchone()
    return row["text"] if row else None
