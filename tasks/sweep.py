"""The sweep: a periodic task that makes the queue agree with the ledger."""

import logging
from datetime import datetime

from worker.engine.retention import retain
from worker.errors import BusWatchError
from worker.runtime.huey import Band, huey

logger = logging.getLogger("bus_watch.sweep")


def _due(_now: datetime) -> bool:
    return huey.sweeps.take()


@huey.periodic_task(_due, priority=Band.UPKEEP)
def sweep() -> None:
    """One round; and now and then, what retention asks for."""
    huey.sweeps.begin()
    well = False
    try:
        huey.engine.sweeper.sweep()
        well = True
        if huey.sweeps.retention_due():
            huey.sweeps.retained(more=retain(huey.engine.db, huey.engine.settings, huey.engine.clock()).more)
    except BusWatchError as error:  # the ledger cannot be used now; the next round tries again
        logger.error("the sweep is not finished: %s", error)  # noqa: TRY400 - our sentence says it all
        huey.engine.observer.trouble(error)
    finally:
        huey.sweeps.done(well=well)
