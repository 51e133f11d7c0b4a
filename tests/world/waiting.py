"""Waiting for what no event tells."""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 60.0  # seconds; much, for machines that are busy with other things

T = TypeVar("T")


def until(look: Callable[[], T], what: str, patience: float = PATIENCE) -> T:
    """Look until there is something true, and return it; AssertionError after `patience` seconds."""
    end = time.monotonic() + patience
    while not (found := look()):
        assert time.monotonic() < end, f"waited {patience:g} s in vain for: {what}"
        time.sleep(0.02)
    return found
