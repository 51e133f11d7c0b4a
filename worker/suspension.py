"""Whether this machine has slept: its connections are dead then, though nobody has told them."""

import time

from worker.steady_clock import steady

LEAST_SECONDS = 2.0


def slept_so_far() -> float:
    """Seconds, from some beginning on."""
    return steady() - time.monotonic()


class Suspension:
    """Tells once of each time that the machine slept."""

    def __init__(self) -> None:
        self._seen = slept_so_far()

    def is_over(self) -> bool:
        """Whether it has slept since this was last asked."""
        before, self._seen = self._seen, slept_so_far()
        return self._seen - before >= LEAST_SECONDS
