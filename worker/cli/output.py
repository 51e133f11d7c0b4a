"""What commands print: text and JSON, redacted; tables; a text that is shown live."""

import json
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Sequence

from worker.telemetry.redact import redact


def write(text: str) -> None:
    """Text on standard output, redacted: the bus, and what transports print, may hold anything.

    Nothing in it moves a cursor or turns the direction of writing. That a line is no forged one is for `one_line`.
    """
    sys.stdout.write("".join(c if c.isprintable() or c in "\n\t" else " " for c in redact(text)))


def print_json(value: object) -> None:
    """One JSON document on standard output, redacted; what does not print is escaped, for it may be a terminal."""
    text = json.dumps(redact.everywhere(value), indent=2, ensure_ascii=False)
    sys.stdout.write("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text) + "\n")


def one_line(text: object, width: int) -> str:
    """Text that came from somewhere else, made safe for a terminal and short enough for a column."""
    plain = "".join(c if c.isprintable() else " " for c in str(text))
    return plain if len(plain) <= width else plain[: max(0, width - 1)] + "…"


def wrapped(text: str, indent: str) -> str:
    """A sentence in lines as wide as the terminal, or 80 columns elsewhere; those after the first are indented."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 80
    lines = textwrap.wrap(text, max(40, width), subsequent_indent=indent, break_on_hyphens=False)
    return "\n".join(lines)


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
