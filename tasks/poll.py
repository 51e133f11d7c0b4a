"""The poll: a periodic task that sends each inbox that is due to a thread of its own.

That thread is no consumer of the queue: what huey does around a task costs as much as a poll that brings nothing.
"""

import logging
from collections.abc import Callable
from datetime import datetime

from worker.engine import polling
from worker.engine.polling import Poller
from worker.errors import BusWatchError, level_of
from worker.runtime.due import PollsDue
from worker.runtime.huey import Band, WatchHuey
from worker.telemetry.observer import Observer

logger = logging.getLogger("bus_watch.poll")


def register(
    huey: WatchHuey, polls: PollsDue, poller: Poller, observer: Observer, hurry: Callable[[], None]
) -> Callable[[], None]:
    """Make huey's tasks of it; `hurry` asks for a sweep.

    Returns what has each inbox polled that is due, before those that wait for a thread: for the doorbell.
    """

    def hand_out(*, first: bool = True) -> None:
        huey.polls_to_make.put(polls.take(), first=first)

    def anything_due(_now: datetime) -> bool:
        return polls.anything()

    @huey.periodic_task(anything_due, priority=Band.UPKEEP)
    def poll() -> None:
        """Hand out each inbox that is due."""
        hand_out(first=False)

    @huey.task(priority=Band.UPKEEP)
    def poll_inbox(agent: str) -> None:
        """Poll one inbox; its messages are in the ledger before their deliveries are enqueued.

        A task only because older versions have stored such.
        """
        seconds, well = polling.FALLBACK_SECONDS, False
        try:
            taken, due = poller.poll(agent, rung=polls.begin(agent), alive=lambda wait: polls.alive(agent, wait))
            seconds, well = due - poller.clock(), True
            if taken is not None and taken.logged:
                hurry()  # another worker may have told us something, or want to be told
        except BusWatchError as error:  # the ledger cannot be used now; a failing bus is no exception
            logger.log(level_of(error), "%s was not polled: %s", agent, error)
            observer.trouble(error)
        except Exception as error:
            logger.exception("the poll of %s failed", agent)
            observer.crashed(error)
        finally:
            polls.done(agent, min(max(0.0, seconds), polling.LONGEST_SECONDS), well=well)

    huey.poll_inbox = poll_inbox.call_local
    return hand_out
