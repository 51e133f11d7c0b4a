"""A clock that nobody sets, and that goes on while the machine sleeps; the same in all processes of one boot.

The launcher imports this, so it imports next to nothing.
"""

import time

# `time.monotonic` stands still in sleep on Linux (clock_gettime(2)), and on macOS, where CLOCK_MONOTONIC_RAW goes on
# (clock_gettime(3) of macOS 10.12).
_GOES_ON = getattr(time, "CLOCK_BOOTTIME", None) or time.CLOCK_MONOTONIC_RAW


def steady() -> float:
    """Seconds since some moment of this boot."""
    return time.clock_gettime(_GOES_ON)
