"""Print every change of a state: of messages that came, of their deliveries, and of messages that our agents sent.

Each line has a cursor; `--after CURSOR` goes on from there, after any pause, and misses nothing of the newest 200,000.
What is forgotten by then is said: by a line of kind `gap` with --json. Without --after the newest 20 are shown; with
--follow only what happens from now on. Exit status: 1 a cursor of another ledger, 130 after Ctrl-C.
"""

import argparse
import json
import select
import sys
import time

from worker import times
from worker.cli import options
from worker.errors import UsageError
from worker.ledger import events
from worker.ledger.events import Event
from worker.telemetry.redact import redact
from worker.view.plain import one_line

EXAMPLES = """examples:
  bus-watch events                           the last 20
  bus-watch events --follow --json           one JSON object a line, for ever
  bus-watch events --after 1234 --json       what happened since
"""

LOOK_SECONDS = 0.1  # a look costs a millisecond
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
    if cursor is not None and cursor < 0:
        raise UsageError(f"--after {cursor}: a cursor is a number that a line had, or 0 for all that is kept")
    while True:
        with ledger_of(settings) as db:  # opened anew: it may be another file by now
            newest, oldest = events.newest(db), events.oldest(db)
            if cursor is None:
                cursor = newest if args.follow else max(oldest - 1, newest - SHOWN, 0)
            found = events.after(db, cursor, PAGE)
        if cursor > newest:  # of another ledger, or of one that was put back
            print(f"the newest event is {newest}, so {cursor} is no cursor of this ledger", file=sys.stderr)
            return 1
        if cursor < oldest - 1:
            _say_forgotten(cursor + 1, oldest - 1, as_json=args.json)
        for event in found:
            cursor = event.cursor
            sys.stdout.write(_line(event, as_json=args.json) + "\n")
        sys.stdout.flush()
        if not found and not args.follow:
            return 0
        if not found:
            _pause()


def _pause() -> None:
    """Until the next look; BrokenPipeError where nobody reads any more, as behind `| head -1`."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if not (told := poll.poll(LOOK_SECONDS * 1000)):
        return
    if any(what & select.POLLERR for _, what in told):
        raise BrokenPipeError
    time.sleep(LOOK_SECONDS)  # it is nothing that can be waited for


def _say_forgotten(first: int, last: int, *, as_json: bool) -> None:
    """A gap is no silence: retention went further than this follower had read."""
    words = f"events {first} to {last} are forgotten"
    print(words, file=sys.stderr)
    if as_json:
        gap = Event(last, time.time(), "", "gap", "", "forgotten", words)
        sys.stdout.write(_line(gap, as_json=True) + "\n")


def _line(event: Event, *, as_json: bool) -> str:
    if as_json:
        fields = event._asdict() | {"at": times.stamp(event.at), "reason": redact(event.reason) or None}
        return json.dumps(fields | {"transport": event.transport or None})
    what = f" {event.transport}" if event.transport else ""
    why = f": {one_line(redact(event.reason), 200)}" if event.reason else ""
    return f"{event.cursor} {times.stamp(event.at)} {event.key or '(forgotten)'}{what} {event.state}{why}"
