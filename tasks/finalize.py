"""The finalizer: once all transports of a message have reported, it is marked and logged."""

from worker.engine import endings, finishing
from worker.runtime.huey import Band, huey


@huey.task(priority=Band.UPKEEP)
def finalize() -> None:
    """Finish the messages that ended since the last finalizer; harmless if they are finished already."""
    huey.engine.stopping.wait(finishing.GATHER_SECONDS)
    for message in huey.finished.take():
        endings.finalize(huey.engine, message)
