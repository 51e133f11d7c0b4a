"""Whether this machine has slept: its connections are dead then, though nobody has told them."""

import time

LEAST_SECONDS = 2.0

# What goes on while the machine sleeps, minus what does not: `time.monotonic` stands still on Linux (clock_gettime(2))
# and on macOS, where CLOCK_MONOTONIC_RAW goes on (clock_gettime(3) of macOS 10.12).
_GOES_ON = getattr(time, "CLOCK_BOOTTIME", None) or time.CLOCK_MONOTONIC_RAW


def slept_so_far() -> float:
    """Seconds, from some beginning on."""
    return time.clock_gettime(_GOES_ON) - time.monotonic()


class Suspension:
    """Tells once of each time that the machine slept."""

    def __init__(self) -> None:
        self._seen = slept_so_far()

    def is_over(self) -> bool:
        """Whether it has slept since this was last asked."""
        before, self._seen = self._seen, slept_so_far()
        return self._seen - before >= LEAST_SECONDS
