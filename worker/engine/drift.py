"""What of an agent a transport could not explain, from what a send printed: how an agent's drift is noticed.

A UI that has changed shows screens that its profile finds no input box in, and its channel answers in another shape;
then messages are held back, or go another way, and only the transport knows why. Pure. What is taken from the output
is a profile's name and a version, never words of a screen.
"""

from typing import NamedTuple

from worker.terminal.said import Said, said

_LOADING = "still loading"  # it will explain itself
_HELD = frozenset({"deferred", "unproven"})
_MARKS = ("unknown", "not as measured")  # without these words there is nothing to read


class Unexplained(NamedTuple):
    """An agent's UI of which something is not as it was measured, e.g. `codex`, `0.172.0`; the version may be empty."""

    ui: str
    version: str
    channel: bool
    """Its channel, not its screen."""


def unexplained(output: str) -> list[Unexplained]:
    """What a transport's output says was not explained; as text or as `--json` has it."""
    if not output or not any(one in output for one in _MARKS) or (found := said(output)) is None:
        return []
    every = [Unexplained(found.agent, found.version, channel=False)] if found.agent and _is_unknown(found) else []
    if found.drifted:
        every.append(Unexplained(found.drifted, found.version, channel=True))
    return every


def _is_unknown(found: Said) -> bool:
    reason = found.reason
    unknown = reason.startswith("unknown: ") or "input box (unknown)" in reason
    return found.verdict in _HELD and unknown and _LOADING not in reason
