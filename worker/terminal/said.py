"""What a send has said of itself, read back from its output: the other end of `command.report`. Pure.

The output is a transport's, so it may be anything; nothing but names, a version and a proof is taken out of it.
"""

import json
import re
from typing import NamedTuple

from worker.terminal.channels.names import NOT_MEASURED, TYPE

_NAME = r"[\w.-]{1,40}"
_VERSION = r"\w[\w.+-]{0,39}"
_LINE = re.compile(
    r"(?P<verdict>submitted|queued|deferred|unproven|gone|refused)(?: %\d+)?(?: on [^\s()]{1,255})?"
    rf"(?: \((?P<agent>{_NAME})(?: (?P<version>{_VERSION}))?[^()\n]*\))?(?: via (?P<channel>{_NAME}))?: (?P<rest>.*)"
)
_PROOF = re.compile(r" \[([^\[\]]{1,300})\]$")
_NOT = re.compile(rf" \(not {_NAME}: ")
_DRIFTED = re.compile(rf"\bnot ({_NAME}): {re.escape(NOT_MEASURED)}")
_LONGEST = 300  # characters of a proof


class Said(NamedTuple):
    """One report; what it did not say is empty."""

    verdict: str
    reason: str
    agent: str
    version: str
    channel: str
    """`type`, or a channel of the agent's own."""
    proof: str
    drifted: str
    """The channel that was not as it was measured."""


def said(output: str) -> Said | None:
    """The report in the last line of `output`, as text or as `--json` has it; None: there is none."""
    last = next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "")
    if last.startswith("{"):
        return _of_json(last)
    found = _LINE.match(last)
    if found is None:
        return None
    rest = found["rest"]
    passed = rest[start.start() :] if (start := _NOT.search(rest)) else ""
    rest = rest.removesuffix(passed)
    drifted = _DRIFTED.search(passed)
    proof = _PROOF.search(rest)
    reason = rest[: proof.start()] if proof else rest
    agent, version, channel = (found[name] or "" for name in ("agent", "version", "channel"))
    return Said(
        found["verdict"],
        reason,
        agent,
        version,
        channel or TYPE,
        proof[1] if proof else "",
        drifted[1] if drifted else "",
    )


def _of_json(line: str) -> Said | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    verdict, reason, agent = (found.get(key) for key in ("verdict", "reason", "agent"))
    if not (isinstance(verdict, str) and isinstance(reason, str) and _is(_NAME, agent, empty=True)):
        return None
    version, channel, proof, passed = (found.get(key) for key in ("version", "channel", "proof", "passed"))
    drifted = [
        one.partition(":")[0]
        for one in (passed if isinstance(passed, list) else [])
        if isinstance(one, str) and _is(rf"{_NAME}: {re.escape(NOT_MEASURED)}.*", one)
    ]
    return Said(
        verdict,
        reason,
        str(agent),
        str(version) if _is(_VERSION, version) else "",
        str(channel) if _is(_NAME, channel) else TYPE,
        proof[:_LONGEST] if isinstance(proof, str) else "",
        drifted[0] if drifted else "",
    )


def _is(pattern: str, value: object, *, empty: bool = False) -> bool:
    return isinstance(value, str) and ((empty and not value) or re.fullmatch(pattern, value, re.DOTALL) is not None)
