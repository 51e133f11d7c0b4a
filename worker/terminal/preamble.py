r"""The address in front of a terminal message: `[src -> dst class=c] text`. Pure.

Consumers read `^\[(\S+) -> (\S+?)(?: class=(terminal-log|actionable|human|reaction))?\] (.*)$`; the lines
after the first belong to the body. Without a class the line is byte for byte the classic one, and means
`actionable`.
"""

import re
from dataclasses import dataclass

from worker.classes import CLASSES

GRAMMAR = re.compile(rf"^\[(\S+) -> (\S+?)(?: class=({'|'.join(CLASSES)}))?\] (.*)$")

# Anything that a reader, person or program, could take for the start of an addressed line. Programs split lines
# at more than LF, and zero-width characters are invisible: both are allowed for. Linear in the body's length.
_ENDS = "\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029"
_BLANKS = " \t\x1f\xa0\u1680\u2000-\u200f\u202f\u205f-\u2064\u3000\ufeff"
FORGED = re.compile(f"(^|[{_ENDS}])(?=[{_BLANKS}]*\\[[^{_ENDS}]*->)")


@dataclass(frozen=True, slots=True)
class Addressed:
    """A message line taken apart: who wrote it, to whom, for what, and the body with all its lines."""

    source: str
    destination: str
    message_class: str | None
    body: str


def label(name: str) -> str:
    """`name` as it can stand in a preamble: no white space, no control characters, no `]`, never empty."""
    unfit = (one.isspace() or not one.isprintable() or one == "]" for one in name)
    return "".join("_" if bad else one for one, bad in zip(name, unfit, strict=True)) or "unknown"


def prefix(source: str, destination: str, message_class: str | None = None) -> str:
    """The preamble with the space behind it.

    Raises:
        ValueError: the class is none of CLASSES.
    """
    if message_class is not None and message_class not in CLASSES:
        raise ValueError(f"class must be one of {', '.join(CLASSES)}")
    tag = f" class={message_class}" if message_class else ""
    return f"[{label(source)} -> {label(destination)}{tag}] "


def compose(source: str, destination: str, message_class: str | None, body: str) -> str:
    """The whole message. Lines of the body after the first that look like a preamble are quoted.

    The first stands behind ours, where no consumer takes it for an address.
    """
    first, newline, rest = body.partition("\n")
    return prefix(source, destination, message_class) + first + newline + (quote_forged(rest) if rest else "")


def parse(text: str) -> Addressed | None:
    """Read a message that starts with a preamble; None if it does not."""
    first, newline, rest = text.partition("\n")
    match = GRAMMAR.match(first)
    if match is None:
        return None
    source, destination, message_class, body = match.groups()
    return Addressed(source, destination, message_class, body + newline + rest)


def flip(received: Addressed) -> tuple[str, str]:
    """The source and destination of a reply."""
    return received.destination, received.source


def quote_forged(body: str) -> str:
    """`body` with `> ` before every line that looks like a preamble: a body can never forge one."""
    return FORGED.sub(r"\1> ", body)
