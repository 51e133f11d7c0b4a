"""Tell the whole story of one message: what it is, and every attempt of every transport.

KEY is AGENT/ID, AGENT/STREAM/ID where that is ambiguous, or a bare id that is unique.
"""

import argparse
import time
from typing import Any

from worker import times
from worker.cli import ledger_view, options, output
from worker.cli.words import sentence, way
from worker.ledger import operate, report

EXAMPLES = """examples:
  bus-watch show hadi-codex/1795300087770-0
  bus-watch show 1795300087770-0 --json
"""

TEXT_SHOWN = 2000
FIELD_SHOWN = 500
FIELDS = ("key", "state", "source", "class", "project", "sent_at", "received_at", "finished_at")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    options.add_json(parser)
    parser.add_argument("key", metavar="KEY", help="the message: AGENT/ID, AGENT/STREAM/ID, or an id")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings = options.settings(args)
    with ledger_view.ledger_of(settings) as db:
        message = operate.find_message(db, args.key)
        row = report.message(db, message)
        workers = frozenset(str(w["id"]) for w in ledger_view.living_workers(db, settings))
        lanes = {lane.id: ledger_view.lane_of(db, settings, lane, workers) for lane in report.lanes(db)}
        now = time.time()
        story: dict[str, object] = {
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
        }
        deliveries: list[dict[str, Any]] = [
            {
                "transport": d.transport,
                "state": d.state,
                "words": sentence(d, lanes[d.lane], now),
                "attempts": [
                    {
                        "attempt": a["own_starts"],
                        "started_at": times.stamp(a["started_at"]),
                        "ended_at": times.stamp(a["ended_at"]),
                        "seconds": None if a["ended_at"] is None else round(a["ended_at"] - a["started_at"], 3),
                        "result": a["result"],
                        "output": a["output"],
                        **way(a["output"]),
                        "together": report.together(db, a["id"]),
                    }
                    for a in report.attempts(db, d.id)
                ],
            }
            for d in report.of_message(db, message)
        ]
    story["deliveries"] = deliveries
    if args.json:
        output.print_json(story)
    else:
        output.write(_text(story, deliveries))
    return 0


def _text(story: dict[str, object], deliveries: list[dict[str, Any]]) -> str:
    lines = [f"{name}: {output.one_line(story[name], FIELD_SHOWN)}" for name in FIELDS if story[name]]
    if story["text"] is None:
        lines.append("text: cleared by retention")
    else:
        text = str(story["text"])
        lines += ["text:", *(f"  | {output.one_line(part, 200)}" for part in text[:TEXT_SHOWN].split("\n"))]
        if len(text) > TEXT_SHOWN:
            lines.append(f"  | ... {len(text)} characters in all")
    if not deliveries:
        lines.append("no delivery: its class is only logged")
    for delivery in deliveries:
        lines.append(f"{delivery['transport']}: {delivery['state']}: {output.one_line(delivery['words'], 1000)}")
        for attempt in delivery["attempts"]:
            ids = attempt["together"]
            took = "" if attempt["seconds"] is None else f" after {attempt['seconds']} s"
            result = output.one_line(attempt["result"] or "running", FIELD_SHOWN)
            by = f", by {attempt['channel']}" if attempt["channel"] else ""
            by += f" [{output.one_line(attempt['proof'], FIELD_SHOWN)}]" if attempt["proof"] else ""
            lines.append(f"  attempt {attempt['attempt']} at {attempt['started_at']}: {result}{took}{by}")
            if ids:
                lines.append(f"    one wake for {len(ids)} messages: {output.one_line(', '.join(ids), FIELD_SHOWN)}")
            printed = attempt["output"] or ""
            lines += [f"    > {output.one_line(part, 200)}" for part in printed.splitlines()[-10:]]
    return "\n".join(lines) + "\n"
