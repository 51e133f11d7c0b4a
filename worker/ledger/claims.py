"""The right to run a delivery: claimed and settled by compare-and-set.

The rules: docs/protocol.md#claim and docs/protocol.md#settle.

State, claim and attempt move in one transaction. Nothing here decides what an ending means: `worker.delivery` does.
"""

import random
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from worker import delivery
from worker.delivery import Counters, Ending, MessageState, RetryPolicy, State
from worker.ledger import lanes
from worker.ledger.lanes import LaneState


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """Today's settings of a lane, as far as a claim depends on them. Times in seconds."""

    ordered: bool = True
    timeout: float = 30.0
    max_wakes_per_minute: int | None = None
    max_wakes_per_source: int | None = None
    expires_after: float | None = None


class Claim(NamedTuple):
    """A delivery that is ours to run, with all that its transport needs."""

    delivery: int
    attempt_id: str
    attempt: int
    lane: int
    message: int
    agent: str
    transport: str
    stream: str
    message_id: str
    source: str
    text: str
    message_class: str | None
    project: str | None
    sent_at: str | None
    received_at: float


class NotClaimed(NamedTuple):
    """Why a claim failed.

    `wake`: nobody else will wake the lane, because the delivery was throttled, or expired instead of being claimed;
    `expired`: then its agent, transport and message id; `finished`: that ended its message too.
    """

    why: str
    delivery: int
    lane: int | None = None
    wake: bool = False
    finished: bool = False
    message: int | None = None
    expired: tuple[str, str, str] | None = None


class Settled(NamedTuple):
    """What a settle did. `finished` is true where it was the one that finished the message.

    `began_failing`: it failed, and what its lane had done before succeeded: a new episode of trouble.
    """

    state: State
    reason: str
    lane: int
    message: int
    finished: bool
    attempt: int
    agent: str
    message_id: str
    began_failing: bool


def new_attempt_id(now: float) -> str:
    """128 bits in hex: 48 of time, so that new rows lie together, and 80 random."""
    return f"{int(now * 1000) & 0xFFFFFFFFFFFF:012x}{secrets.token_hex(10)}"


class Which(NamedTuple):
    """Which delivery to claim: `this` one, or the `head_of` a lane."""

    query: str
    number: int


def this(delivery_id: int) -> Which:
    """This one."""
    return Which(_CLAIMABLE_BY_ID, delivery_id)


def head_of(lane: int) -> Which:
    """What comes first in the lane, due or not."""
    return Which(_CLAIMABLE_HEAD, lane)


