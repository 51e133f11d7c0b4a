"""One inbox's rhythm and budget, in the memory of the worker that polls it; pure but for the clock that it is told.

The ledger hears of it only where another worker, or a restart, has to know: see `worker.ledger.leases`.
"""

from dataclasses import dataclass

from worker.ledger.intake import CLOCK_SLACK, LONGEST_WAIT

ACTIVE_SECONDS = 15.0  # after a message came, poll as fast as the budget allows for this long


@dataclass(slots=True)
class Pace:
    """Times are epoch seconds by our clock, which may jump: what it makes impossible says nothing any more."""

    next_poll_at: float = 0.0
    next_request_at: float = 0.0
    set_at: float = 0.0  # when either of them was
    leased_at: float = 0.0  # since when the inbox is this worker's
    brought_at: float | None = None  # the last poll that brought something
    polled_at: float | None = None  # the last one that the bus answered
    failures: int = 0  # polls in a row that it did not

    @property
    def is_new(self) -> bool:
        """Whether no poll has ended yet: the first may hurry as one that was rung for."""
        return self.polled_at is None and self.next_poll_at <= 0.0

    def forget_stale(self, now: float) -> None:
        """Our clock was set back since, or they are further ahead than anything is: they must not silence the inbox."""
        if self.set_at > now + CLOCK_SLACK or max(self.next_poll_at, self.next_request_at) > now + LONGEST_WAIT:
            self.next_poll_at = self.next_request_at = 0.0

    def due(self) -> float:
        """When the next poll is.

        Not before its token's next request slot: a poll that waits for one would let no ring go ahead of it.
        """
        return max(self.next_poll_at, self.next_request_at)

    def heed(self, next_request_at: float, next_poll_at: float = 0.0) -> None:
        """What another process has booked, or was told by the bus."""
        self.next_request_at = max(self.next_request_at, next_request_at)
        self.next_poll_at = max(self.next_poll_at, next_poll_at)

    def book(self, now: float, gap: float, ahead: float) -> float:
        """Take the next request slot; in how many seconds the request may go, which is at most `ahead` before its slot.

        Slots are `gap` apart, and those after a hurried one pay the time back: in any minute there are at most
        `(60 + ahead) / gap` and one.
        """
        self.forget_stale(now)
        slot = max(now, self.next_request_at)
        self.next_request_at, self.set_at = slot + gap, now
        return max(0.0, slot - ahead - now)

    def answered(self, now: float, *, brought: bool, gap: float, active_gap: float) -> None:
        """The bus answered; the next poll is `active_gap` from now while there is activity, else `gap`."""
        self.failures = 0
        self.polled_at = now
        if brought:
            self.brought_at = now
        active = self.brought_at is not None and 0.0 <= now - self.brought_at <= ACTIVE_SECONDS
        self.next_poll_at, self.set_at = now + (active_gap if active else gap), now

    def failed(self, now: float, delay: float) -> None:
        """It did not, and is left alone for `delay` seconds."""
        self.failures += 1
        self.next_poll_at, self.set_at = now + delay, now
