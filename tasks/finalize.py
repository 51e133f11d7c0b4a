"""The finalizer: once all transports of a message have reported, it is marked and logged."""

from worker.engine import delivering
from worker.queue import Band, huey


@huey.task(priority=Band.UPKEEP)
def finalize(message: int) -> None:
    """Finish one message; harmless if it is finished already."""
    delivering.finalize(huey.engine, message)
