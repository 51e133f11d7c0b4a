"""Messages coming in: what is known, what is new, and one transaction that takes a whole poll."""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from worker.bus.wire import InboxMessage
from worker.delivery import MessageState

LONGEST_WAIT = 3600.0  # no poll is ever booked further ahead, whatever a Retry-After said
OVERLAP_MS = 60_000  # ids of two streams, and of clocks that step back, may arrive this late


@dataclass(frozen=True, slots=True)
class Taken:
    """What one poll brought: how many messages were new, and the lanes that have something to do."""

    new: int
    lanes: tuple[int, ...]
    logged: int


def floor_ms(start_from: str | float, now: float) -> int:
    """Where a new inbox begins, in milliseconds: `"all"`, `"now"`, or so many seconds ago."""
    if start_from == "all":
        return 0
    return int((now - (0.0 if start_from == "now" else float(start_from))) * 1000)


def ensure_inbox(tx: sqlite3.Connection, agent: str, floor: int) -> None:
    """Make the agent's inbox row; the floor of an existing one stays as it is."""
    tx.execute("insert or ignore into inboxes (agent, floor_ms) values (?, ?)", (agent, floor))


def ensure_lane(tx: sqlite3.Connection, agent: str, transport: str) -> int:
    """The id of the lane of (agent, transport), made where it is not there yet."""
    tx.execute("insert or ignore into lanes (agent, transport) values (?, ?)", (agent, transport))
    row = tx.execute("select id from lanes where agent = ? and transport = ?", (agent, transport)).fetchone()
    return int(row["id"])


def cursor(db: sqlite3.Connection, agent: str, now: float) -> tuple[int, int]:
    """The id from which a poll asks on: a little before the newest known message, never before the floor.

    An id from the future (another writer chose it) must not hide what comes after it at ordinary times, so the newest
    is the newest that is not later than now. Just below the floor, since the bus leaves out the id itself.
    """
    floor = db.execute("select floor_ms from inboxes where agent = ?", (agent,)).fetchone()
    floor_ms = int(floor["floor_ms"]) if floor else 0
    present = int(now * 1000)
    newest = db.execute(
        "select max(ms) as ms from messages indexed by messages_by_time where agent = ? and ms <= ?", (agent, present)
    ).fetchone()
    done = db.execute("select max(floor_ms) as ms from streams where agent = ? and floor_ms <= ?", (agent, present))
    latest = max(newest["ms"] or 0, done.fetchone()["ms"] or 0)
    return max(floor_ms - 1, latest - OVERLAP_MS, 0), 0


def known_after(db: sqlite3.Connection, agent: str, ms: int) -> int:
    """How many known messages lie after `ms`: a page that starts there holds them again."""
    row = db.execute(
        "select count(*) as n from messages indexed by messages_by_time where agent = ? and ms >= ?", (agent, ms)
    ).fetchone()
    return int(row["n"])


def known(db: sqlite3.Connection, agent: str, messages: Sequence[InboxMessage]) -> set[tuple[str, str]]:
    """Those of the messages, as (stream, id), that are in the ledger, at or below a floor, skipped or imported."""
    floor = db.execute("select floor_ms from inboxes where agent = ?", (agent,)).fetchone()
    floor_ms = int(floor["floor_ms"]) if floor else 0
    return {(m.stream, m.message_id) for m in messages if m.ms < floor_ms or _is_known(db, agent, m)}


def _is_known(db: sqlite3.Connection, agent: str, message: InboxMessage) -> bool:
    row = db.execute(
        """
        select exists (select 1 from messages where agent = :agent and stream = :stream and ms = :ms and seq = :seq)
            or exists (select 1 from streams where agent = :agent and stream = :stream
                       and (floor_ms, floor_seq) >= (:ms, :seq))
            or exists (select 1 from skipped where agent = :agent and ms = :ms and seq = :seq and stream = :stream)
            or exists (select 1 from imported where agent = :agent and ms = :ms and seq = :seq) as known
        """,
        {"agent": agent, "stream": message.stream, "ms": message.ms, "seq": message.seq},
    ).fetchone()
    return bool(row["known"])