def claim(
    tx: sqlite3.Connection,
    which: Which,
    *,
    attempt_id: str,
    worker: str,
    boot_id: str,
    settings: Callable[[str, str], LaneSettings | None],
    now: float,
) -> Claim | NotClaimed:
    """Claim a delivery for this worker, or say why not.

    A failed claim changes nothing, but that a throttled delivery gets its next time and an expired one ends.
    """
    row = tx.execute(which.query, {"number": which.number}).fetchone()
    if row is None:
        return NotClaimed("it is not waiting", which.number)
    delivery_id = row["id"]
    found = settings(row["agent"], row["transport"])
    if found is None:
        return NotClaimed("its transport is not configured any more", delivery_id, row["lane"])
    state = LaneState(bool(row["paused"]), row["broken_since"], row["running"], row["head"])
    why = lanes.obstacle(state, delivery_id, row["next_at"], ordered=found.ordered, now=now)
    if why is not None:
        return NotClaimed(why, delivery_id, row["lane"])
    if now >= delivery.expires_at(_age_counts_from(row, now), found.expires_after):
        return _expire(tx, row, now)
    if (until := _throttled_until(tx, row, found, now)) is not None:
        tx.execute("update deliveries set next_at = ?, reason = ? where id = ?", (until, _THROTTLED, delivery_id))
        return NotClaimed(_THROTTLED, delivery_id, row["lane"], wake=True)
    tx.execute(
        "update deliveries set state = 'running', attempt_id = ?, starts = starts + 1, next_at = null where id = ?",
        (attempt_id, delivery_id),
    )
    tx.execute(
        """
        insert into attempts (id, delivery, lane, starts, worker, boot_id, source, started_at, timeout)
        values (?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (
            attempt_id, delivery_id, row["lane"], row["starts"] + 1, worker, boot_id, row["source"], now, found.timeout,
        ),
    )  # fmt: skip
    return Claim(
        delivery=delivery_id,
        attempt_id=attempt_id,
        attempt=row["starts"] + 1,
        lane=row["lane"],
        message=row["message"],
        agent=row["agent"],
        transport=row["transport"],
        stream=row["stream"],
        message_id=row["message_id"],
        source=row["source"],
        text=row["text"] or "",
        message_class=row["class"],
        project=row["project"],
        sent_at=row["sent_at"],
        received_at=row["received_at"],
    )


def _age_counts_from(row: sqlite3.Row, now: float) -> float:
    """When the message came, or a person last asked for it again.

    Never before it was sent: our clock may have been behind then, and right since.
    """
    sent: float = row["ms"] / 1000.0
    received: float = row["received_at"]
    return max(received, row["renewed_at"] or 0.0, sent if sent <= now else 0.0)


_THROTTLED = "deferred: its transport has had its wakes for this minute"

_CLAIMABLE = """
select d.id, d.lane, d.message, d.ms, d.starts, d.next_at, d.reason, d.renewed_at, l.agent, l.transport, l.paused,
       l.broken_since, l.running, l.head, m.stream, m.message_id, m.source, m.text, m.class, m.project, m.sent_at,
       m.received_at
from deliveries d join lane_heads l on l.lane = d.lane join messages m on m.id = d.message
where d.state in ('waiting', 'retrying') and d.id =
"""
_CLAIMABLE_BY_ID = _CLAIMABLE + " :number"
_CLAIMABLE_HEAD = _CLAIMABLE + " (select head from lane_heads where lane = :number)"  # noqa: S608 - our own words


def _throttled_until(tx: sqlite3.Connection, row: sqlite3.Row, settings: LaneSettings, now: float) -> float | None:
    until = None
    for limit, source in ((settings.max_wakes_per_minute, None), (settings.max_wakes_per_source, row["source"])):
        if limit is None:
            continue
        nth = tx.execute(
            """
            select started_at from attempts indexed by attempts_recent
            where lane = ? and started_at > ? and started_at <= ? and (? is null or source = ?)
            order by started_at desc limit 1 offset ?
            """,
            (row["lane"], now - 60.0, now, source, source, limit - 1),
        ).fetchone()
        if nth is not None:
            until = max(until or 0.0, nth["started_at"] + 60.0)
    return until


_EXPIRED = "expired: too old when its turn came"


def _expire(tx: sqlite3.Connection, row: sqlite3.Row, now: float) -> NotClaimed:
    tx.execute(
        "update deliveries set state = 'dead', reason = ?, ended_at = ?, next_at = null where id = ?",
        (_EXPIRED + (f"; last: {row['reason']}" if row["starts"] and row["reason"] else ""), now, row["id"]),
    )
    return NotClaimed(
        "it has expired",
        row["id"],
        row["lane"],
        wake=True,
        finished=finish(tx, row["message"], now),
        message=row["message"],
        expired=(row["agent"], row["transport"], row["message_id"]),
    )


def settle(
    tx: sqlite3.Connection,
    delivery_id: int,
    attempt_id: str,
    ending: Ending,
    policy: RetryPolicy,
    *,
    now: float,
    rng: random.Random,
    output: str = "",
) -> Settled | None:
    """Write down how an attempt ended. None: somebody else has settled it."""
    row = tx.execute(
        """
        select d.lane, d.message, d.starts, d.burnt, d.frees, d.voids, d.cancel, d.renewed_at, m.received_at, m.ms,
               m.agent, m.message_id, l.broken_since
        from deliveries d join messages m on m.id = d.message join lanes l on l.id = d.lane
        where d.id = ? and d.state = 'running' and d.attempt_id = ?
        """,
        (delivery_id, attempt_id),
    ).fetchone()
    if row is None:
        return None
    before = Counters(row["burnt"], row["frees"], row["voids"], _age_counts_from(row, now))
    decision = delivery.decide(ending, before, policy, now=now, cancelled=bool(row["cancel"]), rng=rng)
    after = decision.counters
    next_at = decision.next_at
    if next_at is not None:  # one that expires frees its lane then, and not when its backoff is over
        next_at = min(next_at, max(now, delivery.expires_at(before.first_seen, policy.expires_after)))
    final = decision.state in delivery.FINAL
    tx.execute(
        """
        update deliveries set state = ?, burnt = ?, frees = ?, voids = ?, next_at = ?, reason = ?, attempt_id = null,
                              cancel = 0, ended_at = ?
        where id = ?
        """,
        (
            decision.state, after.burnt, after.frees, after.voids, next_at, decision.reason,
            now if final else None, delivery_id,
        ),
    )  # fmt: skip
    tx.execute(
        "update attempts set ended_at = ?, result = ?, output = ? where id = ?",
        (now, delivery.describe(ending), output or None, attempt_id),
    )
    lanes.note_circuit(tx, row["lane"], ending, now, broken=row["broken_since"] is not None)
    return Settled(
        state=decision.state,
        reason=decision.reason,
        lane=row["lane"],
        message=row["message"],
        finished=final and finish(tx, row["message"], now),
        attempt=row["starts"],
        agent=row["agent"],
        message_id=row["message_id"],
        began_failing=delivery.is_failure(ending) and not lanes.was_failing(tx, row["lane"], attempt_id),
    )


def finish(tx: sqlite3.Connection, message: int, now: float) -> bool:
    """Close the message if all of its deliveries are final; true for the one caller whose call did it."""
    states = [State(r["state"]) for r in tx.execute("select state from deliveries where message = ?", (message,))]
    outcome = delivery.message_outcome(states)
    if outcome is MessageState.OPEN:
        return False
    changed = tx.execute(
        "update messages set state = ?, finished_at = ? where id = ? and state = 'open'",
        (outcome, now, message),
    )
    return changed.rowcount == 1
