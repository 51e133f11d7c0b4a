"""The hosts of a fleet: when each was seen, how it is configured, and what it has to do."""

from typing import Any

from worker import times
from worker.ledger import hosts
from worker.ledger.living import living_workers
from worker.ledger.port import Row, Tx
from worker.settings import Settings


def seen(db: Tx, settings: Settings) -> list[dict[str, Any]]:
    """All hosts that the ledger knows, by name, as the JSON of `hosts` has them.

    `state`: `alive`, `silent` (no sign of life for half a minute), `lost` (for `host_lost_after`: others may take what
    is not bound to it) or `forgotten`. `same_configuration`: in what all hosts should have alike, as it is here.
    """
    now = db.now()
    loads = hosts.loads(db)
    here = hosts.fingerprint(settings)
    workers = living_workers(db, settings)
    return [
        _host(
            row,
            loads.get(row["name"], hosts.Load(0, 0, 0, 0)),
            same=row["fingerprint"] == here,
            workers=sum(one["host"] == row["name"] and one["kind"] == "consumer" for one in workers),
            state=_state(row, now, settings.host_lost_after),
            now=now,
        )
        for row in hosts.every(db)
    ]


def _state(row: Row, now: float, lost_after: float) -> str:
    if row["forgotten_at"] is not None:
        return "forgotten"
    if now - row["seen_at"] > lost_after:
        return "lost"
    return "alive" if hosts.is_alive(row["seen_at"], now) else "silent"


def _host(row: Row, load: hosts.Load, *, same: bool, workers: int, state: str, now: float) -> dict[str, Any]:
    found: dict[str, Any] = {
        "host": row["name"],
        "state": state,
        "seen_at": times.stamp(row["seen_at"]),
        "seen_seconds_ago": round(now - row["seen_at"], 1),
        "version": row["version"],
        "configuration": row["fingerprint"],
        "same_configuration": same,
        "workers": workers,
        **load._asdict(),
    }
    return found | {"words": _words(found)}


def _words(one: dict[str, Any]) -> str:
    parts = [f"{one['state']}, seen {times.span(one['seen_seconds_ago'])} ago"]
    if not one["same_configuration"] and one["state"] == "alive":
        parts.append("another configuration than here")
    parts.append(f"{one['lanes']} lanes, {one['running']} running, {one['waiting']} waiting")
    if one["stuck"]:
        parts.append(f"{one['stuck']} held or dead")
    return "; ".join(parts)
