"""Options that several commands have, and the configuration that they name."""

import argparse
import contextlib

from worker.configuration import load
from worker.errors import TokenError
from worker.setting_types import parse_duration
from worker.settings import Settings


def add_config(parser: argparse.ArgumentParser) -> None:
    """The `--config` that every command has."""
    parser.add_argument(
        "--config", metavar="PATH", help="the configuration (default: $BUS_WATCH_CONFIG, else ~/.sos/bus-watch.json)"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """The `--json` that every command with something to say has."""
    parser.add_argument("--json", action="store_true", help="print JSON for scripts; its keys only ever grow")


def count(value: str) -> int:
    """For argparse: how many of something, 1 at least."""
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{value} is not 1 or more")
    return number


def duration(value: str) -> float:
    """For argparse: an age in seconds, or with a unit: `90`, `15m`, `24h`, `5d`."""
    seconds = parse_duration(value)
    if not isinstance(seconds, float):
        raise argparse.ArgumentTypeError(f"{value!r} is no duration; write for example 90m, 24h or 30d")
    return seconds


def settings(args: argparse.Namespace) -> Settings:
    """The configuration that the command line names; from now on this process hides the tokens that it names."""
    found = load(args.config)
    for agent in found.agents:
        with contextlib.suppress(TokenError):  # whoever needs it will say so
            agent.token_source(found.config_path).read()
    return found
