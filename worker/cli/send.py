"""Send a message to another agent on the bus, durably.

It is written into the outbox first, then sent: by the running worker, or at once where none runs. While the bus is down
it is kept and tried again, in order. Exit status: 0 the bus has it, or the running worker will send it; 64 usage; 65 it
cannot be sent (no such agent, too long); 75 kept, but no worker is running to send it; 76 held, the answer was lost.

With --wait: 0 it is so; 1 its recipient did not get it (dead, expired, dropped); 75 not in time; 130 after Ctrl-C, and
the message is sent all the same. Where sender and recipient share no ledger a bridge does not say what answers what:
the next message from the recipient is the answer, so ask one thing at a time.
"""

import argparse
import sys
import time

from worker.classes import LOGGED_CLASS
from worker.cli import options, sending
from worker.errors import UsageError
from worker.ledger.port import Ledger, Row
from worker.outgoing import Sending

PATIENCE = 300.0
NEVER = frozenset({Sending.DEAD, Sending.CANCELLED, Sending.HELD})
"""Where it ends without the bus having it, as far as anybody knows."""

EXAMPLES = """examples:
  bus-watch send bob 'the build is green'
  git log -3 | bus-watch send bob -           the text from standard input
  bus-watch send bob -f notes.md --as alice   whose message it is, where the configuration has several agents
  bus-watch send bob 'which port?' --wait answered --timeout 10m      prints the answer
  bus-watch send bob --fyi 'deployed 1.4'     logged, and nobody is woken
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    sending.allow_intermixed(parser)
    options.add_config(parser)
    options.add_json(parser)
    parser.add_argument("to", metavar="TO", help="the agent that gets it")
    parser.add_argument("text", nargs="?", metavar="TEXT", help="what it says; - is standard input, the default")
    sending.add_text(parser)
    sending.add_class(parser)
    parser.add_argument(
        "--wait",
        choices=("submitted", "answered"),
        metavar="STATE",
        help="until its agent has it (submitted: the recipient's worker says so), or has answered: prints the answer",
    )
    parser.add_argument("--timeout", type=options.duration, metavar="DURATION", help="for --wait (default: 5m)")
    parser.add_argument("--as", dest="sender", metavar="AGENT", help="whose message it is (default: the only agent's)")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    message_class = sending.class_of(args)
    if args.wait is None and args.timeout is not None:
        raise UsageError("--timeout is for --wait: say --wait submitted or --wait answered")
    if args.wait is not None and message_class == LOGGED_CLASS:
        raise UsageError(f"--wait {args.wait}: a message of class {LOGGED_CLASS} wakes nobody; leave one of them out")
    text = sending.read_text(args)
    desk = sending.desk_of(args.config)
    agent = sending.sender(desk, args.sender)
    to = sending.recipient(args.to)
    whole = sending.composed(agent, to, message_class, text)
    seconds = PATIENCE if args.timeout is None else args.timeout
    at_once = sending.ANSWER_SECONDS if args.wait is None else min(seconds, sending.ANSWER_SECONDS)
    began = time.monotonic()
    row = sending.post(desk, agent, to, whole, message_class=message_class, seconds=at_once)
    if args.wait is None or row["state"] in NEVER:
        return sending.tell(row, desk, json_wanted=args.json)
    return _wait(args, desk, row, seconds - (time.monotonic() - began))


def _wait(args: argparse.Namespace, desk: sending.Desk, row: Row, seconds: float) -> int:
    """Wait for what was asked for; the answer is what is printed."""
    from worker.cli import output, waiting
    from worker.ledger import outbox

    with desk.opened() as database:
        for words in (sending.said(row, listening=True)[1], row["remark"], _unheard(desk, database, row)):
            if words:
                print(words, file=sys.stderr)
        found = waiting.for_sent(desk, database, row["id"], args.wait, seconds)
        row = database.read(lambda db: outbox.find(db, row["id"]))
    text = found.answer["text"] if found.answer is not None else None
    status = sending.said(row, listening=True)[0] if row["state"] in NEVER else found.status
    if args.json:
        told = {"waited_for": args.wait, "reached": status == 0, "became": found.state or None, "answer": text}
        output.print_json(sending.as_json(row) | told)
    elif text is not None:
        output.write(f"{text}\n")
    else:
        print(f"{row['recipient']}: {found.state or f'not {args.wait} yet'}", file=sys.stderr)
    return status


def _unheard(desk: sending.Desk, database: Ledger, row: Row) -> str:
    """Why what comes back would not be seen; empty where it would."""
    from worker.ledger import outcomes
    from worker.transports.locks import any_worker_lives

    if not any_worker_lives(desk.files_dir):
        return "no worker is running, so what comes back is not seen until one is: bus-watch run"
    seen = any(
        database.read(lambda db, name=name: outcomes.is_watched_here(db, name))  # type: ignore[misc]
        for name in (row["recipient"], row["agent"])
    )
    return "" if seen else f"nobody reads the inbox of {row['agent']}, so what comes back is not seen: bus-watch status"
