"""The right to run a delivery: claimed and settled by compare-and-set.

The rules: docs/protocol.md#claim and docs/protocol.md#settle.

State, claim and attempt move in one transaction. Nothing here decides what an ending means: `worker.delivery` does.
"""

import os
import random
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from worker import delivery
from worker.delivery import Counters, Decision, Ending, MessageState, RetryPolicy, State
from worker.ledger import groups, lane_hosts, lanes, sets
from worker.ledger.groups import Grouped, LaneSettings
from worker.ledger.lanes import LaneState
from worker.ledger.port import Row, Tx

START_SECONDS = 30.0
"""An attempt that has not started so long after its claim never will: its launcher sees to that, and nobody needs to be
asked about it."""


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
    return f"{int(now * 1000) & 0xFFFFFFFFFFFF:012x}{os.urandom(10).hex()}"


class Which(NamedTuple):
    """Which delivery to claim: `this` one, or the `head_of` a lane."""

    query: str
    number: int
    lock: Callable[[Tx, int], None]
    row: Row | None = None  # where it has been asked for, with its lane locked


def this(delivery_id: int) -> Which:
    """This one."""
    return Which(_CLAIMABLE_BY_ID, delivery_id, lambda tx, number: tx.lock_lane_of(number))


def head_of(lane: int) -> Which:
    """What comes first in the lane, due or not."""
    return Which(_CLAIMABLE_HEAD, lane, lambda tx, number: tx.lock_lanes((number,)))


def heads_of(tx: Tx, lane_ids: Sequence[int]) -> dict[int, Which]:
    """What comes first in each of these lanes, by lane, in one question; a lane in which nothing waits is left out."""
    tx.lock_lanes(lane_ids)
    found = {}
    for some in sets.of(lane_ids):
        for row in tx.execute(_CLAIMABLE_HEADS + sets.marks(len(some)), some):
            found[row["lane"]] = head_of(row["lane"])._replace(row=row)
    return found


