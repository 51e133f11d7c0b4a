"""Show what waits, runs, retries, is held or dead, and why.

Each line is a delivery: a message and a transport. `show KEY` tells the whole story of one message.
"""

import argparse
import time

from worker import times
from worker.cli import ledger_view, options, output
from worker.cli.words import sentence
from worker.ledger import report
from worker.settings import Settings

EXAMPLES = """examples:
  bus-watch queue                      why did it not wake?
  bus-watch queue --watch              stay, and show it live
  bus-watch queue --json | jq '.deliveries[] | select(.state == "dead") | .key'
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    options.add_json(parser)
    parser.add_argument("--watch", action="store_true", help="show it live, until Ctrl-C")
    parser.add_argument(
        "-n", "--limit", type=options.count, default=20, metavar="N", help="lines a lane at most (default: 20)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings = options.settings(args)
    if args.watch:
        return output.watch(lambda: _text(settings, args.limit))
    if args.json:
        output.print_json(_collect(settings, args.limit))
    else:
        output.write(_text(settings, args.limit))
    return 0


def _collect(settings: Settings, limit: int) -> dict[str, object]:
    now = time.time()
    deliveries: list[dict[str, object]] = []
    counts = dict.fromkeys(("running", "waiting", "retrying", "held", "dead"), 0)
    lanes: list[dict[str, object]] = []
    with ledger_view.ledger_of(settings) as db:
        workers = frozenset(str(row["id"]) for row in ledger_view.living_workers(db, settings))
        for summary in report.lanes(db):
            lane = ledger_view.lane_of(db, settings, summary, workers)
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
                    "circuit_broken_since": times.stamp(summary.broken_since),
                    **{state: getattr(summary, state) for state in counts},
                }
            )
            deliveries += [
                {
                    "key": ledger_view.key_of(row),
                    "agent": row.agent,
                    "stream": row.stream,
                    "id": row.message_id,
                    "transport": row.transport,
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
    return {"counts": counts, "lanes": lanes, "deliveries": deliveries, "worker_running": bool(workers)}


def _text(settings: Settings, limit: int) -> str:
    found = _collect(settings, limit)
    counts: dict[str, int] = found["counts"]  # type: ignore[assignment] # made a few lines above
    deliveries: list[dict[str, str]] = found["deliveries"]  # type: ignore[assignment] # the same
    lines = [", ".join(f"{number} {state}" for state, number in counts.items())]
    if not found["worker_running"]:
        lines.append("no worker is running: bus-watch run")
    if deliveries:
        rows = [(d["key"], d["transport"], d["state"], output.one_line(d["words"], 400)) for d in deliveries]
        lines += ["", output.table(rows, ("MESSAGE", "TRANSPORT", "STATE", "WHY"))]
    if (hidden := sum(counts.values()) - len(deliveries)) > 0:
        lines.append(f"... and {hidden} more; -n shows more a lane")
    return "\n".join(lines) + "\n"
