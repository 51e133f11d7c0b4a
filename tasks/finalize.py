"""The finalizer: once all transports of a message have reported, it is marked and logged."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from worker.runtime.due import FinalizerDue
from worker.runtime.huey import Band, WatchHuey

GATHER_SECONDS = 0.1  # how long a finalizer waits for company


def register(
    huey: WatchHuey, finalizer: FinalizerDue, close: Callable[[Sequence[int]], object], stopping: threading.Event
) -> Any:
    """Make huey's task of it; `close` finishes messages."""

    @huey.task(priority=Band.UPKEEP)
    def finalize() -> None:
        """Finish the messages that ended since the last finalizer; harmless if they are finished already."""
        stopping.wait(GATHER_SECONDS)
        close(finalizer.take())

    return finalize
