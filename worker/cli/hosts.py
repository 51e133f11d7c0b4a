"""Show the hosts of a fleet: when each was seen, its version and configuration, its lanes, and what runs.

`forget NAME` is for a host that never comes back: its disk is gone. What is bound to it may run elsewhere then, and
what it was running is unknown: `on_unknown` decides. It is refused while an attempt of it may still run; --wait waits.
"""

import argparse
import time
from contextlib import closing
from typing import Any

from worker import times
from worker.cli import options, output
from worker.cli.guess import did_you_mean
from worker.errors import BusWatchError, UsageError
from worker.ledger import hosts, upkeep
from worker.ledger.configured import open_ledger
from worker.ledger.port import Tx
from worker.settings import Settings
from worker.view.access import ledger_of
from worker.view.hosts import seen

EXAMPLES = """examples:
  bus-watch hosts
  bus-watch hosts --json | jq '.[] | select(.state != "alive") | .host'
  bus-watch hosts forget north --wait
"""


class StillRunningError(BusWatchError):
    """What a host may still be running is not over yet: ask again later."""

    code = "still_running"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    options.add_json(parser)
    options.add_color(parser)
    parser.add_argument("action", nargs="?", choices=("forget",), help="say that a host will not come back")
    parser.add_argument("name", nargs="?", metavar="NAME", help="which one")
    parser.add_argument("--wait", action="store_true", help="wait until what it may still be running must be over")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings = options.fleet_settings(args)
    if args.action == "forget":
        return _forget(args, settings)
    with ledger_of(settings) as db:
        found = seen(db, settings)
    if args.json:
        output.print_json(found)
    else:
        output.write(
            (_table(found) if found else "no host has run with this ledger yet: bus-watch run") + "\n", args.color
        )
    return 0


def _table(found: list[dict[str, Any]]) -> str:
    rows = [
        (
            one["host"],
            one["state"],
            f"{times.span(one['seen_seconds_ago'])} ago",
            one["version"],
            "as here" if one["same_configuration"] else f"other ({one['configuration']})",
            str(one["lanes"]),
            str(one["running"]),
            str(one["waiting"]),
        )
        for one in found
    ]
    return output.table(rows, ("HOST", "STATE", "SEEN", "VERSION", "CONFIGURATION", "LANES", "RUN", "WAIT"))


def _forget(args: argparse.Namespace, settings: Settings) -> int:
    if args.name is None:
        raise UsageError("say which: bus-watch hosts forget NAME")
    with closing(open_ledger(settings)) as ledger:
        known = [str(row["name"]) for row in ledger.read(hosts.every)]
        if args.name not in known:
            raise UsageError(
                f"the fleet has no host {args.name!r}{did_you_mean(args.name, known)}; see bus-watch hosts"
            )
        while (left := ledger.read(lambda db: _may_run_for(db, args.name))) > 0:
            if not args.wait:
                raise StillRunningError(
                    f"something may still be running on {args.name} for {times.span(left)}: ask again then, or --wait"
                )
            time.sleep(min(left, 1.0))

        def forget(tx: Tx) -> None:
            hosts.forget(tx, args.name, tx.now())
            tx.nudge()

        ledger.write(forget)
    if args.json:
        output.print_json({"host": args.name, "forgotten": True})
    else:
        output.write(f"{args.name} is forgotten: what is bound to it may run elsewhere, and what it ran is unknown\n")
    return 0


def _may_run_for(db: Tx, name: str) -> float:
    """Seconds after which nothing of this host can run any more."""
    ends = [attempt.must_be_over for attempt in upkeep.running_attempts(db) if attempt.host == name]
    return max(ends, default=0.0) - db.now()
