"""The sweep: a periodic task that makes the queue agree with the ledger."""

import logging
from collections.abc import Callable
from datetime import datetime

from worker.engine.retention import Retained
from worker.engine.sweeping import Sweeper
from worker.errors import BusWatchError, level_of
from worker.runtime.due import SweepDue
from worker.runtime.huey import Band, WatchHuey
from worker.telemetry.observer import Observer

logger = logging.getLogger("bus_watch.sweep")


def register(
    huey: WatchHuey, sweeps: SweepDue, sweeper: Sweeper, retain: Callable[[], Retained], observer: Observer
) -> None:
    """Make huey's task of it; `retain` makes one round of retention."""

    def due(_now: datetime) -> bool:
        return sweeps.take()

    @huey.periodic_task(due, priority=Band.UPKEEP)
    def sweep() -> None:
        """One round; and now and then, what retention asks for."""
        asked = sweeps.begin()
        well = False
        try:
            sweeper.sweep(asked=asked)
            well = True
            if sweeps.retention_due():
                sweeps.retained(more=retain().more)
        except BusWatchError as error:  # the ledger cannot be used now; the next round tries again
            logger.log(level_of(error), "the sweep is not finished: %s", error)
            observer.trouble(error)
        finally:
            sweeps.done(well=well)
