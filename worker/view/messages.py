"""Messages that came and what became of them: the newest at a glance, and one message's whole story."""

import time
from collections.abc import Iterable
from typing import Any

from worker import times
from worker.ledger import message_report, operate, report
from worker.ledger.port import Row, Tx
from worker.settings import Settings
from worker.view import access
from worker.view.words import sentence, way


def newest(settings: Settings, chosen: message_report.Wanted, limit: int) -> list[dict[str, Any]]:
    """The newest `limit` of the `chosen` messages, newest first, as the JSON of `history` has them."""
    with access.ledger_of(settings) as db:
        return [_message(db, row) for row in message_report.history(db, chosen, limit)]


def _message(db: Tx, row: Row) -> dict[str, Any]:
    deliveries = report.of_message(db, row["id"])
    return {
        "key": f"{row['agent']}/{row['message_id']}",
        "agent": row["agent"],
        "stream": row["stream"],
        "id": row["message_id"],
        "source": row["source"],
        "class": row["class"],
        "state": row["state"],
        "received_at": times.stamp(row["received_at"]),
        "received_seconds_ago": round(time.time() - row["received_at"], 1),
        "finished_at": times.stamp(row["finished_at"]),
        "first_line": first_line(row["text"]),
        "deliveries": {one.transport: one.state for one in deliveries},
        "ways": {transport: way(printed) for transport, printed in message_report.last_outputs(db, row["id"])},
        "together": message_report.last_together(db, row["id"]),
        "reasons": {one.transport: one.reason for one in deliveries if one.reason and one.state != "succeeded"},
    }


def first_line(text: str | None) -> str | None:
    """The first line of a text that says something; None: retention has cleared the text."""
    if text is None:
        return None
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def first_lines(settings: Settings, keys: Iterable[str]) -> dict[str, str]:
    """The first line of each message, by its key; empty where there is none.

    Raises:
        NoSuchMessageError: a key names no message, or several.
    """
    with access.ledger_of(settings) as db:
        texts = {key: message_report.message(db, operate.find_message(db, key))["text"] for key in keys}
    return {key: first_line(text) or "" for key, text in texts.items()}


def story(settings: Settings, key: str, host: str | None = None) -> dict[str, Any]:
    """One message, and every attempt of every transport, as the JSON of `show` has it; or those of a host's lanes.

    Raises:
        UsageError: `key` names no message, or several.
    """
    with access.ledger_of(settings) as db:
        message = operate.find_message(db, key)
        row = message_report.message(db, message)
        hosts = access.hosts_of(db, settings)
        lanes = {lane.id: access.lane_of(db, settings, lane, hosts) for lane in report.lanes(db, host)}
        now = db.now()
        return {
            "key": f"{row['agent']}/{row['stream']}/{row['message_id']}",
            "agent": row["agent"],
            "stream": row["stream"],
            "id": row["message_id"],
            "source": row["source"],
            "class": row["class"],
            "project": row["project"],
            "state": row["state"],
            "sent_at": row["sent_at"],
            "received_at": times.stamp(row["received_at"]),
            "finished_at": times.stamp(row["finished_at"]),
            "text": row["text"],
            "deliveries": [
                {
                    "transport": d.transport,
                    "host": lanes[d.lane].report.host,
                    "state": d.state,
                    "words": sentence(d, lanes[d.lane], now),
                    "attempts": [_attempt(db, a) for a in message_report.attempts(db, d.id)],
                }
                for d in report.of_message(db, message)
                if d.lane in lanes
            ],
        }


def _attempt(db: Tx, row: Row) -> dict[str, Any]:
    return {
        "attempt": row["own_starts"],
        "started_at": times.stamp(row["started_at"]),
        "ended_at": times.stamp(row["ended_at"]),
        "seconds": None if row["ended_at"] is None else round(row["ended_at"] - row["started_at"], 3),
        "result": row["result"],
        "output": row["output"],
        **way(row["output"]),
        "together": message_report.together(db, row["id"]),
        "host": row["host"] or None,
        "late": row["late"],
    }
