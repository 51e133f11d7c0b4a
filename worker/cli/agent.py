"""Add, remove or list the agents of a configuration, or set up an agent's own channel.

`add` and `remove` change nothing else in it, show the change as a diff, and write it; a file for one agent becomes one
for several. A running worker takes it up by itself. Options of `add` that are left out are those of the file.
"""

import argparse
import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.cli import options
from worker.cli.guess import did_you_mean
from worker.errors import UsageError

if TYPE_CHECKING:
    from worker.install.config_file import InstallOptions
    from worker.install.plan import Plan

EXAMPLES = """examples:
  bus-watch agent add alice --token-file ~/.sos/alice.token --tmux alice
  bus-watch agent add carol --register --tmux carol      on the bus of this machine, which makes the token
  bus-watch agent remove alice --dry-run
  bus-watch agent list
  bus-watch agent setup opencode --write                 what its own channel needs: here a plugin
  bus-watch agent setup codex --mcp --skill --write      what it needs to answer
"""

ACTIONS = ("add", "remove", "list", "setup")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    options.add_json(parser)
    parser.add_argument("action", metavar="ACTION", help="add, remove, list or setup")
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="whose inbox, for add and remove; for setup the agent's program: codex, claude, opencode",
    )
    token = parser.add_argument_group("with add: the token, one of").add_mutually_exclusive_group()
    token.add_argument("--token-file", metavar="PATH", help="a file that only you can read")
    token.add_argument("--token-env", metavar="NAME", help="an environment variable of the worker")
    token.add_argument(
        "--register",
        action="store_true",
        help="register at the embedded bus; its token goes into a file beside the config",
    )
    parser.add_argument(
        "--db", type=Path, default=Path("~/.sos/bus.db"), metavar="PATH",
        help="with --register: the file of the embedded bus (default: %(default)s)",
    )  # fmt: skip
    wake = parser.add_argument_group("with add: what wakes it")
    wake.add_argument("--tmux", metavar="SESSION", help="submit to the agent in this tmux session")
    wake.add_argument(
        "--transport", action="append", default=[], metavar="NAME=ARGV...", help="run this; may be repeated"
    )
    parser.add_argument("--project", metavar="NAME", help="with add: the project on the bus")
    parser.add_argument("--bridge-url", metavar="URL", help="with add: where the bus's bridge is")
    parser.add_argument("--dry-run", action="store_true", help="show the change, write nothing")
    answering = parser.add_argument_group("with setup: what it needs to answer, instead of a channel")
    answering.add_argument("--mcp", action="store_true", help="the entry for `bus-watch mcp` in its settings")
    answering.add_argument("--skill", action="store_true", help="ten lines in its instructions that say how to answer")
    answering.add_argument("--as", dest="sender", metavar="AGENT", help="whose messages (default: the only agent's)")
    channel = parser.add_argument_group("with setup: what the agent's own channel needs").add_mutually_exclusive_group()
    channel.add_argument("--write", action="store_true", help="make it, instead of showing it")
    channel.add_argument("--undo", action="store_true", help="take away what --write made")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "add": _add,
        "remove": _remove,
        "list": _list,
        "setup": _setup,
    }
    if args.action not in actions:
        raise UsageError(
            f"there is no action {args.action!r}{did_you_mean(args.action, ACTIONS)}: {', '.join(ACTIONS)}"
        )
    if (args.name is None) != (args.action == "list"):
        raise UsageError(
            "list takes no NAME" if args.action == "list" else f"say which agent: agent {args.action} NAME"
        )
    given = [args.token_file, args.token_env, args.register, args.tmux, args.transport, args.project, args.bridge_url]
    if args.action != "add" and any(given):
        raise UsageError(f"only add takes options about an agent, and {args.action} does not")
    if args.action != "setup" and (args.write or args.undo):
        raise UsageError("--write and --undo go with setup")
    if args.action != "setup" and (args.mcp or args.skill or args.sender):
        raise UsageError("--mcp, --skill and --as go with setup")
    return actions[args.action](args)


