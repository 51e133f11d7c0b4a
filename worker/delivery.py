"""The rules of delivery, pure: states, what an ending means, backoff, what a lane's head may do. See docs/states.md.

Nothing here reads a clock, a file or a database; times are epoch seconds given by the caller.
"""

import math
import random
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

from worker.classes import DEFAULT_CLASS, LOGGED_CLASS


class State(StrEnum):
    """The states of a delivery."""

    WAITING = "waiting"
    RUNNING = "running"
    RETRYING = "retrying"
    HELD = "held"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"


class MessageState(StrEnum):
    """The states of a message: `open` until all of its deliveries are final."""

    OPEN = "open"
    DELIVERED = "delivered"  # every transport exited 0
    FAILED = "failed"  # at least one delivery is dead or cancelled
    LOGGED = "logged"  # its class is routed to no transport: recorded, and nobody woken


FINAL = frozenset({State.SUCCEEDED, State.DEAD, State.CANCELLED})

EX_UNAVAILABLE = 69
EX_TEMPFAIL = 75
EX_PROTOCOL = 76
PERMANENT_EXIT_CODES = (64, 65, 66, 77, 78)  # sysexits.h: usage, data, input, permission, config

MAX_VOIDS = 5
TEMPFAIL_MIN_DELAY = 5.0
TEMPFAIL_MAX_DELAY = 60.0
NOT_STARTED_DELAY = 5.0

OnUnknown = Literal["redeliver", "hold"]


class Meaning(StrEnum):
    """What the ending of an attempt means for its delivery."""

    SUCCESS = "success"
    PERMANENT = "permanent"
    FREE = "free"  # transient, and no attempt is used up
    TRANSIENT = "transient"
    UNKNOWN = "unknown"
    VOID = "void"  # it never started, and never will
    NOT_STARTED = "not_started"  # this host could not start it now (disk full): wait, nothing is used up


EndingKind = Literal["exit", "signal", "timeout", "spawn_error", "interrupted", "void", "not_started", "refused"]


class Ending(NamedTuple):
    """How an attempt ended. `code` is the exit status, signal number or errno; `detail` is for people."""

    kind: EndingKind
    code: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The part of a transport's settings that decides what follows an ending. Times in seconds."""

    max_attempts: int = 20
    retry_delay: float = 2.0
    retry_max_delay: float = 300.0
    on_unknown: OnUnknown = "redeliver"
    permanent_exit_codes: Collection[int] = PERMANENT_EXIT_CODES
    give_up_after: float = 5 * 86400.0
    expires_after: float | None = None


class Counters(NamedTuple):
    """What a delivery has been through: `burnt` counts towards `max_attempts`, `frees` and `voids` do not."""

    burnt: int = 0
    frees: int = 0
    voids: int = 0
    first_seen: float = 0.0  # when the message came to the ledger, or a person last asked for it again


class Decision(NamedTuple):
    """What becomes of a delivery after an ending."""

    state: State
    counters: Counters
    next_at: float | None  # set for RETRYING, and for a WAITING that is not due at once
    reason: str


def meaning(ending: Ending, policy: RetryPolicy) -> Meaning:
    """Class of an ending, by docs/states.md#what-an-ending-means. A success is exit 0 alone, whatever was printed."""
    match ending.kind:
        case "void":
            return Meaning.VOID
        case "not_started":
            return Meaning.NOT_STARTED
        case "refused":
            return Meaning.PERMANENT
        case "timeout" | "interrupted":
            return Meaning.UNKNOWN
        case "signal" | "spawn_error":
            return Meaning.TRANSIENT
    if ending.code == 0:
        return Meaning.SUCCESS
    if ending.code in policy.permanent_exit_codes:
        return Meaning.PERMANENT
    if ending.code in {EX_UNAVAILABLE, EX_TEMPFAIL}:
        return Meaning.FREE
    if ending.code == EX_PROTOCOL:
        return Meaning.UNKNOWN
    return Meaning.TRANSIENT


def is_failure(ending: Ending) -> bool:
    """Whether the transport failed: neither a success nor deferred (75), and it was at least tried."""
    return ending.kind != "void" and not (ending.kind == "exit" and ending.code in {0, EX_TEMPFAIL})


_HEADS: dict[EndingKind, str] = {
    "exit": "exit {}",
    "signal": "killed by signal {}",
    "timeout": "timed out and was killed",
    "spawn_error": "could not be started",
    "interrupted": "interrupted: nobody knows how it ended",
    "void": "never started",
    "not_started": "this host could not start it",
    "refused": "cannot be delivered",
}


