"""Options that several commands have, and the configuration that they name."""

import argparse
import contextlib
from typing import TYPE_CHECKING

from worker.cli.color import CHOICES
from worker.cli.guess import did_you_mean
from worker.errors import TokenError, UsageError

if TYPE_CHECKING:  # what checks a configuration takes a second to load where a machine is busy
    from worker.settings import Settings


def add_config(parser: argparse.ArgumentParser) -> None:
    """The `--config` that every command has."""
    parser.add_argument(
        "--config", metavar="PATH", help="the configuration (default: $BUS_WATCH_CONFIG, else ~/.sos/bus-watch.json)"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """The `--json` that every command with something to say has."""
    parser.add_argument("--json", action="store_true", help="print JSON for scripts; its keys only ever grow")


def add_color(parser: argparse.ArgumentParser) -> None:
    """The `--color` of every command with columns."""
    parser.add_argument(
        "--color",
        choices=CHOICES,
        default="auto",
        help="colour it (default: auto: on a terminal, unless NO_COLOR is set)",
    )


def add_watch(parser: argparse.ArgumentParser) -> None:
    """`--watch`, and `--color`, which goes with it."""
    add_color(parser)
    parser.add_argument("--watch", action="store_true", help="show it live, until Ctrl-C")


def add_agents(parser: argparse.ArgumentParser) -> None:
    """`--agent`, which may be repeated."""
    parser.add_argument(
        "--agent", action="append", default=[], metavar="NAME", help="only this agent's; may be repeated"
    )


def agents(args: argparse.Namespace, settings: "Settings") -> frozenset[str]:
    """The agents that `--agent` names; empty: all.

    Raises:
        UsageError: one of them is neither in the configuration nor in the ledger.
    """
    from worker.alert_settings import ALERTS
    from worker.ledger import report
    from worker.view.access import ledger_of

    chosen = frozenset(args.agent)
    known = {agent.agent for agent in settings.agents} | {ALERTS}
    if chosen - known:
        with ledger_of(settings) as db:
            known.update(report.inboxes(db))
    for name in sorted(chosen - known):
        raise UsageError(f"there is no agent {name!r}{did_you_mean(name, known)}; see bus-watch agent list")
    return chosen


def add_host(parser: argparse.ArgumentParser) -> None:
    """`--host`, for a fleet."""
    parser.add_argument("--host", metavar="NAME", help="of a fleet: only what this host has; see bus-watch hosts")


def host(args: argparse.Namespace, settings: "Settings") -> str | None:
    """The host that `--host` names; None: all.

    Raises:
        UsageError: there is no such host, or no fleet.
    """
    if args.host is None:
        return None
    from worker.ledger import hosts
    from worker.view.access import ledger_of

    if not settings.is_fleet:
        raise UsageError("--host: this host shares its ledger with no other (ledger_url_file is not configured)")
    with ledger_of(settings) as db:
        known = [str(row["name"]) for row in hosts.every(db)]
    if args.host not in known:
        raise UsageError(f"--host: the fleet has no {args.host!r}{did_you_mean(args.host, known)}; see bus-watch hosts")
    return str(args.host)


def count(value: str) -> int:
    """For argparse: how many of something, 1 at least."""
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{value} is not 1 or more")
    return number


def duration(value: str) -> float:
    """For argparse: an age in seconds, or with a unit: `90`, `15m`, `24h`, `5d`."""
    from worker.setting_types import parse_duration

    seconds = parse_duration(value)
    if not isinstance(seconds, float):
        raise argparse.ArgumentTypeError(f"{value!r} is no duration; write for example 90m, 24h or 30d")
    return seconds


def settings(args: argparse.Namespace) -> "Settings":
    """The configuration that the command line names; from now on this process hides the tokens that it names."""
    from worker.configuration import load

    found = load(args.config)
    for agent in found.agents:
        with contextlib.suppress(TokenError):  # whoever needs it will say so
            agent.token_source(found.config_path).read()
    return found


def fleet_settings(args: argparse.Namespace) -> "Settings":
    """The same, for a command that means a fleet. Raises UsageError where this host is in none."""
    found = settings(args)
    if not found.is_fleet:
        raise UsageError(
            "this host shares its ledger with no other: ledger_url_file is not configured; see docs/fleet.md"
        )
    return found
