"""Times as people say them, and as JSON has them."""

import time
from datetime import UTC, datetime


def span(seconds: float) -> str:
    """A duration as people say it: `42 s`, `7 min`, `3 h 20 min`, `5 d`."""
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 36 * 3600:
        hours, minutes = divmod(round(seconds / 60), 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{seconds / 86400:.0f} d"


def ago(when: float | None, now: float | None = None) -> str:
    """A moment as people say it: `never`, `3 s ago`, `in 42 s`."""
    if when is None:
        return "never"
    passed = (time.time() if now is None else now) - when
    return f"{span(passed)} ago" if passed >= 0 else f"in {span(-passed)}"


def stamp(when: float | None) -> str | None:
    """A moment for JSON and logs: ISO 8601 in UTC, or null."""
    return None if when is None else datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds")


def minute(when: float) -> str:
    """A moment for a sentence: `2026-11-27 07:05 UTC`."""
    return f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d %H:%M} UTC"


def seconds(stamped: str) -> float:
    """Epoch seconds of what `stamp` wrote."""
    return datetime.fromisoformat(stamped).timestamp()
