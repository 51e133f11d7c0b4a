"""Whether the worker really works, by a pure rule; and the watchdog that is fed only while it does.

A bus that is dead, slow or refuses us is no reason to restart a worker: polls only have to be *attempted*. A poll
thread that hangs, a scheduler that stopped, a ledger that cannot be written are reasons.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from worker.runtime.sd_notify import Supervisor

logger = logging.getLogger("bus_watch.watchdog")

OK = "ok"
LOOK_SECONDS = 1.0
RECORD_AGAIN_SECONDS = 10.0  # after a health that could not be written down


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds of silence that are still healthy. All end within a minute, and one request may take 40 s."""

    sweep: float = 50.0
    poll: float = 50.0
    scheduler: float = 15.0


PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class Pulse:
    """Seconds since a sweep last went through, since the scheduler's last round, and how late each inbox's poll is.

    A poll is late by what has passed since it should have shown a sign of life: begun, made its next request, ended.
    """

    sweep: float
    scheduler: float
    polls: Mapping[str, float] = field(default_factory=dict)


def health(pulse: Pulse, patience: Patience) -> str:
    """`ok`, or a sentence about everything that is wrong."""
    wrong = []
    if pulse.scheduler > patience.scheduler:
        wrong.append(f"the scheduler has stood still for more than {patience.scheduler:.0f} s")
    if pulse.sweep > patience.sweep:
        wrong.append(f"no sweep has gone through for more than {patience.sweep:.0f} s")
    wrong += [
        f"the poll of {agent} has hung or failed by itself for more than {patience.poll:.0f} s"
        for agent, late in sorted(pulse.polls.items())
        if late > patience.poll
    ]
    return "; ".join(wrong) or OK


class Watchdog:
    """Looks at the pulse once a second, writes changes of health down, tells the supervisor.

    `record` writes the health where `status` finds it, and returns whether it could.
    """

    def __init__(
        self,
        pulse: Callable[[], Pulse],
        record: Callable[[str], bool],
        supervisor: Supervisor | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pulse = pulse
        self._record = record
        self._supervisor = supervisor or Supervisor()
        self._clock = clock
        self._look_at = 0.0
        self._record_at = 0.0
        self._feed_at = 0.0
        self._recorded = ""
        self._healthy = True

    def started(self) -> None:
        """The worker is ready."""
        self._supervisor.tell("READY=1", "STATUS=running")

    def look(self) -> None:
        """Called now and then by the main thread; does something once a second."""
        now = self._clock()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        found = health(self._pulse(), PATIENCE)
        self._say(found)
        if found != self._recorded and now >= self._record_at:
            if self._record(found):
                self._recorded = found
            else:
                self._record_at = now + RECORD_AGAIN_SECONDS

    def _say(self, found: str) -> None:
        now = self._clock()
        if found == OK:
            if not self._healthy:
                self._supervisor.tell("STATUS=running")
                logger.warning("the worker is healthy again")
            # Half the time that systemd grants (sd_watchdog_enabled(3)), and often enough for any.
            if now >= self._feed_at:
                self._feed_at = now + min((self._supervisor.watchdog_seconds or 20.0) / 3, 20.0)
                self._supervisor.tell("WATCHDOG=1")
        elif self._healthy:
            self._supervisor.tell(f"STATUS=unhealthy: {found}")
            logger.error("the worker is unhealthy, and its watchdog goes hungry: %s", found)
        self._healthy = found == OK

    def stopping(self) -> None:
        """The worker ends on purpose."""
        self._supervisor.tell("STOPPING=1", "STATUS=stopping")
