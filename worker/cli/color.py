"""Colour for what commands print: words that stand for a state, and lines that say what is wrong."""

import os
import re
import sys

CHOICES = ("auto", "always", "never")

RED, GREEN, YELLOW, BLUE = "31", "32", "33", "34"
_STATES = {
    "succeeded": GREEN,
    "delivered": GREEN,
    "running": BLUE,
    "retrying": YELLOW,
    "held": YELLOW,
    "dead": RED,
    "failed": RED,
}
_WORDS = "|".join(_STATES)
# A state's own column; a transport's state, in two ways to write it; a line that says what is wrong.
_COLUMN = re.compile(rf"^(\S.*?\s\s|\S+: )({_WORDS})(?=\s\s|:|$)", re.MULTILINE)
_PAIR = re.compile(rf"(?<==)({_WORDS})\b")
_WRONG = re.compile(r"^! .*(?:\n  .*)*|^running: no$", re.MULTILINE)


def coloured(choice: str) -> bool:
    """Whether to colour: `auto` means on a terminal that can, unless NO_COLOR (no-color.org) is set."""
    if choice == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return choice == "always"


def paint(text: str) -> str:
    """Text in which nothing but colours is added. It must be clean of control characters already."""
    text = _COLUMN.sub(lambda found: found[1] + _in(_STATES[found[2]], found[2]), text)
    text = _PAIR.sub(lambda found: _in(_STATES[found[1]], found[1]), text)
    return _WRONG.sub(lambda found: "\n".join(_in(RED, line) for line in found[0].split("\n")), text)


def _in(color: str, text: str) -> str:
    return f"\x1b[{color}m{text}\x1b[0m"
