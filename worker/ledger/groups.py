"""Groups: messages of one lane that one attempt delivers, where a transport coalesces. See docs/states.md#groups.

The delivery that is claimed has the attempt; the others that go with it are its companions. They are claimed and
settled in the same transactions as it, so that there is never a moment in which they are not in the same state.
"""

from dataclasses import dataclass
from typing import NamedTuple

from worker import delivery
from worker.ledger.lane_hosts import RunOn
from worker.ledger.port import Row, Tx

PREAMBLE_BYTES = 32  # of a preamble, beside the names in it


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """Today's settings of a lane, as far as a claim depends on them. Times in seconds, sizes in bytes."""

    ordered: bool = True
    timeout: float = 30.0
    max_wakes_per_minute: int | None = None
    max_wakes_per_source: int | None = None
    expires_after: float | None = None
    coalesce: float | None = None
    coalesce_max: int = 32 * 1024
    run_on: RunOn = None


class Grouped(NamedTuple):
    """One message of a group, as its transport is told of it."""

    delivery: int
    message_id: str
    source: str
    text: str
    message_class: str | None
    stream: str


class Group(NamedTuple):
    """What would go together now, in inbox order; `full`: more waits than fits."""

    members: tuple[Grouped, ...]
    full: bool


def gather(tx: Tx, head: Row, settings: LaneSettings, now: float) -> Group:
    """The delivery that is to be claimed, and what goes with it.

    A wake that failed is tried again as it was, for it may have been done: the agent's channel knows it again by its
    content. Everything else goes with what is due, in inbox order: past what has expired, which goes to nobody, but
    where order matters not past what is not due. A text with a NUL goes alone: it may be unfit for the transport.
    """
    fixed = _last_group(tx, head["id"]) if head["burnt"] else None
    found: list[Grouped] = []
    size = 0
    for row in tx.execute(_PENDING, {"lane": head["lane"], "head": head["id"]}):
        if row["id"] != head["id"]:
            if now >= delivery.expires_at(age_counts_from(row, now), settings.expires_after):
                continue
            due = row["next_at"] is None or row["next_at"] <= now
            again = row["id"] in fixed if fixed is not None else not row["burnt"]
            if not due or not again or "\0" in row["text"]:
                if settings.ordered:
                    break
                continue
        size += sum(len(row[name].encode("utf-8", "replace")) for name in ("text", "source", "agent")) + PREAMBLE_BYTES
        if size > settings.coalesce_max and found:
            return Group(tuple(found), full=True) if _has(found, head["id"]) else Group((_grouped(head),), full=True)
        found.append(_grouped(row))
        if row["id"] == head["id"] and "\0" in row["text"]:
            return Group((_grouped(head),), full=False)
    return Group(tuple(found), full=False)


def _has(found: list[Grouped], delivery_id: int) -> bool:
    return any(one.delivery == delivery_id for one in found)


def _grouped(row: Row) -> Grouped:
    return Grouped(row["id"], row["message_id"], row["source"], row["text"] or "", row["class"], row["stream"])


_PENDING = """
select d.id, d.ms, d.burnt, d.next_at, d.renewed_at, m.message_id, m.source, coalesce(m.text, '') as text, m.class,
       m.received_at, m.agent, m.stream
from deliveries d indexed by deliveries_pending join messages m on m.id = d.message
where d.lane = :lane and d.state in ('waiting', 'retrying')
order by d.ms, d.seq, d.id
"""


def _last_group(tx: Tx, delivery_id: int) -> set[int]:
    """The deliveries of a delivery's last attempt, which may have been another one's."""
    rows = tx.execute(
        """
        with last as (select made.attempt from (
            select id as attempt, starts from attempts where delivery = :delivery
            union all select attempt, starts from companions where delivery = :delivery
          ) as made order by made.starts desc limit 1)
        select delivery from companions where attempt in (select attempt from last)
        union select delivery from attempts where id in (select attempt from last)
        """,
        {"delivery": delivery_id},
    )
    return {row["delivery"] for row in rows}


GATHERING = "deferred: its agent was woken a moment ago, and what comes meanwhile goes with it"


def gathers_until(tx: Tx, head: Row, settings: LaneSettings, group: Group, now: float) -> float | None:
    """Until when more is waited for, because the lane's last wake is not long ago; None: it is time."""
    if settings.coalesce is None or group.full or head["burnt"]:
        return None
    row = tx.execute(
        """
        select started_at from attempts indexed by attempts_recent
        where lane = ? and started_at > ? and started_at <= ? and result = 'exit 0'
        order by started_at desc limit 1
        """,
        (head["lane"], now - settings.coalesce, now),
    ).fetchone()
    return None if row is None else float(row["started_at"]) + settings.coalesce


def note_companion(tx: Tx, attempt_id: str, delivery_id: int) -> None:
    """This delivery goes with the attempt."""
    tx.execute(
        "insert into companions (attempt, delivery, starts) select ?, id, starts from deliveries where id = ?",
        (attempt_id, delivery_id),
    )


COMPANIONS = """
d.id in (select delivery from companions where attempt = :attempt) and d.state = 'running' and d.attempt_id = :attempt
order by d.ms, d.seq, d.id
"""


def age_counts_from(row: Row, now: float) -> float:
    """When the message came, or a person last asked for it again.

    Never before it was sent: our clock may have been behind then, and right since.
    """
    sent: float = row["ms"] / 1000.0
    received: float = row["received_at"]
    return max(received, row["renewed_at"] or 0.0, sent if sent <= now else 0.0)
