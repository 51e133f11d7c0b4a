"""Write a configuration, and service files if asked to.

It only writes files, and prints what to run next; it starts nothing. In a configuration that is there only what is
asked for is changed. A file that differs is shown as a diff, and written only with --force. The service options
combine, and work on any system. Without --agent the configuration that is there is used as it is, and only service
files are written.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from worker.cli import options
from worker.errors import UsageError
from worker.secret import Secret

if TYPE_CHECKING:
    from worker.install.config_file import InstallOptions
    from worker.install.plan import Plan, Services

EXAMPLES = """examples:
  bus-watch install --agent hadi-codex --token-file ~/.sos/token --tmux codex --systemd
  bus-watch install --agent hadi-codex --token-file ~/.sos/token --project sos --launchd
  pass show bus/hadi | bus-watch install --agent hadi --token-stdin --transport 'wake=/usr/local/bin/wake-codex {text}'
  bus-watch install --agent hadi-codex --token-file ~/.sos/token --tmux codex --procfile --bus     no bus yet
  bus-watch install --systemd --dry-run        the unit for the configuration that is there

A transport's argv is split as a shell would split it, but no shell ever sees it. Placeholders: {text} {source} {agent}
{stream_id} {project} {class} {message_file}.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    parser.add_argument("--agent", metavar="NAME", help="whose inbox is watched")
    parser.add_argument("--project", metavar="NAME", help="the project on the bus")
    parser.add_argument("--bridge-url", metavar="URL", help="where the bus's bridge is (http://localhost:6380)")
    parser.add_argument(
        "--bus-kind", choices=("sos", "mupot"), metavar="KIND", help="what the bus speaks: sos (the default) or mupot"
    )
    parser.add_argument(
        "--from", dest="start_from", metavar="all|now|DURATION",
        help="how old a message may be that a new ledger takes (24h)",
    )  # fmt: skip
    token = parser.add_argument_group("the token, one of").add_mutually_exclusive_group()
    token.add_argument("--token-file", metavar="PATH", help="a file that only you can read, read again when it changes")
    token.add_argument("--token-env", metavar="NAME", help="an environment variable of the worker")
    token.add_argument(
        "--token-stdin", action="store_true", help="standard input; kept in a 0600 file beside the config"
    )
    token.add_argument(
        "--credential", metavar="PATH", help="a file that systemd hands over (LoadCredential); --systemd"
    )
    wake = parser.add_argument_group("what wakes the agent")
    wake.add_argument("--tmux", metavar="SESSION", help="submit to the agent in this tmux session")
    wake.add_argument(
        "--transport", action="append", default=[], metavar="NAME=ARGV...", help="run this; may be repeated"
    )
    services = parser.add_argument_group("services")
    services.add_argument("--systemd", action="store_true", help="write a systemd unit, of the user unless --system")
    services.add_argument("--system", action="store_true", help="... a hardened unit of the host, with --user")
    services.add_argument("--user", metavar="NAME", help="... whom the worker runs as")
    services.add_argument(
        "--profile", choices=("local", "remote-only"), default="local",
        help="... whether it drives tmux on this host (local) or reaches agents elsewhere (remote-only)",
    )  # fmt: skip
    services.add_argument("--launchd", action="store_true", help="write a launchd agent")
    services.add_argument(
        "--procfile", action="store_true", help="write a Procfile line, for honcho, foreman, overmind"
    )
    services.add_argument(
        "--bus", action="store_true",
        help="... and a service of its own for the embedded bus, where the agent is registered if its token file is "
        "not there yet",
    )  # fmt: skip
    services.add_argument("--output-dir", metavar="DIR", type=Path, help="put service files there")
    parser.add_argument("--force", action="store_true", help="write files that differ")
    parser.add_argument("--dry-run", action="store_true", help="print the files, write nothing")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from worker.install import files
    from worker.install.plan import plan as make_plan

    config = _config(args)
    services = _services(args)
    wishes, token = _wishes(args, config)
    with files.alone(config):
        return _carry_out(args, config, make_plan(config, wishes, token, services))


