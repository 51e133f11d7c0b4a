"""List messages that came, newest first, with what became of them and their first line; or with --sent, that we sent.

STATE is the message's: open, delivered, failed or logged; or a delivery's: succeeded, waiting, retrying, running, held,
dead or cancelled, which finds the messages that have such a delivery.
"""

import argparse
import time
from datetime import UTC, datetime
from typing import Any

from worker import times
from worker.cli import options, output, sent_view
from worker.errors import UsageError
from worker.ledger import outbox
from worker.ledger.message_report import STATES, Wanted
from worker.setting_types import parse_duration
from worker.view.access import ledger_of
from worker.view.messages import newest
from worker.view.plain import one_line

EXAMPLES = """examples:
  bus-watch history                    the last 20
  bus-watch history -n 100 --agent hadi-codex
  bus-watch history --sent             what our agents sent, and whether the bus has it
  bus-watch history --state dead --since 24h
  bus-watch history --source mumega --since 2026-11-26T08:00
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    options.add_json(parser)
    options.add_color(parser)
    options.add_agents(parser)
    options.add_host(parser)
    parser.add_argument("-n", "--limit", type=options.count, default=20, metavar="N", help="how many (default: 20)")
    parser.add_argument("--sent", action="store_true", help="the messages that our agents sent")
    parser.add_argument("--source", metavar="NAME", help="only what this sender sent")
    parser.add_argument(
        "--since", type=_moment, metavar="WHEN", help="only what came since: an age (90m, 24h) or a date (UTC)"
    )
    parser.add_argument("--state", choices=STATES, metavar="STATE", help="only messages in this state; see above")


def _moment(value: str) -> float:
    """For argparse: an age, or a date with or without a time (UTC unless it says otherwise), as epoch seconds."""
    seconds = parse_duration(value)
    if isinstance(seconds, float):
        return time.time() - seconds
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is neither an age (90m, 24h) nor a date (2026-11-26)") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings = options.settings(args)
    agents = options.agents(args, settings)
    if args.sent:
        if args.source or args.since is not None or args.state or args.host:
            raise UsageError(
                "--source, --since, --state and --host are of messages that came: leave them out with --sent"
            )
        with ledger_of(settings) as db:
            return sent_view.show_list(outbox.history(db, agents, args.limit), json_wanted=args.json)
    chosen = Wanted(agents, args.source, args.since, args.state, options.host(args, settings))
    found = newest(settings, chosen, args.limit)
    if args.json:
        output.print_json(found)
    elif found:
        output.write(_text(found) + "\n", args.color)
    else:
        output.write("no such messages\n" if chosen.narrow else "no messages yet\n")
    return 0


def _text(found: list[dict[str, Any]]) -> str:
    """A line for each message, below it its first line and why it is not done."""
    rows = [
        (
            f"{times.span(one['received_seconds_ago'])} ago",
            one["key"],
            one["state"],
            one_line(one["source"], 30),
            one["class"] or "-",
            _deliveries(one) or "logged, nobody woken",
        )
        for one in found
    ]
    below = [
        [
            one_line(f"| {one['first_line']}" if one["first_line"] is not None else "| (text cleared)", 100),
            *(f"{name}: {reason}" for name, reason in one["reasons"].items()),
        ]
        for one in found
    ]
    return output.table(rows, ("CAME", "MESSAGE", "STATE", "FROM", "CLASS", "DELIVERIES"), below)


def _deliveries(one: dict[str, Any]) -> str:
    """Each delivery's state, by which channel it went and with whom, e.g. `tmux=succeeded by codex (one of 3)`."""
    found = []
    for transport, state in one["deliveries"].items():
        channel = one["ways"].get(transport, {}).get("channel")
        ids = one["together"].get(transport)
        found.append(
            f"{transport}={state}" + (f" by {channel}" if channel else "") + (f" (one of {len(ids)})" if ids else "")
        )
    return " ".join(found)
