"""What several commands share: options, the configuration, and how tables, durations and JSON look."""

import argparse
import contextlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from worker.configuration import load
from worker.errors import TokenError
from worker.settings import Settings
from worker.telemetry.redact import redact


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


def settings(args: argparse.Namespace) -> Settings:
    """The configuration that the command line names; from now on this process hides the tokens that it names."""
    found = load(args.config)
    for agent in found.agents:
        with contextlib.suppress(TokenError):  # whoever needs it will say so
            agent.token_source(found.config_path).read()
    return found


def write(text: str) -> None:
    """Text on standard output, redacted: the bus, and what transports print, may hold anything."""
    sys.stdout.write(redact(text))


def print_json(value: object) -> None:
    """One JSON document on standard output, redacted."""
    sys.stdout.write(json.dumps(redact.everywhere(value), indent=2, ensure_ascii=False) + "\n")


def span(seconds: float) -> str:
    """A duration as people say it: `42 s`, `7 min`, `3 h 20 min`, `5 d`."""
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 36 * 3600:
        hours, minutes = divmod(round(seconds / 60), 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{seconds / 86400:.0f} d"


def ago(when: float | None, now: float | None = None) -> str:
    """A moment as people say it: `never`, `3 s ago`, `in 42 s`."""
    if when is None:
        return "never"
    passed = (time.time() if now is None else now) - when
    return f"{span(passed)} ago" if passed >= 0 else f"in {span(-passed)}"


def stamp(when: float | None) -> str | None:
    """A moment for JSON and logs: ISO 8601 in UTC, or null."""
    return None if when is None else datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds")


def one_line(text: str, width: int) -> str:
    """Text that came from somewhere else, made safe for a terminal and short enough for a column."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain if len(plain) <= width else plain[: max(0, width - 1)] + "…"


def table(rows: Iterable[Sequence[str]], headings: Sequence[str]) -> str:
    """Columns as wide as they need to be; the last one takes what is left of a terminal's line."""
    lines = [tuple(headings), *(tuple(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    left = sum(widths[:-1]) + 2 * (len(widths) - 1)
    room = max(20, shutil.get_terminal_size().columns - left) if sys.stdout.isatty() else max(widths[-1], 1)
    return "\n".join(_aligned(line, widths, room) for line in lines)


def _aligned(cells: Sequence[str], widths: Sequence[int], room: int) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells[:-1], widths[:-1], strict=True)]
    return "  ".join([*padded, one_line(cells[-1], room)]).rstrip()


def watch(text: Callable[[], str], seconds: float = 1.0) -> int:
    """Show `text()` live until Ctrl-C: in place on a terminal, one block after the other elsewhere."""
    live = sys.stdout.isatty()
    shown = None
    try:
        while True:
            now = redact(text())
            if live:
                sys.stdout.write("\x1b[H\x1b[2J" + now)
            elif now != shown:
                sys.stdout.write(now + "\n")
            sys.stdout.flush()
            shown = now
            time.sleep(seconds)
    except KeyboardInterrupt:
        return 0
