"""What an agent's own messages can be, and what becomes of one after a try to send it. Pure: no clock, no file.

`docs/states.md#a-message-that-an-agent-sends` has it in words.
"""

import random
from enum import StrEnum
from typing import NamedTuple

from worker.delivery import OnUnknown, RetryPolicy, backoff

GIVE_UP_SECONDS = 5 * 86400.0
MOST_UNKNOWN = 20  # a bus whose every answer is lost may have taken each of them
NO_SUCH_AGENT = "no such agent"
"""The remark on a message whose recipient the bus does not know."""
_PAUSES = RetryPolicy()


class Kind(StrEnum):
    """What a message of the outbox is for."""

    MESSAGE = "message"
    PROBE = "probe"
    """Of `test-send`: tried at once, and never kept for later."""
    REPORT = "report"
    """Tells a sender what became of its message."""
    RECEIPT = "receipt"
    """Asks for a report once the message before it has been submitted."""


class Sending(StrEnum):
    """The states of a message in the outbox."""

    WAITING = "waiting"
    SENDING = "sending"
    RETRYING = "retrying"
    HELD = "held"
    SENT = "sent"
    DEAD = "dead"
    CANCELLED = "cancelled"


PENDING = (Sending.WAITING, Sending.SENDING, Sending.RETRYING)


class Try(StrEnum):
    """How a try to send ended."""

    SENT = "sent"
    NOT_SENT = "not sent"
    """The bus does not have it, and may take it later."""
    BRAKED = "braked"
    """It was not tried: the two have written to each other too often."""
    REFUSED = "refused"
    """The bus will never take it."""
    UNKNOWN = "unknown"
    """The answer was lost."""


class Counts(NamedTuple):
    """What a message has been through; `age` in seconds since it was written."""

    failures: int
    unknown: int
    age: float


class Next(NamedTuple):
    """What becomes of it; `delay` in seconds, for RETRYING."""

    state: Sending
    counts: Counts
    reason: str
    delay: float = 0.0


def after(
    ended: Try, counts: Counts, why: str, *, kind: str, on_unknown: OnUnknown, pause: float, rng: random.Random
) -> Next:
    """What becomes of a message; `pause`: how long the bus is to be left alone where it did not take it."""
    failures, unknown, age = counts
    if ended is Try.SENT:
        return Next(Sending.SENT, counts, "")
    if ended is Try.REFUSED:
        return Next(Sending.DEAD, counts, why)
    if ended is Try.BRAKED:
        return Next(Sending.HELD, counts, why)
    if ended is Try.UNKNOWN:
        counts = Counts(0, unknown + 1, age)
        if kind == Kind.PROBE:
            return Next(Sending.DEAD, counts, f"the answer was lost: {why}")
        if on_unknown == "hold":
            return Next(Sending.HELD, counts, f"nobody knows whether the bus has it: {why}; retry it or drop it")
        if counts.unknown >= MOST_UNKNOWN:
            return Next(Sending.DEAD, counts, f"{counts.unknown} answers were lost; last: {why}")
        return _retry(counts, f"the answer was lost: {why}", max(pause, backoff(counts.unknown, _PAUSES, rng)))
    counts = Counts(failures + 1, unknown, age)
    if kind == Kind.PROBE:
        return Next(Sending.DEAD, counts, why)
    return _retry(counts, why, pause)


def _retry(counts: Counts, why: str, delay: float) -> Next:
    if counts.age >= GIVE_UP_SECONDS:
        return Next(Sending.DEAD, counts, f"given up after {GIVE_UP_SECONDS / 86400:g} days; last: {why}")
    return Next(Sending.RETRYING, counts, why, delay)


def key_of(number: int) -> str:
    """The key by which people and scripts name a message of the outbox: `out-17`."""
    return f"out-{number}"


def number_of(key: str) -> int | None:
    """The number in such a key; None for a key that is another's."""
    digits = key.removeprefix("out-")
    return int(digits) if digits != key and digits.isascii() and digits.isdigit() and len(digits) < 19 else None