def claim(
    tx: Tx,
    which: Which,
    *,
    attempt_id: str,
    worker: str,
    boot_id: str,
    settings: Callable[[str, str], LaneSettings | None],
    now: float,
    host: str = "",
) -> Claim | NotClaimed:
    """Claim a delivery for this worker, or say why not. `host`: in a fleet, which one this is.

    Where its transport coalesces, what is due behind it is claimed with it. A failed claim changes nothing, but that a
    delivery that is put off gets its next time, and an expired one ends.
    """
    row = which.row
    if row is None:
        which.lock(tx, which.number)
        row = tx.execute(which.query, {"number": which.number}).fetchone()
    if row is None:
        return NotClaimed("it is not waiting", which.number)
    delivery_id = row["id"]
    found = settings(row["agent"], row["transport"])
    if found is None:
        return NotClaimed("its transport is not configured any more", delivery_id, row["lane"])
    why = _obstacle(tx, row, found, host, now)
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
        insert into attempts (id, delivery, lane, starts, worker, boot_id, source, started_at, timeout, host, start_by)
        values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (
            attempt_id, delivery_id, row["lane"], row["starts"] + 1, worker, boot_id, row["source"], now, found.timeout,
            host, now + START_SECONDS,
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


def _obstacle(tx: Tx, row: Row, settings: LaneSettings, host: str, now: float) -> str | None:
    """Why it may not be run now; where nothing keeps it, a lane that no host had is ours from now on."""
    elsewhere = lanes.is_elsewhere(row["host"], row["moving_to"], host)
    state = LaneState(bool(row["paused"]), row["broken_since"], row["running"], row["head"], elsewhere)
    why = lanes.obstacle(state, row["id"], row["next_at"], ordered=settings.ordered, now=now)
    if why is None and host and row["host"] is None and not lane_hosts.begin(tx, row["lane"], host, settings.run_on):
        return "nobody has its lane yet, and another host comes first"
    return why


_RUN = """
update deliveries set state = 'running', attempt_id = ?, companion = ?, starts = starts + 1, next_at = null where id = ?
"""


_THROTTLED = "deferred: its transport has had its wakes for this minute"

_CLAIMABLE = """
select d.id, d.lane, d.message, d.ms, d.starts, d.burnt, d.next_at, d.reason, d.renewed_at, l.agent, l.transport,
       l.paused, l.broken_since, l.running, l.head, l.host, l.moving_to, m.stream, m.message_id, m.source, m.text,
       m.class, m.project, m.sent_at, m.received_at
from deliveries d join lane_heads l on l.lane = d.lane join messages m on m.id = d.message
where d.state in ('waiting', 'retrying') and d.id =
"""
_CLAIMABLE_BY_ID = _CLAIMABLE + " :number"
_CLAIMABLE_HEADS = _CLAIMABLE + " l.head and l.lane in "
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


class Over(NamedTuple):
    """An attempt that is over: how it ended, what it printed, and the policy that decides what follows.

    `lane` where it is known.
    """

    delivery: int
    attempt_id: str
    ending: Ending
    policy: RetryPolicy
    output: str = ""
    lane: int | None = None


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
    (settled,) = settle_all(tx, [Over(delivery_id, attempt_id, ending, policy, output)], now=now, rng=rng)
    return settled


def settle_all(tx: Tx, over: Sequence[Over], *, now: float, rng: random.Random) -> list[Settled | None]:
    """The same for several attempts, each of another delivery: as many statements for all of them as for one."""
    tx.lock_lanes([one.lane for one in over if one.lane is not None])
    for one in over:
        if one.lane is None:
            tx.lock_lane_of(one.delivery)
    found = {}
    for some in sets.of([one.delivery for one in over]):
        for row in tx.execute(_SETTLED + "d.state = 'running' and d.id in " + sets.marks(len(some)), some):
            found[row["attempt_id"]] = row
    endings = [_decided(tx, one, found[one.attempt_id], now, rng) if one.attempt_id in found else None for one in over]
    _write(tx, [ending for ending in endings if ending is not None], now)
    closed = _close_messages(tx, [part for ending in endings if ending is not None for part in ending.parts], now)
    return [ending and _settled(ending, closed, now) for ending in endings]


class _Part(NamedTuple):
    """A delivery that an attempt has made, and what becomes of it."""

    row: Row
    decision: Decision

    @property
    def is_final(self) -> bool:
        return self.decision.state in delivery.FINAL


class _Ending(NamedTuple):
    """An attempt that is over, and its deliveries, the one that has the attempt first."""

    over: Over
    parts: list[_Part]
    next_at: float | None
    began_failing: bool


def _decided(tx: Tx, over: Over, head: Row, now: float, rng: random.Random) -> _Ending:
    rows = [head]
    if head["accompanied"]:
        rows += tx.execute(_SETTLED + groups.COMPANIONS, {"attempt": over.attempt_id}).fetchall()
    parts = [
        _Part(
            row,
            delivery.decide(
                over.ending,
                Counters(row["burnt"], row["frees"], row["voids"], groups.age_counts_from(row, now)),
                over.policy,
                now=now,
                cancelled=bool(row["cancel"]),
                rng=rng,
            ),
        )
        for row in rows
    ]
    # What goes on goes on together. One that expires frees its lane then, and not when its backoff is over.
    next_at = None
    for row, decision in parts:
        if decision.next_at is not None:
            expires = delivery.expires_at(groups.age_counts_from(row, now), over.policy.expires_after)
            next_at = min(decision.next_at, max(now, expires))
            break
    began_failing = delivery.is_failure(over.ending) and not lanes.was_failing(tx, head["lane"], over.attempt_id)
    if head["moving_to"] is not None:
        tx.nudge()  # whoever is to have its lane takes it now
    return _Ending(over, parts, next_at, began_failing)


_SETTLED = """
select d.id, d.lane, d.message, d.starts, d.burnt, d.frees, d.voids, d.cancel, d.renewed_at, d.attempt_id,
       m.received_at, m.ms, m.agent, m.message_id, m.state as message_state, l.broken_since, l.moving_to,
       (select a.started_at from attempts a where a.id = d.attempt_id) as started_at,
       exists (select 1 from companions c where c.attempt = d.attempt_id) as accompanied,
       exists (select 1 from deliveries o where o.message = d.message and o.id <> d.id) as shared
from deliveries d join messages m on m.id = d.message join lanes l on l.id = d.lane
where
"""


def _write(tx: Tx, endings: Sequence[_Ending], now: float) -> None:
    """The state of each delivery, and how each attempt ended."""
    tx.executemany(
        """
        update deliveries set state = ?, burnt = ?, frees = ?, voids = ?, next_at = ?, reason = ?, attempt_id = null,
                              cancel = 0, ended_at = ?
        where id = ?
        """,
        [
            (
                part.decision.state, part.decision.counters.burnt, part.decision.counters.frees,
                part.decision.counters.voids, None if part.decision.next_at is None else ending.next_at,
                part.decision.reason, now if part.is_final else None, part.row["id"],
            )
            for ending in endings for part in ending.parts
        ],
    )  # fmt: skip
    tx.executemany(
        "update attempts set ended_at = ?, result = ?, output = ? where id = ?",
        [
            (now, delivery.describe(over.ending), over.output or None, over.attempt_id)
            for over in (ending.over for ending in endings)
        ],
    )
    for over, parts, _, _ in endings:
        head = parts[0].row
        lanes.note_circuit(tx, head["lane"], over.ending, now, broken=head["broken_since"] is not None)


def _close_messages(tx: Tx, parts: Iterable[_Part], now: float) -> set[int]:
    """Close the messages whose deliveries are all final now; which these are."""
    closed = set()
    alone = []
    shared = set()
    for part in parts:
        if part.is_final and part.row["shared"]:
            shared.add(part.row["message"])
        elif part.is_final and part.row["message_state"] == MessageState.OPEN:  # and nobody else may change that now
            alone.append((delivery.message_outcome([part.decision.state]), now, part.row["message"]))
            closed.add(part.row["message"])
    tx.executemany(_CLOSE, alone)
    return closed | {message for message in sorted(shared) if finish(tx, message, now)}


def _settled(ending: _Ending, closed: set[int], now: float) -> Settled:
    head, *others = (_settled_one(part, ending, closed, now) for part in ending.parts)
    return head._replace(others=tuple(others)) if others else head


def _settled_one(part: _Part, ending: _Ending, closed: set[int], now: float) -> Settled:
    row, decision = part
    finished = part.is_final and row["message"] in closed
    if finished:
        closed.discard(row["message"])  # of two deliveries that end together one says that it was the last
    return Settled(
        delivery=row["id"],
        state=decision.state,
        reason=decision.reason,
        lane=row["lane"],
        message=row["message"],
        finished=finished,
        attempt=row["starts"],
        agent=row["agent"],
        message_id=row["message_id"],
        began_failing=ending.began_failing and row is ending.parts[0].row,
        received_at=row["received_at"],
        started_at=row["started_at"] or now,
        ended_at=now,
    )


def finish(tx: Tx, message: int, now: float) -> bool:
    """Close the message if all of its deliveries are final; true for the one caller whose call did it."""
    tx.lock_message(message)
    states = [row["state"] for row in tx.execute("select state from deliveries where message = ?", (message,))]
    outcome = delivery.message_outcome(states)
    if outcome is MessageState.OPEN:
        return False
    return tx.execute(_CLOSE, (outcome, now, message)).rowcount == 1


_CLOSE = "update messages set state = ?, finished_at = ? where id = ? and state = 'open'"