def _carry_out(args: argparse.Namespace, config: Path, plan: "Plan") -> int:
    """Show the files, or write them."""
    from worker.install import files

    if args.dry_run:
        for planned in plan.files:
            print(f"# {planned.path} ({planned.mode:04o})\n{files.shown(planned)}")
        return _tell(plan)
    found = files.compare(plan.files)
    if found["different"] and not args.force:
        for planned in found["different"]:
            print(files.diff(planned), end="")
        _note(plan.notes)
        print(
            "bus-watch install: nothing was written: files that are there differ; --force replaces them",
            file=sys.stderr,
        )
        return 1
    _make_folders(plan)
    for planned in found["same"]:
        print(f"{'set mode of' if files.tighten(planned) else 'unchanged'} {planned.path}")
    for planned in found["different"]:
        print(files.diff(planned), end="")
    fresh = found["new"] + found["different"]
    for planned in fresh:
        files.write(planned)
        print(f"wrote {planned.path}")
    if fresh:
        manifest = files.Manifest.beside(config)
        manifest.add(fresh)
        files.write(manifest.planned(plan.owner))
    else:
        print("nothing to do")
    if args.bus and args.agent is not None:
        _register(args, plan.owner)
    return _tell(plan)


def _make_folders(plan: "Plan") -> None:
    from worker.install import files

    for folder in plan.folders:
        if files.make_folder(folder, plan.owner):
            print(f"made {folder}")


def _register(args: argparse.Namespace, owner: tuple[int, int] | None) -> None:
    import os

    from worker.cli import bus
    from worker.install.plan import bus_db

    token_file, db = Path(args.token_file).expanduser(), bus_db(args.user)
    if token_file.exists():
        return
    bus.register(args.agent, token_file, db)
    if owner is not None:
        for path in (token_file, *db.parent.glob(f"{db.name}*")):
            os.chown(path, *owner)
    print(f"wrote {token_file}: {args.agent} is registered at the bus of this machine")


def _tell(plan: "Plan") -> int:
    _note(plan.notes)
    if plan.next_steps:
        print("next:")
        for step in plan.next_steps:
            print(f"  {step}")
    return 0


def _note(notes: list[str]) -> None:
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def _config(args: argparse.Namespace) -> Path:
    from worker import configuration
    from worker.install.plan import home_of

    if args.user is not None and args.config is None:
        return home_of(args.user) / ".sos" / "bus-watch.json"
    return configuration.config_path(args.config).absolute()


def _services(args: argparse.Namespace) -> "Services":
    from worker.install.plan import Services

    if (args.system or args.user or args.credential) and not args.systemd:
        raise UsageError("--system, --user and --credential go with --systemd")
    if args.bus and not (args.systemd or args.launchd or args.procfile):
        raise UsageError("--bus goes with --systemd, --launchd or --procfile: it is one more service")
    if args.bus and args.agent is not None and not args.token_file:
        raise UsageError("--bus goes with --token-file too: the token that it makes is written there")
    if args.bus:
        from worker.cli import bus

        bus.require_extra()
    credential = str(Path(args.credential).expanduser().absolute()) if args.credential else None
    return Services(
        systemd=args.systemd, launchd=args.launchd, procfile=args.procfile, bus=args.bus, system=args.system,
        user=args.user, profile=args.profile, credential=credential,
        output=args.output_dir.absolute() if args.output_dir else None,
    )  # fmt: skip


def _wishes(args: argparse.Namespace, config: Path) -> "tuple[InstallOptions | None, Secret | None]":
    from worker.install.config_file import CREDENTIAL, InstallOptions

    token: Secret | None = None
    token_file: str | None = None
    if args.token_file:
        token_file = absolute(args.token_file)
    elif args.credential:
        token_file = f"$CREDENTIALS_DIRECTORY/{CREDENTIAL}"
    if args.agent is None:
        if any([args.project, args.bridge_url, args.bus_kind, args.start_from, args.token_file, args.token_env,
                args.token_stdin, args.tmux, args.transport]):  # fmt: skip
            raise UsageError("say --agent NAME: whose inbox is watched")
        if not (args.systemd or args.launchd or args.procfile):
            raise UsageError("say --agent NAME for a configuration, or a service option for the one that is there")
        return None, None
    if args.token_stdin:
        token = _token_from_stdin(args.agent)
        token_file = str(config.with_suffix(".token"))
    return InstallOptions(
        agent=args.agent, config=config, token_file=token_file, token_env=args.token_env, project=args.project,
        bridge_url=args.bridge_url, bus_kind=args.bus_kind, start_from=args.start_from, tmux=args.tmux,
        transports=tuple(args.transport),
    ), token  # fmt: skip


def absolute(path: str) -> str:
    """A token file as it is written: `~` and $CREDENTIALS_DIRECTORY stay, the rest becomes absolute."""
    return path if path.startswith(("~", "$CREDENTIALS_DIRECTORY")) else str(Path(path).absolute())


def _token_from_stdin(agent: str) -> Secret:
    from worker.credentials import MAX_TOKEN_BYTES, checked

    raw = sys.stdin.buffer.read(MAX_TOKEN_BYTES)
    return checked(raw.decode("utf-8", "replace"), "standard input", f"agent {agent}")