def _add(args: argparse.Namespace) -> int:
    from worker import configuration
    from worker.install import files

    if not (args.token_file or args.token_env or args.register):
        raise UsageError("say where the token is: --token-file PATH or --token-env NAME, or --register makes one")
    config = configuration.config_path(args.config).absolute()
    with files.alone(config):
        return _add_to(args, config)


def _add_to(args: argparse.Namespace, config: Path) -> int:
    import os

    from worker import configuration
    from worker.install import merge, plan

    there = configuration.read(config)
    configuration.check(there, config)
    wishes = _wishes(args, config)
    found = plan.Plan()
    settings = plan.configured(found, wishes, merge.added(there, wishes, os.environ), None)
    if args.register:
        agent = settings.agent(args.name)
        _check_local(agent.bridge_url if agent is not None else "")
        if not args.dry_run:
            from worker.cli import bus

            bus.register(args.name, Path(wishes.token_file or ""), args.db.expanduser(), args.project)
    return _carry_out(args, found, "added")


def _wishes(args: argparse.Namespace, config: Path) -> "InstallOptions":
    from worker.cli.install import absolute
    from worker.install.config_file import InstallOptions

    token_file = absolute(args.token_file) if args.token_file else None
    if args.register:
        token_file = str(config.with_name(f"{args.name}.token"))
    return InstallOptions(
        agent=args.name, config=config, token_file=token_file, token_env=args.token_env, project=args.project,
        bridge_url=args.bridge_url, tmux=args.tmux, transports=tuple(args.transport),
    )  # fmt: skip


def _check_local(bridge_url: str) -> None:
    from worker.urls import bridge_address, is_loopback

    if not is_loopback(bridge_address(bridge_url).hostname or ""):
        raise UsageError(
            f"--register makes tokens of this machine's own bus, and {bridge_url} is another: give --token-file"
        )


def _remove(args: argparse.Namespace) -> int:
    from worker import configuration
    from worker.install import files

    config = configuration.config_path(args.config).absolute()
    with files.alone(config):
        return _remove_from(args, config)


def _remove_from(args: argparse.Namespace, config: Path) -> int:
    from worker import configuration
    from worker.install import merge, plan

    there = configuration.read(config)
    configuration.check(there, config)
    names = merge.names(there)
    if args.name not in names:
        raise UsageError(f"{config} has no agent {args.name!r}{did_you_mean(args.name, names)}: {', '.join(names)}")
    if names == [args.name]:
        raise UsageError(f"{args.name} is the only agent of {config}: stop the worker instead, bus-watch uninstall")
    found = plan.Plan()
    data = merge.removed(there, args.name)
    configuration.check(data, config)
    found.files.append(plan.config_plan(config, data))
    found.notes.append(
        f"what waits for {args.name} stays in the ledger: add it again, or drop it (bus-watch queue); "
        "its token stays too, where it is"
    )
    return _carry_out(args, found, "removed")


def _carry_out(args: argparse.Namespace, found: "Plan", done: str) -> int:
    """Show the diff and write the one file; `done` is the word for it."""
    import sys

    from worker.install import files

    (planned,) = found.files
    change = files.diff(planned)
    if not args.dry_run:
        files.write(planned)
    if args.json:
        print(json.dumps({done: args.name, "config": str(planned.path), "dry_run": args.dry_run, "notes": found.notes}))
        return 0
    print(change, end="")
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"{'would be ' if args.dry_run else ''}{done}: {args.name}, in {planned.path}")
    return 0


def _list(args: argparse.Namespace) -> int:
    from worker.cli import output

    settings = options.settings(args)
    rows: list[Mapping[str, Any]] = [
        {
            "agent": agent.agent,
            "project": agent.project,
            "bridge_url": agent.bridge_url,
            "token": _token(agent.token_file, agent.token_env),
            "transports": [transport.name for transport in agent.transports],
        }
        for agent in settings.agents
    ]
    if args.json:
        output.print_json({"config": str(settings.config_path), "agents": rows})
    else:
        cells = [(r["agent"], r["project"] or "-", ", ".join(r["transports"]) or "none", r["token"]) for r in rows]
        output.write(output.table(cells, ("agent", "project", "transports", "token")) + "\n")
    return 0


