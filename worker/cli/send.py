"""Send a message to another agent on the bus, durably.

It is written into the outbox first, then sent: by the running worker, or at once where none runs. While the bus is down
it is kept and tried again, in order. Exit status: 0 the bus has it, or the running worker will send it; 64 usage; 65 it
cannot be sent (no such agent, too long); 75 kept, but no worker is running to send it, or what --wait is for did not
happen in time; 76 held, the answer was lost.
"""

import argparse
import sys

from worker.cli import options, sending
from worker.ledger.port import Row

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
    parser.add_argument(
        "--timeout", type=options.duration, default=300.0, metavar="DURATION", help="for --wait (default: 5m)"
    )
    parser.add_argument("--as", dest="sender", metavar="AGENT", help="whose message it is (default: the only agent's)")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    message_class = sending.class_of(args)
    text = sending.read_text(args)
    desk = sending.desk_of(args.config)
    agent = sending.sender(desk, args.sender)
    whole = sending.composed(agent, args.to, message_class, text)
    row = sending.post(desk, agent, args.to, whole, message_class=message_class)
    if args.wait is None:
        return sending.tell(row, desk, json_wanted=args.json)
    return _wait(args, desk, row)


def _wait(args: argparse.Namespace, desk: sending.Desk, row: Row) -> int:
    """Wait for what was asked for; the answer is what is printed."""
    from worker.cli import output, waiting
    from worker.ledger import outbox

    status, words = sending.said(row, listening=True)
    if status:
        return sending.tell(row, desk, json_wanted=args.json)
    print(words, file=sys.stderr)
    with desk.opened() as database:
        found = waiting.for_sent(database, row["id"], args.wait, args.timeout)
        row = database.read(lambda db: outbox.find(db, row["id"]))
    text = found.answer["text"] if found.answer is not None else None
    if args.json:
        output.print_json(
            sending.as_json(row) | {"waited_for": args.wait, "reached": found.status == 0, "answer": text}
        )
    elif text is not None:
        output.write(f"{text}\n")
    else:
        print(f"{row['recipient']}: {found.state or f'not {args.wait} yet'}", file=sys.stderr)
    return found.status
