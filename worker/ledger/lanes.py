"""Lanes: what runs in one, what comes first of what waits, and what keeps a delivery from being run now.

What a lane's head is, is said in one place: the view `lane_heads` (see `schema`). What may run is said in one place:
`obstacle`. Claim, settle, wake-up, sweep, `resume` and the sentences of the commands all ask these two.
"""

import functools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from worker import delivery
from worker.delivery import Ending
from worker.ledger import timeline
from worker.ledger.port import Row, Tx


@dataclass(frozen=True, slots=True)
class Lane:
    """One lane, by name."""

    id: int
    agent: str
    transport: str


class LaneState(NamedTuple):
    """How a lane is, as the view `lane_heads` shows it. `running` and `head` are deliveries."""

    paused: bool
    broken_since: float | None  # epoch seconds
    running: int | None
    head: int | None
    elsewhere: bool = False  # another host of the fleet has it, or is to have it


class Obstacle(StrEnum):
    """Why a pending delivery may not run now, the first reason that holds."""

    PAUSED = "its transport is paused"
    ELSEWHERE = "another host has its lane"
    LANE_RUNS = "another delivery of its lane is running"
    NOT_HEAD = "an earlier delivery of its lane comes first"
    NOT_DUE = "it is not due yet"


class Candidate(NamedTuple):
    """The delivery that its lane would run next. Times are epoch seconds."""

    delivery: int
    next_at: float | None
    woken_at: float | None
    is_first_in_order: bool  # its lane keeps the order: nothing else of it may run before


class Wake(NamedTuple):
    """A delivery to enqueue now, or to schedule at `at` (epoch seconds)."""

    delivery: int
    at: float | None
    lane: int


def keeps_order(lane: LaneState, *, ordered: bool) -> bool:
    """Whether only the head may run: in an ordered lane, and in a broken one, where one probe is enough."""
    return ordered or lane.broken_since is not None


def obstacle(lane: LaneState, delivery_id: int, next_at: float | None, *, ordered: bool, now: float) -> Obstacle | None:
    """What keeps a waiting or retrying delivery of this lane from being run at `now`; None: nothing."""
    if lane.paused:
        return Obstacle.PAUSED
    if lane.elsewhere:
        return Obstacle.ELSEWHERE
    if lane.running is not None:
        return Obstacle.LANE_RUNS
    if keeps_order(lane, ordered=ordered) and lane.head not in {None, delivery_id}:
        return Obstacle.NOT_HEAD
    if next_at is not None and next_at > now:
        return Obstacle.NOT_DUE
    return None


def every(db: Tx) -> list[Lane]:
    """All lanes."""
    return [Lane(*row) for row in db.execute("select id, agent, transport from lanes order by id")]


def pending(db: Tx, host: str = "") -> list[Lane]:
    """The lanes in which something waits; where nothing does, this costs one look, however many lanes there are.

    `host`: in a fleet only those that this host has, or nobody.
    """
    return [Lane(*row[:3]) for row in map(tuple, db.execute(PENDING)) if not is_elsewhere(row[3], row[4], host)]


def is_elsewhere(host: str | None, moving_to: str | None, me: str) -> bool:
    """Whether a lane is another host's than ours, or is to be; never without a fleet."""
    return me != "" and (host not in {None, me} or moving_to not in {None, me})


PENDING = """
with recursive found (lane) as (
  select min(lane) from deliveries indexed by deliveries_pending where state in ('waiting', 'retrying')
  union all
  select (select min(d.lane) from deliveries d indexed by deliveries_pending
          where d.state in ('waiting', 'retrying') and d.lane > found.lane)
  from found where found.lane is not null
)
select l.id, l.agent, l.transport, l.host, l.moving_to from found join lanes l on l.id = found.lane order by l.id
"""


def find(db: Tx, lane: int) -> Lane | None:
    """The lane with this id."""
    row = db.execute("select id, agent, transport from lanes where id = ?", (lane,)).fetchone()
    return Lane(*row) if row else None


def candidate(
    db: Tx, lane: int, *, ordered: bool, now: float, but: Collection[int] = (), host: str = ""
) -> Candidate | None:
    """What the lane would run next, due or not; None while it is paused, running, empty or another host's than `host`.

    `but`: deliveries that are passed over where order does not matter, as long as something else is due.
    """
    found = candidates(db, {lane: ordered}, now=now, host=host).get(lane)
    if found is not None and found.delivery in but and not found.is_first_in_order:
        due = db.execute(_DUE, {"lane": lane, "now": now})
        row = next((row for row in due if row["id"] not in but), None)
        return found if row is None else _in_any_order(row)
    return found


def candidates(
    db: Tx, ordered: Mapping[int, bool], *, now: float, host: str = "", others: set[int] | None = None
) -> dict[int, Candidate]:
    """The same for many lanes, of which each is `ordered` or not: two questions, however many lanes there are.

    `others`: gets those that another host has, and has not been told of yet.
    """
    found: dict[int, Candidate] = {}
    any_order = []
    for row in _of_lanes(db, _HEADS, ordered):
        state = LaneState(bool(row["paused"]), row["broken_since"], row["running"], row["head"])
        if state.paused or state.running is not None or state.head is None:
            continue
        if is_elsewhere(row["host"], row["moving_to"], host):
            if others is not None and row["woken_at"] is None:
                others.add(row["lane"])
            continue
        if keeps_order(state, ordered=ordered[row["lane"]]):
            found[row["lane"]] = Candidate(state.head, row["next_at"], row["woken_at"], is_first_in_order=True)
        else:
            any_order.append(row["lane"])
    for row in _of_lanes(db, _SOONEST, any_order, now=now):
        found[row["lane"]] = _in_any_order(row)
    return found


