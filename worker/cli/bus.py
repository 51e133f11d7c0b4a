"""Serve a bus for the agents of this machine, stored in one SQLite file, and keep its list of agents."""

import argparse
import importlib.util
import json
import logging
import os
import signal
import threading
from pathlib import Path

from worker.bus.embedded.errors import EmbeddedBusError
from worker.bus.embedded.store import BusStore
from worker.errors import UsageError
from worker.urls import is_loopback

DEFAULT_PORT = 6380
DEFAULT_DB = Path("~/.sos/bus.db")  # `worker.install.plan.bus_db` names it for a service

EXAMPLES = """examples:
  bus-watch bus --add-agent bob --token-file ~/.sos/token    a token for bob, written 0600
  bus-watch bus                                              serve http://127.0.0.1:6380
  bus-watch bus --list-agents
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="the port; 0 takes a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--allow-remote", action="store_true", help="allow a --host that other machines reach, without encryption"
    )
    parser.add_argument("--db", type=Path, default=DEFAULT_DB, metavar="PATH", help="the file (default: %(default)s)")
    parser.add_argument(
        "--enforce-rate-limit", action="store_true", help="answer 429 beyond 60 requests a minute, not only log it"
    )
    agents = parser.add_mutually_exclusive_group()
    agents.add_argument("--add-agent", metavar="NAME", help="register an agent and print its token, once")
    agents.add_argument("--remove-agent", metavar="NAME", help="make an agent's token invalid; its messages stay")
    agents.add_argument("--list-agents", action="store_true", help="list the registered agents")
    parser.add_argument("--project", help="with --add-agent: bind the token to a project")
    parser.add_argument(
        "--token-file", type=Path, metavar="PATH", help="with --add-agent: write the token there (0600), print none"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")


def run(args: argparse.Namespace) -> int:
    """Do what the options say; serving ends with SIGTERM or SIGINT, and exit status 0."""
    if (args.project or args.token_file) and not args.add_agent:
        raise UsageError("--project and --token-file belong to --add-agent.")
    path: Path = args.db.expanduser()
    if args.add_agent:
        return _add(path, args)
    if args.remove_agent:
        return _remove(path, args)
    if args.list_agents:
        return _list(path, args)
    return _serve(path, args)


def _add(path: Path, args: argparse.Namespace) -> int:
    store = BusStore(path)
    try:
        if args.token_file is None:
            token = store.add_agent(args.add_agent, args.project)
            print(json.dumps({"agent": args.add_agent, "token": token}) if args.json else token)
            return 0
        token_file: Path = args.token_file.expanduser()
        _add_with_file(store, args.add_agent, args.project, token_file)
    finally:
        store.close()
    if args.json:
        print(json.dumps({"agent": args.add_agent, "token_file": str(token_file)}))
    else:
        print(f"{args.add_agent}: token written to {token_file}")
    return 0


def require_extra() -> None:
    """EmbeddedBusError, unless what serves a bus is installed; its list of agents needs none of it."""
    if not all(map(importlib.util.find_spec, ("starlette", "uvicorn"))):
        raise EmbeddedBusError("the embedded bus needs an extra; install it with: pip install 'bus-watch[bus]'")


def register(agent: str, token_file: Path, db: Path | None = None, project: str | None = None) -> None:
    """Register an agent at the bus of this machine, with its token in a new file."""
    store = BusStore(db or DEFAULT_DB.expanduser())
    try:
        _add_with_file(store, agent, project, token_file)
    finally:
        store.close()


def _add_with_file(store: BusStore, agent: str, project: str | None, token_file: Path) -> None:
    """Create the file first: a token that nobody could read would have to be removed again."""
    try:
        token_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise EmbeddedBusError(f"{token_file} exists and was left as it is; choose another path.") from None
    except OSError as error:
        raise EmbeddedBusError(f"{token_file} cannot be written: {error.strerror}.") from None
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(store.add_agent(agent, project) + "\n")
    except BaseException:
        token_file.unlink()
        raise


def _remove(path: Path, args: argparse.Namespace) -> int:
    store = BusStore(path)
    try:
        store.remove_agent(args.remove_agent)
    finally:
        store.close()
    removed = json.dumps({"removed": args.remove_agent})
    print(removed if args.json else f"{args.remove_agent}: its token is no longer valid")
    return 0


def _list(path: Path, args: argparse.Namespace) -> int:
    store = BusStore(path)
    try:
        agents = store.agents()
    finally:
        store.close()
    if args.json:
        listed = [{"name": one.name, "project": one.project, "created_at": one.created_at} for one in agents]
        print(json.dumps({"agents": listed}))
        return 0
    if not agents:
        print("no agents yet: bus-watch bus --add-agent NAME")
    for agent in agents:
        print(f"{agent.name}  since {agent.created_at}" + (f"  project {agent.project}" if agent.project else ""))
    return 0


def _serve(path: Path, args: argparse.Namespace) -> int:
    if not is_loopback(args.host) and not args.allow_remote:
        raise UsageError(
            f"{args.host} may be reached from other machines, and tokens would travel unencrypted. "
            "Keep to 127.0.0.1, or add --allow-remote."
        )
    require_extra()
    from worker.bus.embedded.server import EmbeddedBus
    from worker.serving.server import allow_connections

    allow_connections()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        bus = EmbeddedBus(path, host=args.host, port=args.port, enforce_rate_limit=args.enforce_rate_limit)
    except (OSError, OverflowError) as error:
        raise EmbeddedBusError(f"Cannot listen on {args.host} port {args.port}: {error}.") from None
    with bus:
        ready = json.dumps({"listening": bus.url}) if args.json else f"listening on {bus.url}"
        print(ready, flush=True)
        stop.wait()
    return 0
