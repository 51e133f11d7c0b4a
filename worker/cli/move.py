"""Move an agent to another host of the fleet.

What runs ends where it is, nothing more is begun there, and the new host takes over, in order. Refused where the new
host is not alive, or has no such transport.
"""

import argparse
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from worker.cli import options, output
from worker.cli.guess import did_you_mean
from worker.errors import BusWatchError, UsageError
from worker.ledger import hosts, lane_hosts
from worker.ledger.configured import open_ledger
from worker.ledger.lane_hosts import Held
from worker.ledger.port import Tx
from worker.settings import Settings

EXAMPLES = """examples:
  bus-watch move hadi-codex --to south
  bus-watch move hadi-codex --transport tmux --to south
"""


class CannotMoveError(BusWatchError):
    """The new host cannot have it; nothing was changed."""

    code = "cannot_move"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    options.add_json(parser)
    parser.add_argument("agent", metavar="AGENT", help="whose lanes move")
    parser.add_argument("--to", metavar="HOST", required=True, help="where to; see bus-watch hosts")
    parser.add_argument("--transport", metavar="NAME", help="only this transport (default: all of the agent's)")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings = options.fleet_settings(args)
    with closing(open_ledger(settings)) as ledger:
        moved = ledger.write(lambda tx: _move(tx, settings, args.agent, args.transport, args.to))
    if args.json:
        output.print_json(moved)
        return 0
    for one in moved:
        words = f"moves from {one['from']} to {args.to}" if one["moves"] else f"{args.to} has it already"
        output.write(f"{one['agent']} {one['transport']}: {words}\n")
    return 0


def _move(tx: Tx, settings: Settings, agent: str, transport: str | None, to: str) -> list[dict[str, Any]]:
    every = lane_hosts.every(tx)
    lanes = [lane for lane in every if lane.agent == agent and transport in {None, lane.transport}]
    if not lanes:
        _no_such_lane(every, agent, transport)
    fleet = hosts.fleet(tx, to, settings.host_lost_after)
    if to not in fleet.hosts:
        raise UsageError(f"the fleet has no host {to!r}{did_you_mean(to, fleet.hosts)}; see bus-watch hosts")
    if not hosts.is_alive(fleet.hosts[to].seen_at, fleet.now):
        raise CannotMoveError(f"{to} gives no sign of life: start its worker first")
    lacking = [lane.transport for lane in lanes if not fleet.serves(to, lane.agent, lane.transport)]
    if lacking:
        raise CannotMoveError(
            f"{to} has no {' nor '.join(lacking)} for {agent}: configure it there, with its token, and reload it"
        )
    lane_hosts.move(tx, [lane.id for lane in lanes], to)
    tx.nudge()
    return [
        {"agent": lane.agent, "transport": lane.transport, "from": lane.host, "to": to, "moves": lane.host != to}
        for lane in lanes
    ]


def _no_such_lane(every: Sequence[Held], agent: str, transport: str | None) -> None:
    known = {lane.agent for lane in every}
    if agent not in known:
        raise UsageError(f"the ledger has no agent {agent!r}{did_you_mean(agent, known)}")
    names = {lane.transport for lane in every if lane.agent == agent}
    raise UsageError(f"{agent} has no transport {transport!r}{did_you_mean(transport or '', names)}")
