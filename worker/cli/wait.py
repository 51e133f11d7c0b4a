"""Wait until a message is in a state, and say so by the exit status.

For one that came: over (the default), delivered (every transport exited 0; submitted is the same), failed, logged. For
one that we sent (out-N): over, sent (the bus has it), submitted (its agent has it: the recipient's worker says so),
answered. Exit status: 0 it is so, 1 it ended otherwise, 75 not within --timeout.
"""

import argparse

from worker.cli import options, output, sending, waiting
from worker.cli.guess import did_you_mean
from worker.errors import UsageError
from worker.outgoing import number_of

EXAMPLES = """examples:
  bus-watch wait bob/1795300087770-0 --for delivered --timeout 5m
  bus-watch wait out-17 --for submitted
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    options.add_json(parser)
    parser.add_argument("key", metavar="KEY", help="the message: AGENT/ID, AGENT/STREAM/ID, an id, or out-N")
    parser.add_argument("--for", dest="wanted", default="over", metavar="STATE", help="the state (default: over)")
    parser.add_argument(
        "--timeout", type=options.duration, metavar="DURATION", help="90, 5m, 2h (default: as long as it takes)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    known = waiting.OF_INCOMING if number_of(args.key) is None else waiting.OF_SENT
    if args.wanted not in known:
        near = did_you_mean(args.wanted, known)
        raise UsageError(f"--for {args.wanted}: {args.key} can be waited for to be one of {', '.join(known)}{near}")
    desk = sending.desk_of(args.config)
    found = waiting.for_key(desk, args.key, args.wanted, args.timeout)
    words = found.state or "not yet"
    if args.json:
        output.print_json({"key": args.key, "state": found.state or None, "reached": found.status == 0})
    else:
        print(f"{args.key}: {words}")
    return found.status
