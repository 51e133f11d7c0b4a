"""Send a probe message through the bus, by default to the agent itself."""

import argparse
import difflib
import sys
import time
from collections.abc import Mapping
from typing import Any

from worker.cli import options, output
from worker.errors import UsageError
from worker.settings import AgentSettings, Settings

STARTING_SECONDS = 5.0

EXAMPLES = """examples:
  bus-watch test-send                  does a message come back to me?
  bus-watch test-send --to bob --text 'hello bob'
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    options.add_json(parser)
    parser.add_argument("--agent", metavar="NAME", help="whose token to use (default: the only agent)")
    parser.add_argument("--to", metavar="AGENT", help="who gets it (default: the agent itself)")
    parser.add_argument("--text", help="what it says")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from worker.bus.endpoints import endpoint_of
    from worker.bus.errors import UnreachableError
    from worker.bus.requests import BusRequests

    settings = options.settings(args)
    agent = _agent(settings, args.agent)
    endpoint = endpoint_of(agent, agent.token_source(settings.config_path).read)
    text = args.text or f"bus-watch test-send at {time.strftime('%Y-%m-%d %H:%M:%S')}"
    deadline = time.monotonic() + STARTING_SECONDS
    to = args.to or agent.agent
    with BusRequests() as bus:
        while True:
            try:
                if to != agent.agent:
                    _look_up(to, bus.peers(endpoint))
                sent = bus.send(endpoint, to, text, agent.project)
                break
            except UnreachableError:  # nothing was sent; a bus that was started just now needs a moment
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
    if args.json:
        output.print_json({"to": to, "stream": sent.stream, "id": sent.entry_id})
    else:
        print(f"sent {sent.entry_id} to {to}")
        print("bus-watch history shows it once the worker has polled", file=sys.stderr)
    return 0


def _look_up(to: str, peers: Mapping[str, Any]) -> None:
    """Whether the bus knows the recipient: one that knows all of its agents is believed, others only make us wonder."""
    agents = peers.get("agents")
    seen = {
        str(one.get("name") or one.get("agent")) for one in [*peers.get("registered", []), *peers.get("streams", [])]
    }
    near = difflib.get_close_matches(to, sorted(seen | set(agents or [])), n=1)
    guess = f"; did you mean {near[0]}?" if near and near[0] != to else ""
    if isinstance(agents, list):
        if to not in agents:
            raise UsageError(f"the bus knows no agent {to!r}, so nothing was sent{guess}")
    elif to not in seen:
        print(f"the bus has not seen an agent {to!r} yet; sending all the same{guess}", file=sys.stderr)


def _agent(settings: Settings, name: str | None) -> AgentSettings:
    if name is None:
        if len(settings.agents) > 1:
            raise UsageError(f"say which --agent sends it: {', '.join(a.agent for a in settings.agents)}")
        return settings.agents[0]
    found = settings.agent(name)
    if found is None:
        raise UsageError(f"no agent {name!r} in the configuration")
    return found
