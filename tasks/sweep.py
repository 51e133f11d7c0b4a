"""The sweep: a periodic task that makes the queue agree with the ledger."""

from datetime import datetime

from worker.engine import sweeping
from worker.queue import Band, huey


def _due(_now: datetime) -> bool:
    return huey.sweeps.take_due()


@huey.periodic_task(_due, priority=Band.UPKEEP)
def sweep() -> None:
    """One round; and now and then, what retention asks for."""
    well = False
    try:
        sweeping.sweep(huey.engine)
        well = True
        if huey.sweeps.retention_due():
            sweeping.retain(huey.engine)
    finally:
        huey.sweeps.done(well=well)
