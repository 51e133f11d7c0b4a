"""Show what waits, runs, retries, is held or dead, and why.

Each line is a delivery: a message and a transport. `show KEY` tells the whole story of one message. With --sent each
line is a message that one of our agents sends, and that the bus does not have yet.
"""

import argparse

from worker.cli import options, output, sent_view
from worker.errors import UsageError
from worker.ledger import outbox
from worker.settings import Settings
from worker.view.access import ledger_of
from worker.view.deliveries import not_done

EXAMPLES = """examples:
  bus-watch queue                      why did it not wake?
  bus-watch queue --agent hadi-codex --watch
  bus-watch queue --sent               why does the bus not have it?
  bus-watch queue --json | jq '.deliveries[] | select(.state == "dead") | .key'
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    options.add_json(parser)
    options.add_watch(parser)
    options.add_agents(parser)
    options.add_host(parser)
    parser.add_argument("--sent", action="store_true", help="the outbox: what our agents send")
    parser.add_argument(
        "-n", "--limit", type=options.count, default=20, metavar="N", help="lines a lane at most (default: 20)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings = options.settings(args)
    agents = options.agents(args, settings)
    host = options.host(args, settings)
    if args.sent:
        if args.watch:
            raise UsageError("--sent and --watch do not go together")
        if host is not None:
            raise UsageError("--sent and --host do not go together: what is sent is no host's")
        with ledger_of(settings) as db:
            rows = [row for row in outbox.unsent(db, args.limit) if not agents or row["agent"] in agents]
        return sent_view.show_list(rows, json_wanted=args.json)
    if args.watch:
        return output.watch(lambda: _text(settings, args.limit, agents, host), args.color)
    if args.json:
        output.print_json(not_done(settings, args.limit, agents, host))
    else:
        output.write(_text(settings, args.limit, agents, host), args.color)
    return 0


def _text(settings: Settings, limit: int, agents: frozenset[str], host: str | None) -> str:
    found = not_done(settings, limit, agents, host)
    lines = [", ".join(f"{number} {state}" for state, number in found["counts"].items())]
    if not found["worker_running"]:
        lines.append("no worker is running: bus-watch run")
    if found["deliveries"]:
        fleet = settings.is_fleet
        rows = [
            (d["key"], d["transport"], *([d["host"] or "-"] if fleet else []), d["state"], d["words"])
            for d in found["deliveries"]
        ]
        lines += ["", output.table(rows, ("MESSAGE", "TRANSPORT", *(["HOST"] if fleet else []), "STATE", "WHY"))]
    if (hidden := sum(found["counts"].values()) - len(found["deliveries"])) > 0:
        lines.append(f"... and {hidden} more; -n shows more a lane")
    return "\n".join(lines) + "\n"
