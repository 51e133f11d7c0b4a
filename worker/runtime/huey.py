"""The queue: huey, made into what a wake-up list should be: docs/protocol.md#the-one-rule.

What is changed, and why (huey 3.5.4; `huey_consumer` and its flags stay as huey documents them):
- tasks are stored as JSON, not pickle: whoever can write the file must not run code here;
- a worker waits on a condition that `enqueue` sets, instead of sleeping up to 10 s between looks;
- commits do not wait for the disk: the ledger is the truth, and fills the queue again at any time;
- the scheduler looks four times a second, and periodic tasks are asked at each look, so that a poll every few
  seconds is possible; `huey` itself would ask them once a minute;
- sweep and finalize run on workers of their own, and their tasks wait in memory: they never wait behind transports;
- polls are handed out by a periodic task, to threads that are no workers of huey's (`worker.runtime.crew`).
"""

import logging
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol, cast

from huey import Huey
from huey.api import Task
from huey.exceptions import ConfigurationError

from worker.errors import UsageError
from worker.runtime.bands import Band, BandedStorage
from worker.runtime.consumer import QuickScheduler, WatchConsumer
from worker.runtime.crew import PollsToMake
from worker.runtime.due import PollsDue, SweepDue
from worker.runtime.serializer import JsonSerializer
from worker.runtime.watchdog import Pulse

__all__ = ["Band", "Program", "QuickScheduler", "WatchConsumer", "WatchHuey", "workers_given"]

logger = logging.getLogger("bus_watch.queue")


class Program(Protocol):
    """What the consumer runs. Once `stopping` is set it stops: somebody asked for it, or the program cannot go on."""

    stopping: threading.Event

    def start(self) -> None:
        """Before the consumer's threads. BusWatchError: it cannot run."""
        ...

    def listen(self) -> None:
        """Once they run; not where periodic tasks are off."""
        ...

    def look(self, *, reload: bool) -> None:
        """Once a second, and at each signal; `reload`: a hang-up asks for the configuration to be read again."""
        ...

    def stop(self) -> None:
        """After the consumer's threads."""
        ...

    def note_health(self, health: str) -> bool:
        """Write down what the watchdog finds, and say whether that could be done."""
        ...


class WatchHuey(Huey):
    """The Huey of our tasks; `make_storage` makes what keeps them.

    `default_workers` is for a consumer that was given no -w.

    `on_flags` is called once huey_consumer has applied its flags to logging, before there is a consumer.
    """

    program: Program  # set by the composition root, which needs this Huey for it
    poll_inbox: Callable[[str], None]  # set by the task that polls
    tells = False  # whether people are told of alerts: then those have workers of their own

    def __init__(
        self,
        make_storage: Callable[[], BandedStorage],
        *,
        polls: PollsDue,
        sweeps: SweepDue,
        default_workers: int = 1,
        on_flags: Callable[[], None] = lambda: None,
    ) -> None:
        self._make_storage = make_storage
        self.polls = polls
        self.sweeps = sweeps
        self.polls_to_make = PollsToMake()
        self.default_workers = default_workers
        self.on_flags = on_flags
        self.scheduler_beat = time.monotonic()
        self.queue_failing = False
        self._asked: list[Any] | None = None  # the periodic tasks, once all are there
        super().__init__("bus-watch", results=False, serializer=JsonSerializer(), storage_class=BandedStorage)

    def pulse(self) -> Pulse:
        """What the watchdog goes by."""
        return Pulse(
            sweep=self.sweeps.silence(),
            scheduler=time.monotonic() - self.scheduler_beat,
            polls=self.polls.lateness(),
        )

    def create_storage(self) -> BandedStorage:
        if self._immediate:
            return cast("BandedStorage", self.get_immediate_storage())
        return self._make_storage()

    def is_revoked(self, task: Task, timestamp: Any = None, peek: bool = True) -> bool:  # noqa: ARG002, FBT001, FBT002 - huey's signature
        """Never: what a person takes back is dropped in the ledger. huey would ask SQLite at each task, polls too."""
        return False

    def read_periodic(self, timestamp: datetime | None) -> list[Task]:
        """huey's; which makes all of them anew at each look, with an id from the system's random numbers."""
        if self._asked is None:
            self._asked = self._registry.periodic_tasks
        return [type(task)() for task in self._asked if task.validate_datetime(timestamp)]

    def try_enqueue(self, task: Task) -> bool:
        """Enqueue a task that comes again by itself; False if the queue's disk is full, or fails."""
        try:
            self.enqueue(task)
        except (sqlite3.Error, OSError) as error:
            if not self.queue_failing:  # once an episode, not several times a second for as long as the disk is full
                logger.warning("%s was not enqueued: %s", task.name, error)
            self.queue_failing = True
            return False
        self.queue_failing = False
        return True

    def create_consumer(self, **options: Any) -> WatchConsumer:
        # huey_consumer always passes a number, 1 where -w was not given: only its command line can tell.
        if not workers_given():
            options["workers"] = max(options.get("workers", 1), self.default_workers)
        self.on_flags()
        try:
            return WatchConsumer(self, **options)
        except ConfigurationError as error:  # huey_consumer would print its traceback
            print(f"bus-watch: {error}", file=sys.stderr)  # noqa: T201 - a command line that makes no sense
            raise SystemExit(UsageError.exit_status) from None


def workers_given() -> bool:
    """Whether this process's command line says how many workers there are."""
    return any(argument.startswith(("-w", "--workers")) for argument in sys.argv[1:])
