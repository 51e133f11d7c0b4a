"""The alerts that are open, and how the channels are by which people are told."""

from typing import Any

from worker import times
from worker.alert_settings import ALERTS
from worker.ledger import alerts, report
from worker.settings import Settings
from worker.view import access


def open_alerts(settings: Settings) -> dict[str, Any]:
    """What `alerts --json` says: `open` (the oldest first), `channels`."""
    with access.ledger_of(settings) as db:
        now = db.now()
        lanes = {lane.transport: lane for lane in report.lanes(db) if lane.agent == ALERTS}
        found = alerts.every(db)
    return {
        "open": [
            {
                "condition": one.condition,
                "about": one.about,
                "since": times.stamp(one.opened_at),
                "seconds": round(now - one.opened_at, 1),
                "clear_since": times.stamp(one.clear_since),
                "words": one.said,
            }
            for one in found
        ],
        "channels": [
            {
                "name": channel.name,
                "type": channel.type,
                "conditions": None if channel.conditions is None else sorted(channel.conditions),
                **{
                    state: getattr(lanes[channel.name], state) if channel.name in lanes else 0
                    for state in ("waiting", "retrying", "running", "dead")
                },
            }
            for channel in settings.alerts.channels
        ],
    }