def take_in(
    tx: sqlite3.Connection,
    agent: str,
    messages: Sequence[InboxMessage],
    route: Callable[[InboxMessage], tuple[str | None, Sequence[str]]],
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
              (agent, stream, ms, seq, message_id, source, class, project, sent_at, text, received_at,
               state, finished_at)
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


def begin_poll(
    tx: sqlite3.Connection, agent: str, now: float, interval: float, *, rung: bool, asked: bool = False
) -> float | None:
    """Book this poll: None if it is the caller's to do, else when the next one is due.

    The ledger keeps the rhythm, so that a second worker or a restart adds no polls. A ring does not wait for it, but
    it does wait for a bus that refused or asked to be left alone; a person who asked for this poll waits for nothing.
    """
    due = next_poll_at(tx, agent, now)
    hurry = asked or (rung and failures(tx, agent) == 0)
    # A clock that was set back must not silence the inbox: nobody books further ahead than the longest Retry-After.
    if due > now and due <= now + LONGEST_WAIT and not hurry:
        return due
    tx.execute("update inboxes set next_poll_at = ? where agent = ?", (now + interval, agent))
    return None


def next_poll_at(db: sqlite3.Connection, agent: str, now: float) -> float:
    """When the next poll of this inbox is due, whichever worker does it.

    Not before its token's next request slot: a poll that has begun and waits for one would let no ring go ahead of it.
    """
    row = db.execute("select next_poll_at, next_request_at from inboxes where agent = ?", (agent,)).fetchone()
    if row is None:
        return 0.0
    slot = float(row["next_request_at"])
    return max(float(row["next_poll_at"]), slot if slot <= now + 60.0 else 0.0)  # as in `take_turn`: no further


def take_turn(tx: sqlite3.Connection, agent: str, now: float, gap: float, ahead: float = 0.0) -> float:
    """Book the next request slot of this agent's token; returns how many seconds from now the request may go.

    Slots are `gap` apart. A request that cannot wait may go up to `ahead` seconds before its slot; those after it pay
    the time back, so that in any minute there are at most `(60 + ahead) / gap` and one.
    """
    row = tx.execute("select next_request_at from inboxes where agent = ?", (agent,)).fetchone()
    booked = float(row["next_request_at"]) if row else 0.0
    furthest = now + max(60.0, 10 * gap)  # the clock may have been set back: nobody books further ahead
    slot = max(now, min(booked, furthest))
    tx.execute("update inboxes set next_request_at = ? where agent = ?", (slot + gap, agent))
    return max(0.0, slot - ahead - now)


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How soon to poll again while the bus answers. Seconds."""

    gap: float  # the ordinary one: poll_interval
    active_gap: float  # while messages have come lately
    active_for: float


def poll_answered(
    tx: sqlite3.Connection, agent: str, now: float, rhythm: Rhythm, *, malformed: int, brought: bool
) -> None:
    """The bus answered: the inbox is healthy. What it skipped as malformed is counted, once it is seen anew."""
    tx.execute(
        """
        update inboxes set polled_at = :now, failures = 0, failing_since = null, error = null,
          malformed = :malformed, brought_at = case when :brought then :now else brought_at end,
          next_poll_at = :now + case when :brought or brought_at between :now - :active_for and :now
                                     then :active_gap else :gap end
        where agent = :agent
        """,
        {
            "agent": agent,
            "now": now,
            "malformed": malformed,
            "brought": brought,
            "gap": rhythm.gap,
            "active_gap": rhythm.active_gap,
            "active_for": rhythm.active_for,
        },
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


def failures(db: sqlite3.Connection, agent: str) -> int:
    """How many polls in a row have failed."""
    row = db.execute("select failures from inboxes where agent = ?", (agent,)).fetchone()
    return int(row["failures"]) if row else 0


def last_error(db: sqlite3.Connection, agent: str) -> str | None:
    """Why the last poll failed; None while the bus answers."""
    row = db.execute("select error from inboxes where agent = ?", (agent,)).fetchone()
    return row["error"] if row else None
