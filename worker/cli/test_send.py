"""Send a probe message through the bus, by default to the agent itself.

It goes at once, from this process, whatever else waits; one that the bus does not take is not kept.
"""

import argparse
import sys
import time

from worker.cli import options, output, sending
from worker.errors import BusWatchError, UsageError
from worker.outgoing import NO_SUCH_AGENT, Kind, Sending

STARTING_SECONDS = 5.0

EXAMPLES = """examples:
  bus-watch test-send                  does a message come back to me?
  bus-watch test-send --to bob --text 'hello bob'
"""


class ProbeError(BusWatchError):
    """The bus did not take a probe; the message says why."""

    code = "probe"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    options.add_json(parser)
    parser.add_argument("--agent", metavar="NAME", help="whose token to use (default: the only agent)")
    parser.add_argument("--to", metavar="AGENT", help="who gets it (default: the agent itself)")
    parser.add_argument("--text", help="what it says; - is standard input")
    parser.add_argument("-f", "--file", metavar="FILE", help="a file with what it says")
    sending.add_class(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from worker.cli import sending_here
    from worker.ledger import outbox
    from worker.ledger.configured import open_ledger

    message_class = sending.class_of(args)
    settings = options.settings(args)
    agent = _agent([one.agent for one in settings.agents], args.agent)
    to = sending.recipient(args.to) if args.to else agent
    text = f"bus-watch test-send at {time.strftime('%Y-%m-%d %H:%M:%S')}"
    text = sending.composed(agent, to, message_class, sending.read_text(args) if args.text or args.file else text)
    deadline = time.monotonic() + STARTING_SECONDS
    database = open_ledger(settings)
    try:
        number = database.write(
            lambda tx: outbox.put(tx, agent, to, text, kind=Kind.PROBE, now=tx.now(), message_class=message_class)
        )
        while True:
            row = sending_here.probe(settings, database, number)
            # Where nothing was sent: a bus that was started just now needs a moment.
            if row["state"] == Sending.SENT or row["failures"] == 0 or time.monotonic() > deadline:
                break
            time.sleep(0.2)
            database.write(lambda tx: outbox.retry(tx, number))
    finally:
        database.close()
    if row["state"] != Sending.SENT:
        refused = row["remark"] == NO_SUCH_AGENT
        raise UsageError(f"{row['reason']}, so nothing was sent") if refused else ProbeError(row["reason"])
    if args.json:
        output.print_json({"to": to, "stream": row["stream"], "id": row["message_id"]})
    else:
        print(f"sent {row['message_id']} to {to}")
        print("bus-watch history shows it once the worker has polled", file=sys.stderr)
    if row["remark"]:
        print(f"{row['remark']}; it was sent all the same", file=sys.stderr)
    return 0


def _agent(agents: list[str], name: str | None) -> str:
    if name is None:
        if len(agents) > 1:
            raise UsageError(f"say which --agent sends it: {', '.join(agents)}")
        return agents[0]
    if name not in agents:
        raise UsageError(f"no agent {name!r} in the configuration")
    return name
