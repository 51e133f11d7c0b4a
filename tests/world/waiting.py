"""Waiting for what no event tells."""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 60.0  # seconds; much, for machines that are busy with other things
SOONEST, LATEST = 0.01, 0.25  # seconds until the next look

T = TypeVar("T")


def until(look: Callable[[], T], what: str, patience: float = PATIENCE) -> T:
    """Look until there is something true, and return it; AssertionError after `patience` seconds.

    A look that runs a command takes the CPU from what is waited for: the longer one takes, the rarer they are.
    """
    end = time.monotonic() + patience
    while True:
        begun = time.monotonic()
        if found := look():
            return found
        now = time.monotonic()
        assert now < end, f"waited {patience:g} s in vain for: {what}"
        time.sleep(min(LATEST, max(SOONEST, 3 * (now - begun))))
