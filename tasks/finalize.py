"""The finalizer: once all transports of a message have reported, it is marked and logged."""

from worker.engine.finalizing import finalize as close
from worker.runtime.huey import Band, huey

GATHER_SECONDS = 0.02  # how long a finalizer waits for company


@huey.task(priority=Band.UPKEEP)
def finalize() -> None:
    """Finish the messages that ended since the last finalizer; harmless if they are finished already."""
    huey.engine.stopping.wait(GATHER_SECONDS)
    for message in huey.finished.take():
        close(huey.engine.db, message, huey.engine.clock())
