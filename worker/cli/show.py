"""Tell the whole story of one message: what it is, and every attempt of every transport.

KEY is AGENT/ID, AGENT/STREAM/ID where that is ambiguous, or a bare id that is unique; out-N is one that was sent.
"""

import argparse
from typing import Any

from worker.cli import options, output, sent_view
from worker.ledger import outbox
from worker.outgoing import number_of
from worker.view.access import ledger_of
from worker.view.messages import story
from worker.view.plain import one_line

EXAMPLES = """examples:
  bus-watch show hadi-codex/1795300087770-0
  bus-watch show 1795300087770-0 --json
"""

TEXT_SHOWN = 2000
FIELD_SHOWN = 500
FIELDS = ("key", "state", "source", "class", "project", "sent_at", "received_at", "finished_at")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    options.add_json(parser)
    options.add_color(parser)
    options.add_host(parser)
    parser.add_argument("key", metavar="KEY", help="the message: AGENT/ID, AGENT/STREAM/ID, an id, or out-N")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings = options.settings(args)
    if (number := number_of(args.key)) is not None:
        with ledger_of(settings) as db:
            return sent_view.show_one(outbox.find(db, number), json_wanted=args.json)
    found = story(settings, args.key, options.host(args, settings))
    if args.json:
        output.print_json(found)
    else:
        output.write(_text(found), args.color)
    return 0


def _text(found: dict[str, Any]) -> str:
    lines = [f"{name}: {one_line(found[name], FIELD_SHOWN)}" for name in FIELDS if found[name]]
    if found["text"] is None:
        lines.append("text: cleared by retention")
    else:
        text = found["text"]
        lines += ["text:", *(f"  | {one_line(part, 200)}" for part in text[:TEXT_SHOWN].split("\n"))]
        if len(text) > TEXT_SHOWN:
            lines.append(f"  | ... {len(text)} characters in all")
    if not found["deliveries"]:
        lines.append("no delivery: its class is only logged")
    for delivery in found["deliveries"]:
        lines.append(f"{delivery['transport']}: {delivery['state']}: {one_line(delivery['words'], 1000)}")
        for attempt in delivery["attempts"]:
            ids = attempt["together"]
            took = "" if attempt["seconds"] is None else f" after {attempt['seconds']} s"
            result = one_line(attempt["result"] or "running", FIELD_SHOWN)
            by = f", by {attempt['channel']}" if attempt["channel"] else ""
            by += f" [{one_line(attempt['proof'], FIELD_SHOWN)}]" if attempt["proof"] else ""
            by += f", on {attempt['host']}" if attempt["host"] else ""
            by += f"; said later: {one_line(attempt['late'], FIELD_SHOWN)}" if attempt["late"] else ""
            lines.append(f"  attempt {attempt['attempt']} at {attempt['started_at']}: {result}{took}{by}")
            if ids:
                lines.append(f"    one wake for {len(ids)} messages: {one_line(', '.join(ids), FIELD_SHOWN)}")
            printed = attempt["output"] or ""
            lines += [f"    > {one_line(part, 200)}" for part in printed.splitlines()[-10:]]
    return "\n".join(lines) + "\n"
