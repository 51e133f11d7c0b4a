"""Which way a message would go to an agent now, and why no better one: for `doctor`, and `doctor --channels`."""

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from worker.errors import BusWatchError
from worker.settings import Settings

WITHOUT = {
    "aider": "nothing listens while it runs (0.86.2)",
    "cline": "what its hub takes was not measured (3.0.65)",
    "gemini": "nothing listens while its terminal UI is open (0.61.0)",
    "kimi": "nothing listens while its terminal UI is open; kimi web is a server of its own (2.1.0)",
}
"""Why agents that were looked at have no channel, with the version."""


class Way(NamedTuple):
    """One transport of an agent, as a message would find it now."""

    agent: str
    transport: str
    ui: str
    """The profile of who runs in the pane; empty: nobody known."""
    version: str
    pane: str
    by: str
    """`type`, a channel, or empty: no way."""
    why_not: tuple[str, ...]
    """The better ways, each with why not; or why there is none."""

    def as_json(self) -> dict[str, Any]:
        """As `--json` has it."""
        return self._asdict() | {"why_not": list(self.why_not)}


def of_command(agent: str, transport: str, command: Sequence[str]) -> Way:
    """The way that a `wake` with these arguments would take now."""
    from worker.doctor.panes import NamedPane  # noqa: PLC0415 - only for this
    from worker.terminal.catalogue import Catalogue  # noqa: PLC0415 - the same
    from worker.terminal.channels.names import TYPE, links  # noqa: PLC0415 - the same

    value = dict(pairwise(command))
    try:
        found = NamedPane.of(command, value["-t"]).examine(Catalogue.of(os.environ))
    except BusWatchError as why:
        return Way(agent, transport, "", "", "", "", (f"nobody to wake now: {why}",))
    who = found.profile.name if found.profile is not None else ""
    tried = links(who, value.get("--via", "auto"), value.get("--authority", "any"))
    second = (
        "its inbox has not the user's authority, so it is taken where nothing can be typed (--authority peer: first)"
    )
    passed: list[str] = [] if not who or found.channels else [WITHOUT.get(who, "it has no channel of its own")]
    if tried[:1] == [TYPE] and len(tried) > 1:
        passed.append(f"{who}: {found.channels.get(who) or second}")
    for link in tried:
        if link == TYPE or not found.channels.get(link, "-"):
            return Way(agent, transport, who, found.version, found.pane.id, link, tuple(passed))
        passed.append(f"{link}: {found.channels.get(link, 'it is another agent')}")
    return Way(agent, transport, who, found.version, found.pane.id, "", tuple(passed))


def of_all(settings: Settings) -> Iterator[Way]:
    """The ways of each agent's transports that are a `wake` on this host."""
    for agent in settings.agents:
        for transport in agent.transports:
            command = list(transport.command)
            if Path(command[0]).name == "wake" and "-t" in command[:-1] and not {"-H", "--host"} & set(command):
                yield of_command(agent.agent, transport.name, command)
