"""What commands print: text and JSON, redacted; tables; a text that is shown live."""

import json
import os
import shutil
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Sequence

from worker.cli.color import coloured, paint
from worker.telemetry.redact import redact
from worker.view.plain import one_line

CELL = 2000  # characters of one cell or sentence, at most
READABLE = 30  # columns in which a sentence can still be read


def write(text: str, color: str = "never") -> None:
    """Text on standard output, redacted: the bus, and what transports print, may hold anything.

    Nothing in it moves a cursor or turns the direction of writing. That a line is no forged one is for `one_line`.
    `color` is what `--color` says.
    """
    clean = _clean(text)
    sys.stdout.write(paint(clean) if coloured(color) else clean)


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in redact(text))


def print_json(value: object) -> None:
    """One JSON document on standard output, redacted; what does not print is escaped, for it may be a terminal."""
    text = json.dumps(redact.everywhere(value), indent=2, ensure_ascii=False)
    sys.stdout.write("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text) + "\n")


def wrapped(text: str, indent: str) -> str:
    """A sentence in lines as wide as the terminal, or 80 columns elsewhere; those after the first are indented."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 80
    lines = textwrap.wrap(text, max(40, width), subsequent_indent=indent, break_on_hyphens=False)
    return "\n".join(lines)


def table(rows: Sequence[Sequence[str]], headings: Sequence[str], below: Sequence[Sequence[str]] = ()) -> str:
    """Columns as wide as they need to be; `below` are sentences that stand under each row, indented.

    On a terminal nothing is cut: the last column is wrapped in what is left of the line, or, where that is too little
    to read, stands under its row like the sentences. Elsewhere a row is a line, for `grep`.
    """
    lines = [tuple(headings), *(tuple(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    left = sum(widths[:-1]) + 2 * (len(widths) - 1)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    shown: list[str] = []
    for number, cells in enumerate(lines):
        start = "  ".join(cell.ljust(room) for cell, room in zip(cells[:-1], widths[:-1], strict=True))
        last = one_line(cells[-1], CELL)
        under = [one_line(text, CELL) for text in below[number - 1]] if below and number else []
        if width is None or left + widths[-1] <= width:
            shown.append(f"{start}  {last}".rstrip())
        elif width - left >= READABLE:
            first, *more = textwrap.wrap(last, width - left, break_on_hyphens=False) or [""]
            shown += [f"{start}  {first}".rstrip(), *(" " * left + line for line in more)]
        else:
            shown.append(start.rstrip())
            under = [last, *under] if number else []
        for text in under:
            room = max(READABLE, width) if width is not None else CELL
            shown += textwrap.wrap(text, room, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
    return "\n".join(shown)


def watch(text: Callable[[], str], color: str, seconds: float = 1.0) -> int:
    """Show `text()` live until Ctrl-C: in place on a terminal, one block after the other elsewhere."""
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        return _watch_in_place(text, color, seconds)
    shown = None
    try:
        while True:
            now = text()
            if now != shown:
                write(now + "\n", color)
                sys.stdout.flush()
            shown = now
            time.sleep(seconds)
    except KeyboardInterrupt:
        return 0


def _watch_in_place(text: Callable[[], str], color: str, seconds: float) -> int:
    """On the terminal's other screen, which neither scrolls nor blinks, as `less` does; what was there comes back.

    The terminal does not wrap (DECAWM) meanwhile: a line that is too long for it would scroll the rest away.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.stdout.write("\x1b[?1049h\x1b[?25l\x1b[?7l")
    try:
        while True:
            rows = shutil.get_terminal_size().lines
            lines = _clean(text()).splitlines()
            if len(lines) > rows:
                lines = [*lines[: rows - 1], f"... and {len(lines) - rows + 1} more lines"]
            frame = "\n".join(lines)
            painted = paint(frame) if coloured(color) else frame
            sys.stdout.write("\x1b[H" + "".join(f"{line}\x1b[K\r\n" for line in painted.splitlines())[:-2] + "\x1b[J")
            sys.stdout.flush()
            time.sleep(seconds)
    except KeyboardInterrupt:
        return 0
    finally:
        sys.stdout.write("\x1b[?7h\x1b[?25h\x1b[?1049l")
        sys.stdout.flush()
        signal.signal(signal.SIGTERM, before)
