"""The poll: a periodic task that sends each inbox that is due to a worker of its own."""

import logging
from datetime import datetime

from worker.engine import polling
from worker.errors import BusWatchError
from worker.runtime.huey import Band, huey

logger = logging.getLogger("bus_watch.poll")


def _anything_due(_now: datetime) -> bool:
    return huey.polls.anything()


@huey.periodic_task(_anything_due, priority=Band.UPKEEP)
def poll() -> None:
    """Enqueue a poll of each inbox that is due."""
    enqueue_due()


def enqueue_due() -> None:
    """Enqueue a poll of each inbox that is due; the doorbell calls this too."""
    for agent in huey.polls.take():
        if not huey.try_enqueue(poll_inbox.s(agent)):
            huey.polls.missed(agent)


@huey.task(priority=Band.POLL)
def poll_inbox(agent: str) -> None:
    """Poll one inbox; its messages are in the ledger before their deliveries are enqueued."""
    engine, polls = huey.engine, huey.polls
    seconds, well = polling.FALLBACK_SECONDS, False
    try:
        _, due = engine.poller.poll(agent, rung=polls.begin(agent), alive=lambda wait: polls.alive(agent, wait))
        seconds, well = due - engine.clock(), True
    except BusWatchError as error:  # the ledger cannot be used now; a failing bus is no exception
        logger.error("%s was not polled: %s", agent, error)  # noqa: TRY400 - our sentence says it all
        engine.observer.trouble(error)
    finally:
        polls.done(agent, min(max(0.0, seconds), polling.LONGEST_SECONDS), well=well)
