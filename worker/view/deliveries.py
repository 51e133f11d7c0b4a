"""What waits, runs, retries, is held or dead in each lane, and why."""

from typing import Any

from worker import times
from worker.ledger import report
from worker.settings import Settings
from worker.view import access
from worker.view.words import sentence

COUNTED = ("running", "waiting", "retrying", "held", "dead")


def not_done(
    settings: Settings, limit: int, agents: frozenset[str] = frozenset(), host: str | None = None
) -> dict[str, Any]:
    """All lanes, or those of `agents` or of a `host`, with `limit` deliveries of each at most, as the JSON of `queue`.

    Keys: `counts` and `lanes` (numbers of deliveries by state), `deliveries` (in the order in which they come), and
    `worker_running`.
    """
    deliveries: list[dict[str, Any]] = []
    counts = dict.fromkeys(COUNTED, 0)
    lanes: list[dict[str, Any]] = []
    with access.ledger_of(settings) as db:
        now = db.now()
        hosts = access.hosts_of(db, settings)
        for summary in report.lanes(db, host):
            if agents and summary.agent not in agents:
                continue
            lane = access.lane_of(db, settings, summary, hosts)
            rows = [
                *report.running(db, summary.id),
                *report.pending(db, summary.id, limit),
                *report.stuck(db, summary.id, limit),
            ]
            for state in counts:
                counts[state] += getattr(summary, state)
            lanes.append(
                {
                    "agent": summary.agent,
                    "transport": summary.transport,
                    "paused": summary.paused,
                    "orphaned": lane.orphaned,
                    "host": summary.host,
                    "moving_to": summary.moving_to,
                    "circuit_broken_since": times.stamp(summary.broken_since),
                    **{state: getattr(summary, state) for state in counts},
                }
            )
            deliveries += [
                {
                    "key": access.key_of(row),
                    "agent": row.agent,
                    "stream": row.stream,
                    "id": row.message_id,
                    "transport": row.transport,
                    "host": summary.host,
                    "state": row.state,
                    "attempts": row.starts,
                    "burnt": row.burnt,
                    "next_at": times.stamp(row.next_at),
                    "received_at": times.stamp(row.received_at),
                    "last_error": row.reason or None,
                    "words": sentence(row, lane, now),
                }
                for row in rows
            ]
    return {"counts": counts, "lanes": lanes, "deliveries": deliveries, "worker_running": bool(hosts.workers)}
