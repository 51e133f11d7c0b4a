"""Messages coming in: what is known, what is new, and one transaction that takes a whole poll."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from worker.bus.wire import InboxMessage
from worker.delivery import MessageState
from worker.ledger.history import NOT_YET, known
from worker.ledger.port import Tx

LONGEST_WAIT = 3600.0  # no poll is ever booked further ahead, whatever a Retry-After said
MALFORMED_SECONDS = 3600.0  # entries that are no messages are worth a line of `status` for so long
CLOCK_SLACK = 0.5  # seconds that two threads may disagree about what time it is


@dataclass(frozen=True, slots=True)
class Taken:
    """What one poll brought: how many messages were new, and the lanes that have something to do."""

    new: int
    lanes: tuple[int, ...]
    logged: int

    def and_then(self, more: "Taken") -> "Taken":
        """Both together."""
        lanes = tuple(dict.fromkeys(self.lanes + more.lanes))
        return Taken(self.new + more.new, lanes, self.logged + more.logged)


def floor_ms(start_from: str | float, now: float) -> int:
    """Where a new inbox begins, in milliseconds: `"all"`, `"now"`, or so many seconds ago, by the clock of `now`."""
    if start_from == "all":
        return 0
    return int((now - (0.0 if start_from == "now" else float(start_from))) * 1000)


def ensure_inbox(tx: Tx, agent: str, floor: int = NOT_YET) -> None:
    """Make the agent's inbox row; its floor is found at the first look. That of an existing one stays as it is."""
    tx.execute("insert into inboxes (agent, floor_ms) values (?, ?) on conflict do nothing", (agent, floor))


def ensure_lane(tx: Tx, agent: str, transport: str) -> int:
    """The id of the lane of (agent, transport), made where it is not there yet."""
    tx.execute("insert into lanes (agent, transport) values (?, ?) on conflict do nothing", (agent, transport))
    row = tx.execute("select id from lanes where agent = ? and transport = ?", (agent, transport)).fetchone()
    return int(row["id"])


def ensure_all(tx: Tx, transports: Mapping[str, Sequence[str]]) -> None:
    """The inbox of each agent and its lanes, by agent; few statements, however many there are."""
    inboxes = {row["agent"] for row in tx.execute("select agent from inboxes")}
    lanes = {(row["agent"], row["transport"]) for row in tx.execute("select agent, transport from lanes")}
    for agent in transports.keys() - inboxes:
        ensure_inbox(tx, agent)
    wanted = {(agent, transport) for agent, names in transports.items() for transport in names}
    for agent, transport in sorted(wanted - lanes):
        ensure_lane(tx, agent, transport)


def take_in(
    tx: Tx,
    agent: str,
    messages: Sequence[InboxMessage],
    route: Callable[[InboxMessage], tuple[str | None, Sequence[str]]],
    now: float,
) -> Taken:
    """Insert the messages that are new, each with its deliveries `waiting`: all of them, or nothing.

    `route` gives a message's class and the names of the transports that it goes to; one that goes nowhere is
    recorded as `logged`.
    """
    tx.lock_inbox(agent)
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
            insert into messages
              (agent, stream, ms, seq, message_id, source, class, project, sent_at, text, received_at,
               state, finished_at, name, answers)
            values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing returning id
            """,
            (
                agent, message.stream, message.ms, message.seq, message.message_id, message.source, message_class,
                message.project, message.timestamp, message.text, now, state, None if transports else now,
                message.name or None, message.answers or None,
            ),
        ).fetchone()  # fmt: skip
        if row is None:
            continue
        new += 1
        logged += not transports
        for transport in transports:
            lane = lanes.get(transport) or lanes.setdefault(transport, ensure_lane(tx, agent, transport))
            place = max(message.ms, _last_place(tx, lane)) if message.in_order else message.ms
            tx.execute(
                "insert into deliveries (message, lane, ms, seq, state) values (?, ?, ?, ?, 'waiting')",
                (row["id"], lane, place, message.seq),
            )
    return Taken(new=new, lanes=tuple(lanes.values()), logged=logged)


def _last_place(tx: Tx, lane: int) -> int:
    """Where the last of those stands that are still to be delivered: who comes in order stands behind it."""
    places = [tx.execute(query, (lane,)).fetchone() for query in _LAST]
    return max((int(row["ms"]) for row in places if row is not None), default=0)


_LAST = (
    """
    select ms from deliveries indexed by deliveries_pending where lane = ? and state in ('waiting', 'retrying')
    order by ms desc, seq desc, id desc limit 1
    """,
    "select ms from deliveries indexed by one_runs where lane = ? and state = 'running' order by ms desc limit 1",
)


def poll_now(tx: Tx, agent: str) -> None:
    """Whatever the bus said last: the next poll is due, as soon as its token's budget allows."""
    tx.execute("update inboxes set next_poll_at = 0 where agent = ?", (agent,))


