"""Messages coming in: what is known, what is new, and one transaction that takes a whole poll."""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from worker.delivery import MessageState

OVERLAP_MS = 60_000  # ids of two streams, and of clocks that step back, may arrive this late


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message from the bus, as the ledger takes it in."""

    stream: str
    message_id: str
    ms: int
    seq: int
    source: str
    text: str
    message_class: str | None
    project: str | None
    timestamp: str | None


@dataclass(frozen=True, slots=True)
class Taken:
    """What one poll brought: how many messages were new, and the lanes that have something to do."""

    new: int
    lanes: tuple[int, ...]
    logged: int


def ensure_inbox(tx: sqlite3.Connection, agent: str, floor_ms: int) -> None:
    """Make the agent's inbox row; the floor of an existing one stays as it is."""
    tx.execute("insert or ignore into inboxes (agent, floor_ms) values (?, ?)", (agent, floor_ms))


def ensure_lane(tx: sqlite3.Connection, agent: str, transport: str) -> int:
    """The id of the lane of (agent, transport), made where it is not there yet."""
    tx.execute("insert or ignore into lanes (agent, transport) values (?, ?)", (agent, transport))
    row = tx.execute("select id from lanes where agent = ? and transport = ?", (agent, transport)).fetchone()
    return int(row["id"])


def cursor(db: sqlite3.Connection, agent: str, now: float) -> tuple[int, int]:
    """The id from which a poll asks on: a little before the newest known message, never before the floor.

    An id from the future (another writer chose it) must not hide what comes after it at ordinary times.
    """
    floor = db.execute("select floor_ms from inboxes where agent = ?", (agent,)).fetchone()
    floor_ms = int(floor["floor_ms"]) if floor else 0
    newest = db.execute("select max(ms) as ms from messages where agent = ?", (agent,)).fetchone()["ms"]
    done = db.execute("select max(floor_ms) as ms from streams where agent = ?", (agent,)).fetchone()["ms"]
    latest = max(newest or 0, done or 0)
    return max(floor_ms, min(latest, int(now * 1000)) - OVERLAP_MS, 0), 0


def known_after(db: sqlite3.Connection, agent: str, ms: int) -> int:
    """How many known messages lie after `ms`: a page that starts there holds them again."""
    row = db.execute("select count(*) as n from messages where agent = ? and ms >= ?", (agent, ms)).fetchone()
    return int(row["n"])


def known(db: sqlite3.Connection, agent: str, messages: Sequence[Incoming]) -> set[tuple[str, str]]:
    """Those of the messages, as (stream, id), that are in the ledger, at or below a floor, or imported."""
    floor = db.execute("select floor_ms from inboxes where agent = ?", (agent,)).fetchone()
    floor_ms = int(floor["floor_ms"]) if floor else 0
    return {(m.stream, m.message_id) for m in messages if m.ms < floor_ms or _is_known(db, agent, m)}


def _is_known(db: sqlite3.Connection, agent: str, message: Incoming) -> bool:
    row = db.execute(
        """
        select exists (select 1 from messages where agent = :agent and stream = :stream and ms = :ms and seq = :seq)
            or exists (select 1 from streams where agent = :agent and stream = :stream
                       and (floor_ms, floor_seq) >= (:ms, :seq))
            or exists (select 1 from imported where agent = :agent and ms = :ms and seq = :seq) as known
        """,
        {"agent": agent, "stream": message.stream, "ms": message.ms, "seq": message.seq},
    ).fetchone()
    return bool(row["known"])


def take_in(
    tx: sqlite3.Connection,
    agent: str,
    messages: Sequence[Incoming],
    route: Callable[[Incoming], tuple[str | None, Sequence[str]]],
    now: float,
) -> Taken:
    """Insert the messages that are new, each with its deliveries `waiting`: all of a poll, or nothing.

    `route` gives a message's class and the names of the transports that it goes to; one that goes nowhere is
    recorded as `logged`.
    """
    skip = known(tx, agent, messages)
    new = logged = 0
    lanes: dict[str, int] = {}
    for message in messages:
        if (message.stream, message.message_id) in skip:
            continue
        message_class, transports = route(message)
        state = MessageState.OPEN if transports else MessageState.LOGGED
        row = tx.execute(
            """
            insert or ignore into messages
              (agent, stream, ms, seq, message_id, source, class, project, sent_at, text, received_at, state, finished_at)
            values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) returning id
            """,
            (
                agent, message.stream, message.ms, message.seq, message.message_id, message.source, message_class,
                message.project, message.timestamp, message.text, now, state, None if transports else now,
            ),
        ).fetchone()  # fmt: skip
        if row is None:
            continue
        new += 1
        logged += not transports
        for transport in transports:
            lane = lanes.get(transport) or lanes.setdefault(transport, ensure_lane(tx, agent, transport))
            tx.execute(
                "insert into deliveries (message, lane, ms, seq, state) values (?, ?, ?, ?, 'waiting')",
                (row["id"], lane, message.ms, message.seq),
            )
    return Taken(new=new, lanes=tuple(lanes.values()), logged=logged)


def begin_poll(tx: sqlite3.Connection, agent: str, now: float, interval: float, *, rung: bool) -> bool:
    """Whether it is this worker's turn to poll: the ledger keeps the rhythm, however many workers there are."""
    row = tx.execute("select next_poll_at from inboxes where agent = ?", (agent,)).fetchone()
    if row is None:
        return False
    # A clock that was set back must not silence the inbox: nobody books further ahead than an interval.
    due = row["next_poll_at"] <= now or row["next_poll_at"] > now + 2 * max(interval, 900.0)
    if not (due or rung):
        return False
    tx.execute("update inboxes set next_poll_at = ? where agent = ?", (now + interval, agent))
    return True


def take_turn(tx: sqlite3.Connection, agent: str, now: float, gap: float) -> float:
    """Book the next request slot of this agent's token; returns how many seconds from now it is."""
    row = tx.execute("select next_request_at from inboxes where agent = ?", (agent,)).fetchone()
    booked = float(row["next_request_at"]) if row else 0.0
    slot = max(now, min(booked, now + 60.0))  # the clock may have been set back: nobody books further ahead
    tx.execute("update inboxes set next_request_at = ? where agent = ?", (slot + gap, agent))
    return slot - now


def poll_answered(tx: sqlite3.Connection, agent: str, now: float, malformed: int) -> None:
    """The bus answered: the inbox is healthy."""
    tx.execute(
        """
        update inboxes set polled_at = ?, failures = 0, failing_since = null, error = null, malformed = malformed + ?
        where agent = ?
        """,
        (now, malformed, agent),
    )


def poll_failed(tx: sqlite3.Connection, agent: str, now: float, error: str, delay: float) -> None:
    """The bus did not answer: remember since when and why, and when any worker may ask again."""
    tx.execute(
        """
        update inboxes set failures = failures + 1, failing_since = coalesce(failing_since, ?), error = ?,
                           next_poll_at = ?
        where agent = ?
        """,
        (now, error, now + delay, agent),
    )


def announced(tx: sqlite3.Connection, agent: str, now: float) -> None:
    """The bus knows of this agent since `now`."""
    tx.execute("update inboxes set announced_at = ? where agent = ?", (now, agent))
