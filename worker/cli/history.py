"""List messages that came, newest first, with what became of them."""

import argparse

from worker import times
from worker.cli import ledger_view, options, output
from worker.cli.words import way
from worker.ledger import report

EXAMPLES = """examples:
  bus-watch history                    the last 20
  bus-watch history -n 100 --agent hadi-codex
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    options.add_json(parser)
    parser.add_argument("-n", "--limit", type=options.count, default=20, metavar="N", help="how many (default: 20)")
    parser.add_argument("--agent", metavar="NAME", help="only this agent's")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    with ledger_view.ledger_of(options.settings(args)) as db:
        rows = report.history(db, args.agent, args.limit)
        ways = {
            r["id"]: {transport: way(printed) for transport, printed in report.last_outputs(db, r["id"])} for r in rows
        }
        together = {r["id"]: report.last_together(db, r["id"]) for r in rows}
    if args.json:
        output.print_json(
            [
                {
                    "key": f"{r['agent']}/{r['message_id']}",
                    "agent": r["agent"],
                    "stream": r["stream"],
                    "id": r["message_id"],
                    "source": r["source"],
                    "class": r["class"],
                    "state": r["state"],
                    "received_at": times.stamp(r["received_at"]),
                    "finished_at": times.stamp(r["finished_at"]),
                    "deliveries": dict(word.rpartition("=")[::2] for word in (r["deliveries"] or "").split()),
                    "ways": ways[r["id"]],
                    "together": together[r["id"]],
                }
                for r in rows
            ]
        )
        return 0
    cells = [
        (
            times.ago(r["received_at"]),
            f"{r['agent']}/{r['message_id']}",
            output.one_line(r["source"], 30),
            r["class"] or "-",
            r["state"],
            _deliveries(r["deliveries"], ways[r["id"]], together[r["id"]]),
        )
        for r in rows
    ]
    headings = ("CAME", "MESSAGE", "FROM", "CLASS", "STATE", "DELIVERIES")
    output.write((output.table(cells, headings) if cells else "no messages yet") + "\n")
    return 0


def _deliveries(states: str | None, ways: dict[str, dict[str, str]], together: dict[str, list[str]]) -> str:
    """Each delivery's state, by which channel it went and with whom, e.g. `tmux=succeeded by codex (one of 3)`."""
    if not states:
        return "logged, nobody woken"
    found = []
    for word in states.split():
        transport = word.rpartition("=")[0]
        channel = ways.get(transport, {}).get("channel")
        ids = together.get(transport)
        found.append(word + (f" by {channel}" if channel else "") + (f" (one of {len(ids)})" if ids else ""))
    return " ".join(found)
