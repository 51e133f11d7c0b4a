"""When an inbox is looked through from its beginning again, and not only from the newest known message on.

Ids are times, and clocks disagree: a bus whose clock was set back, or that lost its data, gives a new message an id
that lies among those long known. An ordinary poll asks only for what comes after those.
"""

from worker.bus.page import Id
from worker.ledger.history import OVERLAP_MS

STEP_SECONDS = 2.0  # whole seconds of a Date, and the way of an answer, differ by less
SHORTEST_SECONDS, LONGEST_SECONDS = 30.0, 600.0
HURRIED_SECONDS = 2.0
BYTES_A_SECOND = 50_000  # what looking back may cost, on the whole
SMALL_BYTES = 1024 * 1024  # an inbox of this size is looked through from its very first entry


class LookBack:
    """One inbox's, in one process. Times are monotonic seconds; due at once, since a process knows nothing."""

    def __init__(self) -> None:
        self._due = 0.0
        self._not_before = 0.0
        self._bus_offset: float | None = None
        self._small = False
        self._gap = SHORTEST_SECONDS
        self._rung_due = float("inf")  # when it is due because the bus rang
        self._at_once = True  # whether the bus's word is worth more than the cost

    def is_due(self, now: float) -> bool:
        """Whether the next poll is to look back."""
        return now >= self._due

    def start(self, floor_ms: int) -> Id:
        """From where: a little before the floor at the latest, since the bus's clock is known to a second only."""
        return (0, 0) if self._small else (max(0, floor_ms - OVERLAP_MS), 0)

    def hurry(self, now: float) -> None:
        """There may be something that ordinary polls do not see."""
        self._gap = SHORTEST_SECONDS
        self._due = min(self._due, max(now, self._not_before))

    def rang(self, now: float, *, brought: bool) -> None:
        """The bus rang, and the poll `brought` something, which may not be all; or nothing, and something is there."""
        if brought:
            self._rung_due = max(now + SHORTEST_SECONDS, self._not_before)
            self._due = min(self._due, self._rung_due)
        else:
            self.hurry(now)
            self._rung_due = self._due

    def may_begin_at_once(self) -> bool:
        """Whether a ring for nothing is worth looking back now, whatever that costs: not if the last one lied."""
        may, self._at_once = self._at_once, False
        return may

    def rung_in(self, now: float) -> float:
        """In how many seconds a ring wants it; endless where none does."""
        return self._rung_due - now

    def bus_says(self, bus_time: float, now: float) -> None:
        """What time it is on the bus (epoch seconds). A clock that was set back is a reason to hurry."""
        offset = bus_time - now
        if self._bus_offset is not None and offset < self._bus_offset - STEP_SECONDS:
            self.hurry(now)
        self._bus_offset = offset

    def done(self, size: int, now: float, *, found: bool) -> None:
        """It was, and took an answer of so many bytes. Where it `found` nothing, the next one may come later."""
        self._rung_due = float("inf")
        self._at_once = self._at_once or found
        self._small = size <= SMALL_BYTES
        cost = size / BYTES_A_SECOND
        self._not_before = now + max(HURRIED_SECONDS, min(cost, LONGEST_SECONDS))
        self._due = now + min(max(cost, self._gap), LONGEST_SECONDS)
        self._gap = SHORTEST_SECONDS if found else min(2 * self._gap, LONGEST_SECONDS)
