"""Whose a lane is, where several hosts share a ledger: who has it runs it, and nobody else.

Another host takes it over by compare-and-set, with nothing of it running: one that it was given to (`moving_to`), one
that is configured for it once its host is lost, or anybody who is once a person has forgotten that host. A host that is
preferred asks for it back. docs/model.md#the-fleet searched these rules.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from worker.ledger.hosts import Fleet
from worker.ledger.port import Tx
from worker.setting_types import ANYWHERE

RunOn = Sequence[str] | None
"""Who may run a lane, best first, perhaps with `any` behind them; None: the host that has begun, and no other."""


class Held(NamedTuple):
    """A lane, and who has it. `elsewhere`: its host lets others run it."""

    id: int
    agent: str
    transport: str
    host: str | None
    elsewhere: bool
    moving_to: str | None


def every(db: Tx) -> list[Held]:
    """All lanes."""
    rows = db.execute(
        "select id, agent, transport, host, run_on is not null as elsewhere, moving_to from lanes order by id"
    )
    return [Held(*row) for row in rows]


def may_begin(run_on: RunOn, me: str) -> bool:
    """Whether this host may have a lane that nobody has, at once: no other comes before it."""
    return run_on is None or run_on[0] in {me, ANYWHERE}


def words_of(run_on: RunOn) -> str | None:
    """As `lanes.run_on` has it."""
    return None if run_on is None else " ".join(run_on)


def may_take(lane: Held, run_on: RunOn, fleet: Fleet) -> bool:
    """Whether this host, which has the lane's transport, may take it over from whoever has it, once nothing runs."""
    if lane.moving_to is not None:
        return lane.moving_to == fleet.me or (fleet.is_lost(lane.moving_to) and _may_inherit(lane, run_on, fleet))
    return _may_inherit(lane, run_on, fleet)


def _may_inherit(lane: Held, run_on: RunOn, fleet: Fleet) -> bool:
    if lane.host is None or fleet.is_forgotten(lane.host):
        return run_on is None or _comes_first(lane, run_on, fleet)
    return lane.elsewhere and fleet.is_lost(lane.host) and run_on is not None and _comes_first(lane, run_on, fleet)


def _comes_first(lane: Held, run_on: Sequence[str], fleet: Fleet) -> bool:
    """Whether this host may run it, and no other that could comes before it."""
    for host in run_on:
        if host in {fleet.me, ANYWHERE}:
            return True
        if host != lane.host and fleet.serves(host, lane.agent, lane.transport):
            return False
    return False


def wants_back(lane: Held, run_on: RunOn, fleet: Fleet) -> bool:
    """Whether this host comes before the one that has the lane, which lives and lets others run it."""
    if run_on is None or lane.host is None or not lane.elsewhere or lane.moving_to is not None:
        return False
    names = [name for name in run_on if name in {fleet.me, lane.host}]
    before = names[:1] == [fleet.me]
    return before and not fleet.is_lost(lane.host) and _comes_first(lane, run_on, fleet)


def begin(tx: Tx, lane: int, me: str, run_on: RunOn) -> bool:
    """Have a lane that nobody has, with its lock, unless another host comes before this one. Whether it is ours."""
    return may_begin(run_on, me) and _has_row(
        tx,
        "update lanes set host = ?, run_on = ? where id = ? and host is null returning id",
        (me, words_of(run_on), lane),
    )


def take_over(tx: Tx, lane: Held, me: str, run_on: RunOn) -> bool:
    """Have a lane that is as it was seen, with nothing running. Whether it is ours now."""
    tx.lock_lanes((lane.id,))
    taken = _has_row(
        tx,
        """
        update lanes set host = :me, run_on = :run_on, moving_to = null
        where id = :id and coalesce(host, '') = :host and coalesce(moving_to, '') = :moving_to
          and not exists (select 1 from deliveries where lane = :id and state = 'running')
        returning id
        """,
        {
            "me": me,
            "run_on": words_of(run_on),
            "id": lane.id,
            "host": lane.host or "",
            "moving_to": lane.moving_to or "",
        },
    )
    if taken:  # whoever had it may have woken its head, which did nothing
        tx.execute(
            "update deliveries set woken_at = null where id = (select head from lane_heads where lane = ?)", (lane.id,)
        )
    return taken


def ask_back(tx: Tx, lane: Held, me: str) -> bool:
    """Have whoever has the lane give it up: it begins nothing more. Whether it was as it was seen."""
    tx.lock_lanes((lane.id,))
    return _has_row(
        tx,
        "update lanes set moving_to = ? where id = ? and host = ? and moving_to is null returning id",
        (me, lane.id, lane.host),
    )


def keep(tx: Tx, lane: Held, me: str) -> bool:
    """Keep a lane that was to move to a host that is lost."""
    tx.lock_lanes((lane.id,))
    return _has_row(
        tx,
        "update lanes set moving_to = null where id = ? and host = ? and moving_to = ? returning id",
        (lane.id, me, lane.moving_to),
    )


def declare(tx: Tx, me: str, run_on: Mapping[tuple[str, str], RunOn]) -> None:
    """Write down who else may run our lanes, by agent and transport, as it is configured today."""
    ours = tx.execute("select id, agent, transport, run_on from lanes where host = ? order by id", (me,)).fetchall()
    changed = [
        (words_of(run_on[row["agent"], row["transport"]]), row["id"])
        for row in ours
        if words_of(run_on.get((row["agent"], row["transport"]), ())) not in {row["run_on"], ""}
    ]
    tx.lock_lanes([lane for _, lane in changed])
    tx.executemany("update lanes set run_on = ? where id = ?", changed)


def move(tx: Tx, lanes: Sequence[int], to: str) -> None:
    """A person gives these lanes to another host: no new claim where they are, what runs ends there."""
    tx.lock_lanes(sorted(lanes))
    tx.executemany(
        "update lanes set moving_to = case when host = ? then null else cast(? as text) end where id = ?",
        [(to, to, lane) for lane in lanes],
    )


def _has_row(tx: Tx, statement: str, values: Sequence[object] | dict[str, object]) -> bool:
    return tx.execute(statement, values).fetchone() is not None
