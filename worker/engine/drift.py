"""Which screen a transport could not explain, from what `send-message` printed: how an agent's drift is noticed.

A UI that has changed shows screens that its profile finds no input box in; then every message is held back, and only
the transport knows why. Pure. What is taken from the output is a profile's name and a version, never words of a screen.
"""

import json
import re
from typing import NamedTuple

_LINE = re.compile(
    r"(?:deferred|unproven) [^()\n]*\((?P<ui>[\w.-]{1,40})(?: (?P<version>\w[\w.+-]{0,39}))?[^()\n]*\)[^:\n]*: "
)
_LOADING = "still loading"  # it will explain itself


class UnknownScreen(NamedTuple):
    """An agent's UI whose screen its profile does not explain, e.g. `codex`, `0.172.0`; the version may be unknown."""

    ui: str
    version: str


def unknown_screen(output: str) -> UnknownScreen | None:
    """The UI whose screen was unknown, from a transport's output, or None; as text or as `--json` has it."""
    last = next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "")
    if last.startswith("{"):
        return _of_json(last)
    found = _LINE.match(last)
    if found is None or not _is_unknown(last[found.end() :]):
        return None
    return UnknownScreen(found["ui"], found["version"] or "")


def _of_json(line: str) -> UnknownScreen | None:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    ui, version, reason = (said.get(key) for key in ("agent", "version", "reason"))
    if not (isinstance(ui, str) and re.fullmatch(r"[\w.-]{1,40}", ui) and isinstance(reason, str)):
        return None
    known = isinstance(version, str) and re.fullmatch(r"\w[\w.+-]{0,39}", version) is not None
    return UnknownScreen(ui, version if known else "") if _is_unknown(reason) else None


def _is_unknown(reason: str) -> bool:
    return (reason.startswith("unknown: ") or "input box (unknown)" in reason) and _LOADING not in reason
