"""The poll: a periodic task that sends each inbox that is due to a worker of its own."""

import logging
from collections.abc import Callable
from datetime import datetime

from worker.engine import polling
from worker.engine.polling import Poller
from worker.errors import BusWatchError
from worker.runtime.due import PollsDue
from worker.runtime.huey import Band, WatchHuey
from worker.telemetry.observer import Observer

logger = logging.getLogger("bus_watch.poll")


def register(
    huey: WatchHuey, polls: PollsDue, poller: Poller, observer: Observer, hurry: Callable[[], None]
) -> Callable[[], None]:
    """Make huey's tasks of it; `hurry` asks for a sweep.

    Returns what enqueues a poll of each inbox that is due, for the doorbell.
    """

    def enqueue_due() -> None:
        for agent in polls.take():
            if not huey.try_enqueue(poll_inbox.s(agent)):
                polls.missed(agent)

    def anything_due(_now: datetime) -> bool:
        return polls.anything()

    @huey.periodic_task(anything_due, priority=Band.UPKEEP)
    def poll() -> None:
        """Enqueue a poll of each inbox that is due."""
        enqueue_due()

    @huey.task(priority=Band.POLL)
    def poll_inbox(agent: str) -> None:
        """Poll one inbox; its messages are in the ledger before their deliveries are enqueued."""
        seconds, well = polling.FALLBACK_SECONDS, False
        try:
            taken, due = poller.poll(agent, rung=polls.begin(agent), alive=lambda wait: polls.alive(agent, wait))
            seconds, well = due - poller.clock(), True
            if taken is not None and taken.logged:
                hurry()  # another worker may have told us something, or want to be told
        except BusWatchError as error:  # the ledger cannot be used now; a failing bus is no exception
            logger.error("%s was not polled: %s", agent, error)  # noqa: TRY400 - our sentence says it all
            observer.trouble(error)
        finally:
            polls.done(agent, min(max(0.0, seconds), polling.LONGEST_SECONDS), well=well)

    return enqueue_due
