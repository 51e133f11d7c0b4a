"""Forget messages that are over, at once: text, deliveries and attempts.

They never run again. What is not over is refused: drop it first. Retention
does this by itself after forget_after, and after forget_dead_after for dead
and dropped messages.
"""

import argparse
import sys
from collections import Counter

from worker.cli import options, output
from worker.ledger import forgetting, operate
from worker.ledger.configured import open_ledger
from worker.ledger.forgetting import Purged
from worker.ledger.port import Ledger, Tx

EXAMPLES = """examples:
  bus-watch purge hadi-codex/1795300087770-0
  bus-watch purge --older-than 30d --dry-run     how many would it be?
  bus-watch purge --older-than 30d
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    options.add_json(parser)
    parser.add_argument("keys", nargs="*", metavar="KEY", help="messages: AGENT/ID, AGENT/STREAM/ID, or ids")
    parser.add_argument(
        "--older-than",
        type=options.duration,
        metavar="AGE",
        help="every message that was over so long ago, for example 90m, 24h or 30d",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be forgotten, and change nothing")


def run(args: argparse.Namespace) -> int:
    """Run the command; 1 if none of the messages that were named could be forgotten."""
    if bool(args.keys) == (args.older_than is not None):
        print("name messages, or say --older-than AGE: one of the two", file=sys.stderr)
        return 64
    database = open_ledger(options.settings(args))
    try:
        messages = _named(database, args.keys, dry_run=args.dry_run)
        if args.keys:
            states = Counter(one.state for one in messages if one.done)
        else:
            states = _older(database, database.now() - args.older_than, dry_run=args.dry_run)
    finally:
        database.close()
    if args.json:
        output.print_json(
            {
                "dry_run": args.dry_run,
                "purged": sum(states.values()),
                "states": states,
                "messages": [one._asdict() for one in messages],
            }
        )
    else:
        print("\n".join(f"{one.key}: {one.words}" for one in messages) or _summary(states, dry_run=args.dry_run))
    return 0 if not messages or any(one.done for one in messages) else 1


def _named(database: Ledger, keys: list[str], *, dry_run: bool) -> list[Purged]:
    """Forget these messages: all, or none where a key names none."""

    def operation(tx: Tx) -> list[Purged]:
        rows = dict.fromkeys(operate.find_message(tx, key) for key in keys)
        return [forgetting.purge(tx, row, dry_run=dry_run) for row in rows]

    return database.read(operation) if dry_run else database.write(operation)


def _older(database: Ledger, finished_before: float, *, dry_run: bool) -> Counter[str]:
    """Forget what was over by then, some messages a transaction: the worker writes in between."""
    if dry_run:
        return Counter(database.read(lambda db: forgetting.over_before(db, finished_before)))
    states: Counter[str] = Counter()
    while found := database.write(lambda tx: forgetting.purge_older(tx, finished_before)):
        states.update(found)
    return states


def _summary(states: Counter[str], *, dry_run: bool) -> str:
    count = sum(states.values())
    if not count:
        return "nothing to do"
    words = ", ".join(f"{number} {state}" for state, number in states.items())
    return f"{'would forget' if dry_run else 'forgot'} {count} message(s): {words}"
