"""Messages that are over are cleared, forgotten, purged: what they said goes first, then all that was known of them.

What is forgotten must never run again, though the bus may still show it. An id that is old enough raises its stream's
floor: all ids up to there are done. Any other one is noted in `skipped`, until it is old enough.
"""

from typing import NamedTuple

from worker.ledger.history import SKIP
from worker.ledger.port import Row, Tx
from worker.ledger.upkeep import ROUND

_DELIVERED = "messages indexed by messages_finished where state in ('delivered', 'logged')"
_FAILED = "messages indexed by messages_failed where state = 'failed'"


def clear_text(tx: Tx, finished_before: float, *, failed: bool = False) -> int:
    """Forget what delivered messages said, or `failed` ones; what they were stays. How many: a round at most."""
    changed = tx.execute(
        f"""
        update messages set text = null
        where id in (select id from {_FAILED if failed else _DELIVERED}
                     and (text is null) = false and finished_at < ? order by finished_at limit ?)
        """,  # noqa: S608 - our own words
        (finished_before, ROUND),
    )
    return changed.rowcount


def forget_messages(tx: Tx, finished_before: float, *, failed: bool = False) -> int:
    """Remove delivered messages, or `failed` ones, whose text is cleared, and raise their streams' floors.

    One whose id is younger than that stays: an id from the future would raise the floor above what is yet to come.
    Returns how many, a round at most.
    """
    gone = tx.execute(
        f"""
        select id, agent, stream, ms, seq from {_FAILED if failed else _DELIVERED}
        and (text is null) = true and finished_at < ? and ms < ? order by finished_at limit ?
        """,  # noqa: S608 - our own words
        (finished_before, int(finished_before * 1000), ROUND),
    ).fetchall()
    for row in gone:
        _raise_floor(tx, row)
        tx.execute("delete from messages where id = ?", (row["id"],))
    return len(gone)


def _raise_floor(tx: Tx, row: Row) -> None:
    tx.execute(
        """
        insert into streams (agent, stream, floor_ms, floor_seq) values (:agent, :stream, :ms, :seq)
        on conflict (agent, stream) do update set floor_ms = :ms, floor_seq = :seq
        where (:ms, :seq) > (streams.floor_ms, streams.floor_seq)
        """,
        {key: row[key] for key in ("agent", "stream", "ms", "seq")},
    )


def forget_skipped(tx: Tx, before: float) -> int:
    """Let the floors stand for skipped ids that are old enough. Returns how many, a round at most."""
    gone = tx.execute(
        """
        select agent, stream, ms, seq from skipped where agent in (select agent from inboxes) and ms < ? limit ?
        """,
        (int(before * 1000), ROUND),
    ).fetchall()
    for row in gone:
        _raise_floor(tx, row)
        tx.execute(
            "delete from skipped where agent = ? and ms = ? and seq = ? and stream = ?",
            (row["agent"], row["ms"], row["seq"], row["stream"]),
        )
    return len(gone)


def lower_floors(tx: Tx, now: float, to: float) -> int:
    """Bring back floors that lie in the future: an id from there once raised them, and all that came since was "done".

    Nothing but that id was forgotten later than `to`, and it is noted as skipped. Returns how many floors there were.
    """
    wrong = tx.execute(
        "select agent, stream, floor_ms, floor_seq from streams where floor_ms > ?", (int(now * 1000),)
    ).fetchall()
    for row in wrong:
        tx.execute(SKIP, tuple(row))
        tx.execute(
            "update streams set floor_ms = ?, floor_seq = 0 where agent = ? and stream = ?",
            (int(to * 1000), row["agent"], row["stream"]),
        )
    return len(wrong)


class Purged(NamedTuple):
    """One message that a person named, and what became of it."""

    key: str
    state: str
    done: bool
    words: str


def purge(tx: Tx, message: int, *, dry_run: bool = False) -> Purged:
    """Forget a message that is over: text, deliveries and attempts. Any other is left, with a word why."""
    row = tx.execute(
        "select id, agent, stream, ms, seq, message_id, state from messages where id = ?", (message,)
    ).fetchone()
    key, state = f"{row['agent']}/{row['message_id']}", row["state"]
    if state == "open":
        return Purged(key, state, done=False, words="is not over: drop it first")
    if dry_run:
        return Purged(key, state, done=True, words=f"is {state}, would be forgotten")
    _purge(tx, [row])
    return Purged(key, state, done=True, words=f"was {state}, is forgotten")


def purge_older(tx: Tx, finished_before: float) -> dict[str, int]:
    """Forget messages that were over by then: how many of each state, a round at most."""
    rows = [row for query in _OVER for row in tx.execute(query, (finished_before, ROUND))]
    _purge(tx, rows)
    return {state: n for state in ("delivered", "logged", "failed") if (n := sum(r["state"] == state for r in rows))}


def over_before(db: Tx, finished_before: float) -> dict[str, int]:
    """How many messages of each state were over by then."""
    rows = [
        row
        for source in (_DELIVERED, _FAILED)
        for row in db.execute(
            f"""
            select state, count(*) as n from {source}
            and (text is null) in (false, true) and finished_at < ? group by state
            """,  # noqa: S608 - our own words
            (finished_before,),
        )
    ]
    return {row["state"]: row["n"] for row in rows}


_OVER = tuple(
    f"""
    select id, agent, stream, ms, seq, state from {source}
    and (text is null) in (false, true) and finished_at < ? limit ?
    """  # noqa: S608 - our own words
    for source in (_DELIVERED, _FAILED)
)


def _purge(tx: Tx, rows: list[Row]) -> None:
    tx.executemany(
        SKIP,
        [(row["agent"], row["stream"], row["ms"], row["seq"]) for row in rows],
    )
    tx.executemany("delete from messages where id = ?", [(row["id"],) for row in rows])