def book_slot(tx: Tx, agent: str, now: float, gap: float, ahead: float = 0.0) -> float:
    """Book the next request slot of this agent's token; returns how many seconds from now the request may go.

    Slots are `gap` apart. A request that cannot wait may go up to `ahead` seconds before its slot; those after it pay
    the time back, so that in any minute there are at most `(60 + ahead) / gap` and one.
    """
    tx.lock_inbox(agent)
    _forget_stale(tx, agent, now)
    row = tx.execute("select next_request_at from inboxes where agent = ?", (agent,)).fetchone()
    slot = max(now, float(row["next_request_at"]) if row else 0.0)
    tx.execute("update inboxes set next_request_at = ?, booked_at = ? where agent = ?", (slot + gap, now, agent))
    return max(0.0, slot - ahead - now)


def note_slot(tx: Tx, agent: str, next_request_at: float, now: float) -> None:
    """Write down where a token's next free request slot begins."""
    _forget_stale(tx, agent, now)
    tx.execute(
        f"update inboxes set next_request_at = {_LATER}, booked_at = :now where agent = :agent",  # noqa: S608 - our own words
        {"next_request_at": next_request_at, "now": now, "agent": agent},
    )


_LATER = "case when next_request_at > :next_request_at then next_request_at else :next_request_at end"

# Our clock has been set back since the times were booked, or they are further ahead than anything is: they say nothing
# any more, and must not silence the inbox for as long as the jump was.
STALE = """(coalesce(booked_at, 0.0) > :now + :slack
            or next_poll_at > :now + :longest or next_request_at > :now + :longest)"""


def stale_at(agent: str, now: float) -> dict[str, object]:
    """What STALE asks for."""
    return {"agent": agent, "now": now, "slack": CLOCK_SLACK, "longest": LONGEST_WAIT}


def _forget_stale(tx: Tx, agent: str, now: float) -> None:
    tx.execute(
        f"update inboxes set next_poll_at = 0, next_request_at = 0 where agent = :agent and {STALE}",  # noqa: S608 - our own words
        stale_at(agent, now),
    )


def poll_answered(
    tx: Tx,
    agent: str,
    now: float,
    *,
    malformed: int,
    brought: bool,
    next_poll_at: float,
    next_request_at: float,
    bus_ahead: float | None = None,
) -> None:
    """The bus answered: the inbox is healthy. `malformed` entries were skipped for the first time.

    They are counted, and anew after an hour without. `bus_ahead`: by how many seconds its clock is ahead of ours; None
    where it did not say.
    """
    _forget_stale(tx, agent, now)
    tx.execute(
        f"""
        update inboxes set polled_at = :now, failures = 0, failing_since = null, error = null, error_code = null,
          malformed = case when :malformed = 0 then malformed
            when malformed_at between :now - :said and :now then malformed + :malformed else :malformed end,
          malformed_at = case when :malformed > 0 then :now else malformed_at end,
          brought_at = case when :brought then :now else brought_at end,
          bus_ahead = coalesce(:bus_ahead, bus_ahead), booked_at = :now,
          next_poll_at = :next_poll_at, next_request_at = {_LATER}
        where agent = :agent
        """,  # noqa: S608 - our own words
        {
            "agent": agent,
            "now": now,
            "malformed": malformed,
            "said": MALFORMED_SECONDS,
            "brought": brought,
            "bus_ahead": bus_ahead,
            "next_poll_at": next_poll_at,
            "next_request_at": next_request_at,
        },
    )


def poll_failed(
    tx: Tx, agent: str, now: float, error: str, delay: float, *, code: str, failures: int | None = None
) -> None:
    """The bus did not answer: remember since when and why, and until when to wait.

    `code` is the error's stable one; `failures`: for how many times in a row, one more than before if nobody knows.
    """
    _forget_stale(tx, agent, now)
    tx.execute(
        """
        update inboxes set failures = coalesce(?, failures + 1), failing_since = coalesce(failing_since, ?), error = ?,
                           error_code = ?, next_poll_at = ?, booked_at = ?
        where agent = ?
        """,
        (failures, now, error, code, now + delay, now, agent),
    )


def last_error(db: Tx, agent: str) -> str | None:
    """Why the last poll failed; None while the bus answers."""
    row = db.execute("select error from inboxes where agent = ?", (agent,)).fetchone()
    return row["error"] if row else None