def describe(ending: Ending) -> str:
    """One line for people: `exit 1: can't find pane`."""
    head = _HEADS[ending.kind].format(ending.code)
    return f"{head}: {ending.detail}" if ending.detail else head


def backoff(failures: int, policy: RetryPolicy, rng: random.Random) -> float:
    """Seconds until the next attempt after `failures` (>= 1) of them.

    Capped exponential with equal jitter: between half and all of `retry_delay * 2**(failures-1)`, at most
    `retry_max_delay`. The jitter keeps forty lanes that failed together from returning together.
    """
    exponent = min(failures - 1, 62)  # 2.0**62 is far above any cap, and cannot overflow
    ceiling = min(policy.retry_max_delay, policy.retry_delay * 2.0**exponent)
    return ceiling * (0.5 + 0.5 * rng.random())


def expires_at(first_seen: float, expires_after: float | None) -> float:
    """When a delivery is too old to be begun, whatever was tried before: epoch seconds, infinity where it never is."""
    return math.inf if expires_after is None else first_seen + expires_after


def longest_delay(policy: RetryPolicy) -> float:
    """No `next_at` is ever further away than this; a further one means that the clock jumped."""
    return max(policy.retry_max_delay, policy.retry_delay, TEMPFAIL_MAX_DELAY)


def decide(
    ending: Ending,
    counters: Counters,
    policy: RetryPolicy,
    *,
    now: float,
    cancelled: bool,
    rng: random.Random,
) -> Decision:
    """Decide what a running delivery becomes, by docs/states.md#what-an-ending-means."""
    what = meaning(ending, policy)
    text = describe(ending)
    if what is Meaning.SUCCESS:
        return Decision(State.SUCCEEDED, counters, None, "")
    if cancelled:
        return Decision(State.CANCELLED, counters, None, f"dropped by a person while it ran; {text}")
    if what is Meaning.PERMANENT:
        return Decision(State.DEAD, counters, None, text)
    if now - counters.first_seen >= policy.give_up_after:
        days = policy.give_up_after / 86400
        return Decision(State.DEAD, counters, None, f"given up after {days:g} days; last: {text}")
    if what is Meaning.VOID:
        return _void(counters, text)
    if what in {Meaning.FREE, Meaning.NOT_STARTED}:
        return _free(what, ending, counters, policy, now=now, rng=rng, text=text)
    burnt = Counters(counters.burnt + 1, 0, counters.voids, counters.first_seen)
    if what is Meaning.UNKNOWN and policy.on_unknown == "hold":
        return Decision(State.HELD, burnt, None, f"{text}; retry it or drop it")
    if burnt.burnt >= policy.max_attempts:
        return Decision(State.DEAD, burnt, None, f"{burnt.burnt} attempts failed; last: {text}")
    return Decision(State.RETRYING, burnt, now + backoff(burnt.burnt, policy, rng), text)


def _void(counters: Counters, text: str) -> Decision:
    voids = Counters(counters.burnt, counters.frees, counters.voids + 1, counters.first_seen)
    if voids.voids >= MAX_VOIDS:
        return Decision(State.DEAD, voids, None, f"{voids.voids} claims in a row came to nothing; {text}")
    return Decision(State.WAITING, voids, None, text)


def _free(
    what: Meaning,
    ending: Ending,
    counters: Counters,
    policy: RetryPolicy,
    *,
    now: float,
    rng: random.Random,
    text: str,
) -> Decision:
    after = Counters(counters.burnt, counters.frees + 1, counters.voids, counters.first_seen)
    if what is Meaning.NOT_STARTED:
        delay = NOT_STARTED_DELAY
    elif ending.code == EX_TEMPFAIL:
        # Deferred by a person or a busy agent: worth an early look, but not a storm of them.
        delay = min(TEMPFAIL_MAX_DELAY, TEMPFAIL_MIN_DELAY * 2.0 ** min(after.frees - 1, 8))
    else:
        delay = backoff(after.frees, policy, rng)
    return Decision(State.RETRYING, after, now + delay, text)


def message_outcome(states: Collection[str]) -> MessageState:
    """The state of a message whose deliveries have these states; OPEN while one is not final."""
    if not FINAL.issuperset(states):
        return MessageState.OPEN
    if not states:
        return MessageState.LOGGED
    return MessageState.DELIVERED if set(states) == {State.SUCCEEDED} else MessageState.FAILED


def routes(message_class: str | None, transport_classes: Collection[str] | None) -> bool:
    """Whether a message of this class goes to a transport with these classes (None: all but the log)."""
    actual = message_class or DEFAULT_CLASS
    if transport_classes is None:
        return actual != LOGGED_CLASS
    return actual in transport_classes
