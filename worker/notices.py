"""What one worker tells another over the bus, as messages that wake nobody. Pure.

    [bob -> alice class=terminal-log] bus-watch report: STREAM/ID dead: exit 65: no such pane
    [alice -> bob class=terminal-log] bus-watch receipt wanted: STREAM/ID
    [alice -> bob class=terminal-log] bus-watch brake: 30 messages in 600 s

A bus has no fields for these, so they are lines; whoever has no bus-watch can read them, too.
"""

import re
from typing import NamedTuple

from worker.classes import LOGGED_CLASS

_LINE = re.compile(
    r"\[(?P<source>\S+) -> (?P<destination>\S+) class=terminal-log\] bus-watch "
    r"(?:report: (?P<told>\S+)/(?P<told_id>[0-9]{1,19}-[0-9]{1,19}) (?P<state>[a-z]{1,20})(?:: (?P<why>.*))?"
    r"|receipt wanted: (?P<asked>\S+)/(?P<asked_id>[0-9]{1,19}-[0-9]{1,19}))",
    re.DOTALL,
)
_BRAKE = re.compile(
    r"\[(?P<source>\S+) -> (?P<destination>\S+) class=terminal-log\] bus-watch brake: "
    r"(?P<count>[0-9]{1,9}) messages in (?P<seconds>[0-9]{1,9}) s"
)
LONGEST_REASON = 300


class Notice(NamedTuple):
    """A report, or a wish for one (`state` is empty then) about the message with this place on the bus."""

    stream: str
    message_id: str
    state: str
    why: str


def read(text: str, source: str, agent: str) -> Notice | None:
    """The notice in a message that `source` sent to `agent`; None where it is none, or names somebody else."""
    found = _LINE.fullmatch(text)
    if found is None or source != f"agent:{found['source']}" or found["destination"] != agent:
        return None
    if found["asked"]:
        return Notice(found["asked"], found["asked_id"], "", "")
    return Notice(found["told"], found["told_id"], found["state"], found["why"] or "")


class Brake(NamedTuple):
    """The other side holds what it writes, since the two have exchanged so many messages in so many seconds."""

    messages: int
    seconds: int


def brake(agent: str, to: str, count: int, seconds: float) -> str:
    """What `to` gets to know once `agent` is held back from writing to it."""
    return f"[{agent} -> {to} class={LOGGED_CLASS}] bus-watch brake: {count} messages in {seconds:.0f} s"


def read_brake(text: str, source: str, agent: str) -> Brake | None:
    """The brake in a message that `source` sent to `agent`; None where it is none, or names somebody else."""
    found = _BRAKE.fullmatch(text)
    if found is None or source != f"agent:{found['source']}" or found["destination"] != agent:
        return None
    return Brake(int(found["count"]), int(found["seconds"]))


def is_notice(text: str, message_class: str | None) -> bool:
    """Whether nothing is ever reported about this message."""
    return message_class == LOGGED_CLASS or _LINE.fullmatch(text) is not None


def report(agent: str, to: str, stream: str, message_id: str, state: str, why: str) -> str:
    """What `to` gets to know about its message to `agent`."""
    reason = " ".join("".join(one if one.isprintable() else " " for one in why).split())[:LONGEST_REASON]
    tail = f": {reason}" if reason else ""
    return f"[{agent} -> {to} class={LOGGED_CLASS}] bus-watch report: {stream}/{message_id} {state}{tail}"


def wish(agent: str, to: str, stream: str, message_id: str) -> str:
    """Asks for a report once the message has been submitted."""
    return f"[{agent} -> {to} class={LOGGED_CLASS}] bus-watch receipt wanted: {stream}/{message_id}"