def _in_any_order(row: Row) -> Candidate:
    return Candidate(row["id"], row["next_at"], row["woken_at"], is_first_in_order=False)


def furthest(db: Tx, ids: Collection[int]) -> dict[int, float]:
    """When the latest of what waits in each of these lanes is due (epoch seconds); none for one without such times."""
    rows = _of_lanes(db, _FURTHEST, ids)
    return {row["lane"]: row["next_at"] for row in rows if row["next_at"] is not None}


def _of_lanes(db: Tx, query: str, ids: Iterable[int], **values: object) -> Iterator[Row]:
    """The rows of a query about lanes, asked for many at a time."""
    left = list(ids)
    while left:
        now, left = left[:_LANES_A_QUESTION], left[_LANES_A_QUESTION:]
        yield from db.execute(query + _which(len(now)), {**values, **{f"lane{n}": lane for n, lane in enumerate(now)}})


@functools.cache
def _which(count: int) -> str:
    return f"({', '.join(f':lane{n}' for n in range(count))})"


_LANES_A_QUESTION = 200

_HEADS = """
select l.lane, l.paused, l.broken_since, l.running, l.head, l.host, l.moving_to, d.next_at, d.woken_at
from lane_heads l left join deliveries d on d.id = l.head where l.lane in
"""

_DUE = """
select id, next_at, woken_at from deliveries indexed by deliveries_pending
where lane = :lane and state in ('waiting', 'retrying') and (next_at is null or next_at <= :now) order by ms, seq, id
"""

# Where order does not matter: what is due goes first, in inbox order; else what will be due soonest.
_SOONEST = """
select l.id as lane, d.id, d.next_at, d.woken_at from lanes l join deliveries d on d.id = coalesce(
  (select due.id from deliveries due indexed by deliveries_pending
   where due.lane = l.id and due.state in ('waiting', 'retrying') and (due.next_at is null or due.next_at <= :now)
   order by due.ms, due.seq, due.id limit 1),
  (select later.id from deliveries later indexed by deliveries_scheduled
   where later.lane = l.id and later.state in ('waiting', 'retrying') and later.next_at is not null
   order by later.next_at limit 1))
where l.id in
"""

_FURTHEST = """
select l.id as lane, (select max(d.next_at) from deliveries d indexed by deliveries_scheduled
                      where d.lane = l.id and d.state in ('waiting', 'retrying') and d.next_at is not null) as next_at
from lanes l where l.id in
"""


def next_wakes(
    tx: Tx, ordered: Mapping[int, bool], *, now: float, only_new: bool = False, host: str = ""
) -> list[Wake]:
    """What each of these lanes has to do next, marked as woken; nothing while it is paused, running or empty.

    `only_new`: not a delivery that was woken before; its task is in the queue, or the sweep will see. `host`: in a
    fleet none of a lane that another host has, which is told to look.
    """
    tx.lock_lanes(ordered)
    others: set[int] = set()
    wakes = [
        Wake(one.delivery, one.next_at if one.next_at is not None and one.next_at > now else None, lane)
        for lane, one in candidates(tx, ordered, now=now, host=host, others=others).items()
        if not (only_new and one.woken_at is not None)
    ]
    tx.executemany("update deliveries set woken_at = ? where id = ?", [(now, wake.delivery) for wake in wakes])
    if others:
        tx.nudge()
    return wakes


def set_paused(tx: Tx, transport: str, agent: str | None, host: str | None = None, *, paused: bool) -> list[Row]:
    """Pause or resume a transport's lanes: what runs, finishes. Returns the lanes that it has.

    `agent`, `host`: only this agent's, only those that this host of a fleet has.
    """
    rows = tx.execute(
        """
        select id, agent, transport, paused from lanes
        where transport = :transport and (cast(:agent as text) is null or agent = :agent)
          and (cast(:host as text) is null or host = :host) order by agent
        """,
        {"transport": transport, "agent": agent, "host": host},
    ).fetchall()
    tx.lock_lanes([row["id"] for row in rows])
    for row in rows:
        tx.execute("update lanes set paused = ? where id = ?", (int(paused), row["id"]))
        if not paused:  # its head may have been woken while it was paused, and has done nothing
            tx.execute(
                "update deliveries set woken_at = null where id = (select head from lane_heads where lane = ?)",
                (row["id"],),
            )
    if not paused:
        timeline.looked(tx)
    return rows


def note_circuit(tx: Tx, lane: int, ending: Ending, now: float, *, broken: bool) -> None:
    """A transport whose endings say "nobody there" is a broken circuit; any other real ending closes it again."""
    if ending.kind == "exit" and ending.code == delivery.EX_UNAVAILABLE:
        tx.execute(
            "update lanes set broken_since = coalesce(broken_since, ?), broken_reason = ? where id = ?",
            (now, delivery.describe(ending), lane),
        )
    elif broken and ending.kind in {"exit", "signal", "timeout"}:
        tx.execute(
            "update lanes set broken_since = null, broken_reason = null where id = ?",
            (lane,),
        )


def was_failing(tx: Tx, lane: int, attempt_id: str) -> bool:
    """Whether the lane's last ending before this one, deferred ones (75) aside, was no success."""
    row = tx.execute(
        """
        select result from attempts indexed by attempts_recent
        where lane = ? and id <> ? and ended_at is not null and result not like ?
        order by started_at desc limit 1
        """,
        (lane, attempt_id, f"exit {delivery.EX_TEMPFAIL}%"),
    ).fetchone()
    return row is not None and row["result"] != "exit 0"
