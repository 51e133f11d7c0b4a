"""The right to run a delivery: claimed and settled by compare-and-set.

The rules: docs/protocol.md#claim and docs/protocol.md#settle.

State, claim and attempt move in one transaction. Nothing here decides what an ending means: `worker.delivery` does.
"""

import random
import secrets
from collections.abc import Callable
from typing import NamedTuple

from worker import delivery
from worker.delivery import Counters, Decision, Ending, MessageState, RetryPolicy, State
from worker.ledger import groups, lanes
from worker.ledger.groups import Grouped, LaneSettings
from worker.ledger.lanes import LaneState
from worker.ledger.port import Row, Tx


class Claim(NamedTuple):
    """A delivery that is ours to run, with all that its transport needs.

    `together`: where several go in one attempt, all of them in inbox order, this one included; else empty.
    """

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
    together: tuple[Grouped, ...] = ()


class NotClaimed(NamedTuple):
    """Why a claim failed.

    `wake`: nobody else will wake the lane, because the delivery was put off, or expired instead of being claimed;
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
    `others`: the deliveries that went together with this one, and ended with it. Times are epoch seconds: when the
    message came, when the attempt began, when it was settled.
    """

    delivery: int
    state: State
    reason: str
    lane: int
    message: int
    finished: bool
    attempt: int
    agent: str
    message_id: str
    began_failing: bool
    received_at: float
    started_at: float
    ended_at: float
    others: "tuple[Settled, ...]" = ()


def new_attempt_id(now: float) -> str:
    """128 bits in hex: 48 of time, so that new rows lie together, and 80 random."""
    return f"{int(now * 1000) & 0xFFFFFFFFFFFF:012x}{secrets.token_hex(10)}"


class Which(NamedTuple):
    """Which delivery to claim: `this` one, or the `head_of` a lane."""

    query: str
    number: int
    lock: Callable[[Tx, int], None]


def this(delivery_id: int) -> Which:
    """This one."""
    return Which(_CLAIMABLE_BY_ID, delivery_id, lambda tx, number: tx.lock_lane_of(number))


def head_of(lane: int) -> Which:
    """What comes first in the lane, due or not."""
    return Which(_CLAIMABLE_HEAD, lane, lambda tx, number: tx.lock_lanes((number,)))


