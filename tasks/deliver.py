"""One delivery: the task carries its id only; what it may do is decided by the claim in the ledger."""

from worker.runtime.huey import Band, huey


@huey.task(priority=Band.DELIVER)
def deliver(delivery: int) -> None:
    """Deliver one message by one transport. A retry is a new entry in huey's schedule, made by the settle."""
    huey.engine.dispatcher.deliver(delivery)
