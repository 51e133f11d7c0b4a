"""What `retry` and `drop` share: naming messages, changing the ledger, signalling the worker, saying what was done."""

import argparse
import sys
from collections.abc import Callable, Sequence

from worker.cli import options, output
from worker.ledger import operate, outbox_bell
from worker.ledger.configured import open_ledger
from worker.ledger.operate import Change, Chosen
from worker.ledger.port import Tx
from worker.ledger.sweep_signal import send_sweep_signal
from worker.outgoing import number_of


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of both."""
    options.add_config(parser)
    options.add_json(parser)
    parser.add_argument("keys", nargs="*", metavar="KEY", help="messages: AGENT/ID, AGENT/STREAM/ID, ids, or out-N")
    parser.add_argument("--dead", action="store_true", help="only deliveries in state dead; without a KEY all of them")
    parser.add_argument("--transport", metavar="NAME", help="only this transport's delivery")
    options.add_host(parser)


Operation = Callable[[Tx, int, Chosen, float], Sequence[Change]]
OfOutbox = Callable[[Tx, int, float], tuple[bool, str]]


def change(args: argparse.Namespace, operation: Operation, of_outbox: OfOutbox) -> int:
    """Apply `operation` to the messages that were named; 1 if none of their deliveries could be changed.

    `of_outbox` does the same to one that is to be sent.
    """
    if not args.keys and not args.dead:
        print("name messages, or say --dead", file=sys.stderr)
        return 64
    settings = options.settings(args)
    chosen = Chosen(args.transport, args.dead, options.host(args, settings))
    database = open_ledger(settings)
    try:

        def all_of_them(tx: Tx) -> list[Change]:
            now = tx.now()
            sent = [(key, number) for key in args.keys if (number := number_of(key)) is not None]
            posted = [Change(key, "outbox", *of_outbox(tx, number, now), lane=0) for key, number in sent]
            messages = [operate.find_message(tx, key) for key in args.keys if number_of(key) is None]
            if args.dead and not args.keys:
                messages = operate.dead_messages(tx)
            tx.nudge()
            return posted + [done for message in messages for done in operation(tx, message, chosen, now)]

        changes = database.write(all_of_them)
    finally:
        database.close()
    send_sweep_signal(settings.files_dir)
    outbox_bell.ring(settings.files_dir)
    if args.json:
        output.print_json([{"key": c.key, "transport": c.transport, "done": c.done, "words": c.words} for c in changes])
    else:
        for one in changes:
            print(f"{one.key} {one.transport}: {one.words}")
        if not changes:
            print("nothing to do")
    return 0 if not changes or any(c.done for c in changes) else 1
