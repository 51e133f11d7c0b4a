"""How an attempt ended, written down: settled by compare-and-set, and its message closed with its last delivery.

The rules: docs/protocol.md#settle. State, claim and attempt move in one transaction. Nothing here decides what an
ending means: `worker.delivery` does.
"""

import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from worker import delivery
from worker.delivery import Counters, Decision, Ending, MessageState, RetryPolicy, State
from worker.ledger import groups, lanes, sets
from worker.ledger.port import Row, Tx


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
