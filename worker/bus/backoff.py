"""How long to leave the bus alone after a poll; pure."""

from random import Random

from worker.bus.errors import BusError

FIRST_DELAY = 0.5
LONGEST_DELAY = 5.0
SLOW_DELAY = 60.0
LONGEST_RETRY_AFTER = 900.0
"""Seconds. A bus that asks for more is asked again after this all the same."""


def poll_delay(error: BusError | None, failures: int, rng: Random) -> float:
    """Seconds to wait beyond the usual gap, after `failures` polls in a row that ended in an error.

    0 without an error. Else exponential with jitter and at most 5 s, so that recovery is quick once the bus
    is back. Only a 403 (60 s: somebody has to change a token) and what the bus asked for itself go beyond.
    """
    if error is None:
        return 0.0
    if error.slow:
        delay = SLOW_DELAY * rng.uniform(0.9, 1.1)
    else:
        steps = min(max(failures, 1) - 1, 16)
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0**steps) * rng.uniform(0.5, 1.0)
    if error.retry_after is not None:
        delay = max(delay, min(max(error.retry_after, 0.0), LONGEST_RETRY_AFTER))
    return delay