def _token(file: str | None, variable: str | None) -> str:
    """Where the token is, never the token."""
    from worker.credentials import shown_name

    if file is not None:
        return file if "/" in file else "a file"
    return f"${shown_name(variable)}" if variable is not None else "in the configuration"


def _answering(args: argparse.Namespace) -> int:
    """The MCP entry and the section of instructions: shown, written, or taken away."""
    import os

    from worker.cli import sending
    from worker.configuration import config_path
    from worker.install import answering, files, owners_files
    from worker.install.installation import script
    from worker.state_files import DEFAULT_CONFIG

    if args.name not in answering.agents():
        known = ", ".join(answering.agents())
        raise UsageError(f"{args.name!r} is not known{did_you_mean(args.name, answering.agents())}: {known}")
    wanted: list[tuple[Path, Callable[[str], str]]] = []
    if args.mcp:
        server = None
        if not args.undo:  # which needs no configuration: that may be gone already
            sender = sending.sender(sending.desk_of(args.config), args.sender)
            where = config_path(args.config).absolute()
            server = [str(script("bus-watch")), "mcp", "--as", sender]
            server += [] if where == DEFAULT_CONFIG.expanduser() else ["--config", str(where)]
        wanted.append(
            (answering.mcp_file(args.name, os.environ), lambda text: answering.with_server(args.name, text, server))
        )
    if args.skill:
        wanted.append(
            (answering.skill_file(args.name, os.environ), lambda text: answering.with_skill(text, wanted=not args.undo))
        )
    done = args.write or args.undo
    changes: list[tuple[Path, str, str]] = []
    for path, change in wanted:
        with files.alone(path):
            before = owners_files.read(path)
            after = change(before)
            if done and before != after:
                owners_files.write(path, after)
        changes.append((path, before, after))
    return _tell_answering(args, changes)


def _tell_answering(args: argparse.Namespace, changes: list[tuple[Path, str, str]]) -> int:
    import difflib

    from worker.cli import output

    done = args.write or args.undo
    if args.json:
        found = [
            {"file": str(path), "state": "missing" if args.undo or (before != after and not done) else "there"}
            for path, before, after in changes
        ]
        output.print_json({"agent": args.name, "files": found})
        return 0
    for path, before, after in changes:
        state = "as it should be" if before == after else "written" if done else "--write changes it:"
        print(f"{path}: {state}")
        if before != after and not done:
            lines = difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), n=2)
            output.write("".join(lines))
    if done and not args.undo:
        print(f"start {args.name} anew: it reads these when it starts")
    return 0


def _setup(args: argparse.Namespace) -> int:
    import os

    if args.mcp or args.skill:
        return _answering(args)

    from worker.cli import output
    from worker.install import channels, files

    if args.name not in channels.agents():
        known = ", ".join(channels.agents())
        raise UsageError(f"{args.name!r} has no channel{did_you_mean(args.name, channels.agents())}: {known}")
    setup = channels.setup_of(args.name, os.environ)
    with files.alone(setup.path) if setup.path else contextlib.nullcontext():
        if args.write:
            setup.write()
        elif args.undo:
            setup.undo()
    state = setup.state()
    if args.json:
        path = str(setup.path) if setup.path else None
        files_ = [{"file": str(one.path), "state": one.state()} for one in setup.parts() if one.path]
        needs = {"agent": args.name, "needs": list(setup.words), "file": path, "state": state, "files": files_}
        output.print_json(needs)
        return 0
    for words in setup.words:
        print(words)
    for one in setup.parts():
        if one.path is None:
            continue
        print(f"{one.path}: {one.state()}")
        if one.state() in {"missing", "old"} and not args.undo:
            print(f"--write makes it:\n\n{one.content.rstrip()}\n")
    return 0
