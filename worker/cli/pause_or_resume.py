"""What `pause` and `resume` share."""

import argparse
import sys

from worker.cli import options, output
from worker.ledger import lanes
from worker.ledger.configured import open_ledger
from worker.ledger.port import Row, Tx
from worker.ledger.sweep_signal import send_sweep_signal


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of both."""
    options.add_config(parser)
    options.add_json(parser)
    parser.add_argument("transport", metavar="TRANSPORT", help="the transport's name")
    parser.add_argument("--agent", metavar="NAME", help="only this agent's (default: everybody's)")
    options.add_host(parser)


def set_paused(args: argparse.Namespace, *, paused: bool) -> int:
    """Pause or resume, and say what that means."""
    settings = options.settings(args)
    host = options.host(args, settings)

    def change(tx: Tx) -> list[Row]:
        tx.nudge()
        return lanes.set_paused(tx, args.transport, args.agent, host, paused=paused)

    database = open_ledger(settings)
    try:
        changed = database.write(change)
    finally:
        database.close()
    if not changed:
        known = ", ".join(sorted({t.name for agent in settings.agents for t in agent.transports})) or "none"
        print(f"no transport {args.transport!r} in the ledger; configured: {known}", file=sys.stderr)
        return 1
    send_sweep_signal(settings.files_dir)
    if args.json:
        output.print_json([{"agent": r["agent"], "transport": r["transport"], "paused": paused} for r in changed])
        return 0
    for row in changed:
        was = " (it was already)" if bool(row["paused"]) == paused else ""
        words = "paused: messages wait; what runs, finishes" if paused else "goes on"
        print(f"{row['agent']} {row['transport']}: {words}{was}")
    return 0
