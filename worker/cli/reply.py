"""Answer a message, by the message and not by an address.

Without KEY it answers the last message that was delivered into this agent's own pane or session. The answer goes back
the way the message came: over the bus, durably, as `send` does it; or, to a line of `agent-send`, into the sender's
pane. Exit status: that of `send`, or of `agent-send`.
"""

import argparse
import os
import re
import sys
from typing import TYPE_CHECKING

from worker.cli import options, sending
from worker.errors import UsageError
from worker.ledger.port import Row, Tx

if TYPE_CHECKING:
    from worker.terminal.arrival import Arrival

EXAMPLES = """examples:
  bus-watch reply 'yes, merged'                              the last message that came to me
  bus-watch reply bob/1795300087770-0 'yes, merged'          this message
  bus-watch reply bob/1795300087770-0 -f answer.md
  git log -3 | bus-watch reply -                             the text from standard input
"""

_KEY = re.compile(r"(?:[^\s/]+/)*[0-9]{1,19}-[0-9]{1,19}")
_SHOWN = 3


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    sending.allow_intermixed(parser)
    options.add_config(parser)
    options.add_json(parser)
    parser.add_argument(
        "words", nargs="*", metavar="[KEY] TEXT", help="the message (default: the last one), and the answer"
    )
    sending.add_text(parser)
    sending.add_class(parser)
    parser.add_argument(
        "--as", dest="sender", metavar="AGENT", help="whose answer it is (default: the message's agent)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    key, args.text = _taken_apart(args)
    message_class = sending.class_of(args)
    text = sending.read_text(args)
    came = None
    if key is None:
        from worker.terminal import arrival

        came = arrival.last(os.environ)
        if came is not None and not came.key and not came.line.startswith("[agent:"):
            return _back_to_the_terminal(came, text, message_class)
    desk = sending.desk_of(args.config)
    with desk.opened() as database:
        row = database.read(lambda db: _message(db, key, came, desk))
    if args.sender not in {None, row["agent"]}:
        raise UsageError(f"that message came to {row['agent']}: its answer is {row['agent']}'s, not {args.sender}'s")
    return sending.tell(answer(desk, row, text, message_class), desk, json_wanted=args.json)


def answer(desk: sending.Desk, row: Row, text: str, message_class: str | None = None) -> Row:
    """Send an answer to a message that came; its row in the outbox. UsageError: nobody can be answered."""
    agent, to = row["agent"], row["source"].removeprefix("agent:")
    if to == row["source"]:
        raise UsageError(f"{agent}/{row['message_id']} came from {row['source']}, which is no agent on the bus")
    whole = sending.composed(agent, to, message_class, text)
    answers = f"{agent}/{row['stream']}/{row['message_id']}"
    return sending.post(desk, agent, to, whole, message_class=message_class, answers=answers)


def _taken_apart(args: argparse.Namespace) -> tuple[str | None, str | None]:
    """KEY and TEXT. UsageError."""
    words = args.words
    if len(words) > 2:
        raise UsageError("quote the answer: bus-watch reply [KEY] 'TEXT'")
    if len(words) == 2:
        return words[0], words[1]
    if words and _KEY.fullmatch(words[0]):  # an answer that is nothing but a key answers nothing
        return words[0], None
    return None, words[0] if words else None


def _message(db: Tx, key: str | None, came: "Arrival | None", desk: sending.Desk) -> Row:
    """The message that is answered. NoSuchMessageError, UsageError."""
    from worker.ledger import message_report, operate

    wanted = key or (came.key if came is not None else "")
    if wanted:
        return message_report.message(db, operate.find_message(db, wanted))
    if came is not None:
        from worker.terminal import preamble

        addressed = preamble.parse(came.line)
        if addressed is not None:
            row = message_report.latest(db, addressed.destination, addressed.source)
            if row is not None:
                return row
    recent = message_report.history(db, message_report.Wanted(frozenset(desk.agents)), _SHOWN)
    listed = "".join(f"\n  {row['agent']}/{row['message_id']}  from {row['source']}" for row in recent[:_SHOWN])
    raise UsageError(
        "which message it answers cannot be told from here: bus-watch reply KEY 'TEXT'"
        + (f"; the last ones that came:{listed}" if listed else "")
    )


def _back_to_the_terminal(came: "Arrival", text: str, message_class: str | None) -> int:
    from worker.terminal import agent_send

    options_given = ["-C", message_class] if message_class else []
    print(f"answering {came.line.strip()} by agent-send", file=sys.stderr)
    return agent_send.main(["--reply", came.line, *options_given, f"--message={text}"])
