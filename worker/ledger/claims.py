"""The right to run a delivery: claimed by compare-and-set, so that one worker has it.

The rules: docs/protocol.md#claim. State, claim and attempt move in one transaction.
"""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from worker import delivery
from worker.ledger import groups, lane_hosts, lanes, sets, settling
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
        finished=settling.finish(tx, row["message"], now),
        message=row["message"],
        expired=(row["agent"], row["transport"], row["message_id"]),
    )
