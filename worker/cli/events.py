"""Print every change of a state: of messages that came, of their deliveries, and of messages that our agents sent.

Each line has a cursor; `--after CURSOR` goes on from there, after any pause, and misses nothing of the newest 200,000.
Without it the newest 20 are shown; with --follow only what happens from now on.
"""

import argparse
import json
import sys
import time

from worker import times
from worker.cli import options
from worker.ledger import events
from worker.ledger.events import Event
from worker.telemetry.redact import redact
from worker.view.plain import one_line

EXAMPLES = """examples:
  bus-watch events                           the last 20
  bus-watch events --follow --json           one JSON object a line, for ever
  bus-watch events --after 1234 --json       what happened since
"""

LOOK_SECONDS = 0.1
PAGE = 500
SHOWN = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line; its keys only ever grow")
    parser.add_argument("--follow", action="store_true", help="stay, and print what happens, until Ctrl-C")
    parser.add_argument("--after", type=int, metavar="CURSOR", help="what happened after this one")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from worker.view.access import ledger_of

    settings = options.settings(args)
    cursor = args.after
    with ledger_of(settings) as db:
        newest = events.newest(db)
        if cursor is None:
            cursor = newest if args.follow else max(0, newest - SHOWN)
        elif cursor > newest:  # of another ledger, or of one that was put back
            print(f"the newest event is {newest}, so {cursor} is no cursor of this ledger", file=sys.stderr)
            return 1
        elif cursor < (missing := events.oldest(db) - 1):
            print(f"events {cursor + 1} to {missing} are forgotten", file=sys.stderr)
    while True:
        with ledger_of(settings) as db:
            found = events.after(db, cursor, PAGE)
        for event in found:
            cursor = event.cursor
            sys.stdout.write(_line(event, as_json=args.json) + "\n")
        sys.stdout.flush()
        if not found and not args.follow:
            return 0
        if not found:
            time.sleep(LOOK_SECONDS)  # a look costs a tenth of a millisecond


def _line(event: Event, *, as_json: bool) -> str:
    if as_json:
        fields = event._asdict() | {"at": times.stamp(event.at), "reason": redact(event.reason) or None}
        return json.dumps(fields | {"transport": event.transport or None})
    what = f" {event.transport}" if event.transport else ""
    why = f": {one_line(redact(event.reason), 200)}" if event.reason else ""
    return f"{event.cursor} {times.stamp(event.at)} {event.key or '(forgotten)'}{what} {event.state}{why}"