def claim(
    tx: Tx,
    which: Which,
    *,
    attempt_id: str,
    worker: str,
    boot_id: str,
    settings: Callable[[str, str], LaneSettings | None],
    now: float,
) -> Claim | NotClaimed:
    """Claim a delivery for this worker, or say why not.

    Where its transport coalesces, what is due behind it is claimed with it. A failed claim changes nothing, but that a
    delivery that is put off gets its next time, and an expired one ends.
    """
    which.lock(tx, which.number)
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
    if now >= delivery.expires_at(groups.age_counts_from(row, now), found.expires_after):
        return _expire(tx, row, now)
    together: tuple[Grouped, ...] = ()
    put_off = _throttled_until(tx, row, found, now), _THROTTLED
    if put_off[0] is None and found.coalesce is not None:
        group = groups.gather(tx, row, found, now)
        together = group.members if len(group.members) > 1 else ()
        put_off = groups.gathers_until(tx, row, found, group, now), groups.GATHERING
    if put_off[0] is not None:
        tx.execute("update deliveries set next_at = ?, reason = ? where id = ?", (*put_off, delivery_id))
        return NotClaimed(put_off[1], delivery_id, row["lane"], wake=True)
    tx.execute(_RUN, (attempt_id, 0, delivery_id))
    tx.execute(
        """
        insert into attempts (id, delivery, lane, starts, worker, boot_id, source, started_at, timeout)
        values (?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (
            attempt_id, delivery_id, row["lane"], row["starts"] + 1, worker, boot_id, row["source"], now, found.timeout,
        ),
    )  # fmt: skip
    for one in together:
        if one.delivery != delivery_id:
            tx.execute(_RUN, (attempt_id, one.delivery, one.delivery))
            groups.note_companion(tx, attempt_id, one.delivery)
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
        together=together,
    )


_RUN = """
update deliveries set state = 'running', attempt_id = ?, companion = ?, starts = starts + 1, next_at = null where id = ?
"""


_THROTTLED = "deferred: its transport has had its wakes for this minute"

_CLAIMABLE = """
select d.id, d.lane, d.message, d.ms, d.starts, d.burnt, d.next_at, d.reason, d.renewed_at, l.agent, l.transport,
       l.paused, l.broken_since, l.running, l.head, m.stream, m.message_id, m.source, m.text, m.class, m.project,
       m.sent_at, m.received_at
from deliveries d join lane_heads l on l.lane = d.lane join messages m on m.id = d.message
where d.state in ('waiting', 'retrying') and d.id =
"""
_CLAIMABLE_BY_ID = _CLAIMABLE + " :number"
_CLAIMABLE_HEAD = _CLAIMABLE + " (select head from lane_heads where lane = :number)"  # noqa: S608 - our own words


def _throttled_until(tx: Tx, row: Row, settings: LaneSettings, now: float) -> float | None:
    until = None
    for limit, source in ((settings.max_wakes_per_minute, None), (settings.max_wakes_per_source, row["source"])):
        if limit is None:
            continue
        nth = tx.execute(
            """
            select started_at from attempts indexed by attempts_recent
            where lane = ? and started_at > ? and started_at <= ? and (cast(? as text) is null or source = ?)
            order by started_at desc limit 1 offset ?
            """,
            (row["lane"], now - 60.0, now, source, source, limit - 1),
        ).fetchone()
        if nth is not None:
            until = max(until or 0.0, nth["started_at"] + 60.0)
    return until


_EXPIRED = "expired: too old when its turn came"


def _expire(tx: Tx, row: Row, now: float) -> NotClaimed:
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
    tx: Tx,
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
    tx.lock_lane_of(delivery_id)
    row = tx.execute(_SETTLED + "d.id = ? and d.state = 'running' and d.attempt_id = ?", (delivery_id, attempt_id))
    head = row.fetchone()
    if head is None:
        return None
    rows = [head]
    if head["accompanied"]:
        rows += tx.execute(_SETTLED + groups.COMPANIONS, {"attempt": attempt_id}).fetchall()
    decisions = [
        delivery.decide(
            ending,
            Counters(row["burnt"], row["frees"], row["voids"], groups.age_counts_from(row, now)),
            policy,
            now=now,
            cancelled=bool(row["cancel"]),
            rng=rng,
        )
        for row in rows
    ]
    # What goes on goes on together. One that expires frees its lane then, and not when its backoff is over.
    first = next(((n, at) for n, d in enumerate(decisions) if (at := d.next_at) is not None), None)
    next_at = None
    if first is not None:
        expires = delivery.expires_at(groups.age_counts_from(rows[first[0]], now), policy.expires_after)
        next_at = min(first[1], max(now, expires))
    settled = [_settle_one(tx, *pair, next_at, now) for pair in zip(rows, decisions, strict=True)]
    tx.execute(
        "update attempts set ended_at = ?, result = ?, output = ? where id = ?",
        (now, delivery.describe(ending), output or None, attempt_id),
    )
    lanes.note_circuit(tx, head["lane"], ending, now, broken=head["broken_since"] is not None)
    began_failing = delivery.is_failure(ending) and not lanes.was_failing(tx, head["lane"], attempt_id)
    return settled[0]._replace(began_failing=began_failing, others=tuple(settled[1:]))


_SETTLED = """
select d.id, d.lane, d.message, d.starts, d.burnt, d.frees, d.voids, d.cancel, d.renewed_at, m.received_at, m.ms,
       m.agent, m.message_id, l.broken_since,
       (select a.started_at from attempts a where a.id = d.attempt_id) as started_at,
       exists (select 1 from companions c where c.attempt = d.attempt_id) as accompanied
from deliveries d join messages m on m.id = d.message join lanes l on l.id = d.lane
where
"""


def _settle_one(tx: Tx, row: Row, decision: Decision, next_at: float | None, now: float) -> Settled:
    final = decision.state in delivery.FINAL
    after = decision.counters
    tx.execute(
        """
        update deliveries set state = ?, burnt = ?, frees = ?, voids = ?, next_at = ?, reason = ?, attempt_id = null,
                              cancel = 0, ended_at = ?
        where id = ?
        """,
        (
            decision.state, after.burnt, after.frees, after.voids, None if decision.next_at is None else next_at,
            decision.reason, now if final else None, row["id"],
        ),
    )  # fmt: skip
    return Settled(
        delivery=row["id"],
        state=decision.state,
        reason=decision.reason,
        lane=row["lane"],
        message=row["message"],
        finished=final and finish(tx, row["message"], now),
        attempt=row["starts"],
        agent=row["agent"],
        message_id=row["message_id"],
        began_failing=False,
        received_at=row["received_at"],
        started_at=row["started_at"] or now,
        ended_at=now,
    )


def finish(tx: Tx, message: int, now: float) -> bool:
    """Close the message if all of its deliveries are final; true for the one caller whose call did it."""
    tx.lock_message(message)
    states = [State(r["state"]) for r in tx.execute("select state from deliveries where message = ?", (message,))]
    outcome = delivery.message_outcome(states)
    if outcome is MessageState.OPEN:
        return False
    changed = tx.execute(
        "update messages set state = ?, finished_at = ? where id = ? and state = 'open'",
        (outcome, now, message),
    )
    return changed.rowcount == 1
