"""Attempts that another host called unknown, and what their own host says of them once it is back.

`attempts.late` is `awaited` until then. A receipt that says exit 0 is believed: what is still held, or waits to be
tried again and has not begun, has succeeded. What has run again was doubled, and is shown so.
"""

from typing import NamedTuple

from worker.delivery import Ending, State, describe
from worker.ledger.port import Row, Tx
from worker.ledger.settling import finish
from worker.ledger.upkeep import ROUND, RunningAttempt

AWAITED = "awaited"


class Believed(NamedTuple):
    """What a late word changed. `doubled`: how many deliveries have been tried again meanwhile."""

    lane: int
    succeeded: tuple[int, ...]
    finished: tuple[int, ...]
    doubled: int


def awaited(db: Tx, host: str) -> list[RunningAttempt]:
    """Those of a host that it has not told about yet."""
    rows = db.execute(
        """
        select a.id, a.delivery, l.agent, l.transport, a.worker, a.boot_id, a.started_at, a.timeout, a.host, a.start_by
        from attempts a join lanes l on l.id = a.lane where a.host = ? and a.late = 'awaited' order by a.id limit ?
        """,
        (host, ROUND),
    )
    return [RunningAttempt(*row) for row in rows]


def tell(tx: Tx, attempt_id: str, words: str, *, succeeded: bool, now: float) -> Believed:
    """Write down what its own host says of an attempt, and believe it."""
    attempt = tx.execute("select lane from attempts where id = ?", (attempt_id,)).fetchone()
    if attempt is None:  # retention was faster
        return Believed(0, (), (), 0)
    tx.lock_lanes((attempt["lane"],))
    told = tx.execute(
        "update attempts set late = ? where id = ? and late = 'awaited' returning id", (words, attempt_id)
    ).fetchone()
    if told is None or not succeeded:
        return Believed(attempt["lane"], (), (), 0)
    done: list[Row] = []
    doubled = 0
    for row in tx.execute(
        _MEMBERS, {"attempt": attempt_id, "void": f"{_VOID}%", "failed": f"{_NOT_STARTED}%"}
    ).fetchall():
        if row["has_begun"]:
            doubled += 1
        elif row["state"] in {State.HELD, State.RETRYING, State.WAITING}:
            done.append(row)
    for row in done:
        tx.execute(
            """
            update deliveries set state = 'succeeded', reason = '', next_at = null, cancel = 0, ended_at = ?
            where id = ?
            """,
            (now, row["id"]),
        )
    messages = sorted({row["message"] for row in done})
    finished = tuple(message for message in messages if finish(tx, message, now))
    return Believed(attempt["lane"], tuple(row["id"] for row in done), finished, doubled)


_VOID, _NOT_STARTED = describe(Ending("void")), describe(Ending("not_started"))

# What was claimed again has begun, unless it never started.
_MEMBERS = """
select d.id, d.message, d.state, exists (
    select 1 from (select id, starts from attempts where delivery = d.id
                   union all select attempt, starts from companions where delivery = d.id) as later
    join attempts a on a.id = later.id
    where later.starts > made.starts
      and coalesce(a.result, '') not like :void and coalesce(a.result, '') not like :failed
  ) as has_begun
from (select delivery, starts from attempts where id = :attempt
      union all select delivery, starts from companions where attempt = :attempt) as made
join deliveries d on d.id = made.delivery order by d.id
"""
