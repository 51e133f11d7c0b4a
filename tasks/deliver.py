"""One delivery: the task carries its id only; what it may do is decided by the claim in the ledger."""

from typing import Any

from worker.engine.dispatch import Dispatcher
from worker.runtime.huey import Band, WatchHuey


def register(huey: WatchHuey, dispatcher: Dispatcher) -> Any:
    """Make huey's task of it."""

    @huey.task(priority=Band.DELIVER)
    def deliver(delivery: int) -> None:
        """Deliver one message by one transport. A retry is a new entry in huey's schedule, made by the settle."""
        dispatcher.deliver(delivery)

    return deliver
