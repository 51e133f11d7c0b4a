"""What is known of an inbox: it decides which messages are new, not what a clock says.

At the first look at an inbox everything on it is either taken or skipped as history, and what is skipped is remembered
by its id. From then on a message is known if it is in the ledger, was skipped, was delivered by the old watcher, or
lies in what retention has forgotten; every other one is new, whatever its id.
"""

from collections.abc import Iterable, Sequence

from worker.bus.wire import InboxMessage
from worker.ledger.port import Tx

NOT_YET = -1  # a floor that is found at the first look
OVERLAP_MS = 60_000  # ids of two streams, and of clocks that step back, may arrive this late
OVERLAP_COUNT = 50  # known messages that an ordinary poll may bring again, at most

Id = tuple[int, int]


def floor_of(db: Tx, agent: str) -> int:
    """Where the inbox begins, in milliseconds of the bus's time; NOT_YET before the first look."""
    row = db.execute("select floor_ms from inboxes where agent = ?", (agent,)).fetchone()
    return int(row["floor_ms"]) if row else NOT_YET


def looked_from(db: Tx, agent: str) -> int | None:
    """The id, in milliseconds, from which on the first look saw everything; None: there has been none."""
    row = db.execute("select looked_from_ms from inboxes where agent = ?", (agent,)).fetchone()
    return row["looked_from_ms"] if row else None


def note_first_look(
    tx: Tx, agent: str, floor: int, seen_from: int | None, skipped: Iterable[tuple[str, int, int]]
) -> None:
    """The inbox has been seen from the id `seen_from` (milliseconds) on; `skipped` are (stream, ms, seq) of history.

    `seen_from` is None where nothing was there: bridges say so too while their Redis is down, so that the history is
    still to be seen. The floor holds from now on.
    """
    tx.execute(
        "update inboxes set floor_ms = ?, looked_from_ms = ? where agent = ?",
        (floor, seen_from, agent),
    )
    tx.executemany(SKIP, [(agent, *one) for one in skipped])


SKIP = "insert into skipped (agent, stream, ms, seq) values (?, ?, ?, ?) on conflict do nothing"


def lower_floor(tx: Tx, agent: str, floor: int) -> bool:
    """The bus's clock is behind the floor: from now on it is this one. Whether that changed it."""
    changed = tx.execute("update inboxes set floor_ms = ? where agent = ? and floor_ms > ?", (floor, agent, floor))
    return changed.rowcount == 1


def lower_floor_above(tx: Tx, agent: str, came: Sequence[InboxMessage]) -> None:
    """Where the floor lies above all that came just now, whoever told us the bus's time knows nothing of its ids.

    From now on the floor is the oldest of them: else ordinary polls would ask for what comes after a time that is still
    to come, and find nothing. `came` is oldest first.
    """
    tx.execute("update inboxes set floor_ms = ? where agent = ? and floor_ms > ?", (came[0].ms, agent, came[-1].ms))


def cursor(db: Tx, agent: str, bus_ms: int) -> Id:
    """The id from which an ordinary poll asks on: a little before the newest known message, and before the floor.

    An id from the future (another writer chose it, or the bus's clock was ahead) must not hide what comes after it at
    ordinary times, so the newest is the newest that is not later than the bus's time.
    """
    floor = max(floor_of(db, agent), 0)
    query = """
        select ms from messages indexed by messages_by_time where agent = ? and ms <= ?
        order by ms desc limit 1 offset ?
        """
    newest = db.execute(query, (agent, bus_ms, 0)).fetchone()
    few_before = db.execute(query, (agent, bus_ms, OVERLAP_COUNT)).fetchone()
    forgotten = db.execute(
        "select max(floor_ms) as ms from streams where agent = ? and floor_ms <= ?", (agent, bus_ms)
    ).fetchone()
    latest = max(newest["ms"] if newest else 0, forgotten["ms"] or 0)
    return max(floor - OVERLAP_MS, latest - OVERLAP_MS, few_before["ms"] - 1 if few_before else 0, 0), 0


def newest(db: Tx, agent: str) -> int:
    """The largest known id, in milliseconds; 0 where nothing is known."""
    row = db.execute(
        "select max(ms) as ms from messages indexed by messages_by_time where agent = ?", (agent,)
    ).fetchone()
    return int(row["ms"] or 0)


def known_after(db: Tx, agent: str, ms: int) -> int:
    """How many known messages lie after `ms`: a page that starts there holds them again."""
    row = db.execute(
        """
        select (select count(*) from messages indexed by messages_by_time where agent = :agent and ms >= :ms)
             + (select count(*) from skipped where agent = :agent and ms >= :ms) as n
        """,
        {"agent": agent, "ms": ms},
    ).fetchone()
    return int(row["n"])


def known(db: Tx, agent: str, messages: Sequence[InboxMessage]) -> set[tuple[str, str]]:
    """Those of the messages, as (stream, message_id), that are not new."""
    seen_from = looked_from(db, agent) or 0
    return {m.key for m in messages if m.ms < seen_from or _is_known(db, agent, m)}


def held_here(db: Tx, agent: str, messages: Sequence[InboxMessage]) -> set[tuple[str, str]]:
    """Those of the messages, as (stream, message_id), that are in the ledger: not history, and not forgotten."""
    query = "select 1 from messages where agent = ? and stream = ? and ms = ? and seq = ?"
    return {m.key for m in messages if db.execute(query, (agent, m.stream, m.ms, m.seq)).fetchone() is not None}


def _is_known(db: Tx, agent: str, message: InboxMessage) -> bool:
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
