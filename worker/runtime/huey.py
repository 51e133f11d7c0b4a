"""The queue: huey on SQLite, made into what a wake-up list should be: docs/protocol.md#the-one-rule.

What is changed, and why (huey 3.5.4; `huey_consumer` and its flags stay as huey documents them):
- tasks are stored as JSON, not pickle: whoever can write the file must not run code here;
- a worker waits on a condition that `enqueue` sets, instead of sleeping up to 10 s between looks;
- SQLite runs with synchronous=NORMAL: the ledger is the truth, and rebuilds this file at any time;
- the scheduler looks four times a second, and periodic tasks are asked at each look, so that a poll every few
  seconds is possible; `huey` itself would ask them once a minute;
- poll, sweep and finalize run on workers of their own: they never wait behind transports.
"""

import logging
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any, cast

from huey import Huey
from huey.api import Task
from huey.exceptions import ConfigurationError

from worker.bus.doorbell import Doorbell
from worker.engine import Engine
from worker.errors import UsageError
from worker.runtime.consumer import QuickScheduler, WatchConsumer
from worker.runtime.due import FinalizerDue, PollsDue, SweepDue
from worker.runtime.storage import Band, JsonSerializer, WakeupStorage
from worker.runtime.watchdog import Pulse
from worker.telemetry import log

__all__ = ["Band", "QuickScheduler", "WakeupStorage", "WatchConsumer", "WatchHuey", "huey"]

logger = logging.getLogger("bus_watch.queue")


class WatchHuey(Huey):
    """The Huey that our tasks decorate with. It is made before the configuration is read: `open` gives it its file."""

    engine: Engine  # set by the composition root, as is what is due
    polls: PollsDue
    sweeps: SweepDue
    finished: FinalizerDue
    doorbell: Doorbell

    def __init__(self) -> None:
        self.filename = ":memory:"
        self.is_open = False
        self.poll_workers = 1
        self.default_workers = 1
        self.scheduler_beat = time.monotonic()
        self.queue_failing = False
        super().__init__("bus-watch", results=False, serializer=JsonSerializer(), storage_class=WakeupStorage)

    def pulse(self) -> Pulse:
        """What the watchdog goes by."""
        return Pulse(
            sweep=self.sweeps.silence(),
            scheduler=time.monotonic() - self.scheduler_beat,
            polls=self.polls.lateness(),
        )

    def create_storage(self) -> WakeupStorage:
        if self._immediate:
            return cast("WakeupStorage", self.get_immediate_storage())
        return WakeupStorage(self.name, filename=self.filename)

    def open(self, filename: Path, *, poll_workers: int, default_workers: int) -> None:
        """Use this file from now on; `default_workers` is for a consumer that was given no -w."""
        self.filename = str(filename)
        self.poll_workers = poll_workers
        self.default_workers = default_workers
        self.storage = self.create_storage()
        self.storage.on_loss = self._refill
        self.is_open = True

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

    def _refill(self) -> None:
        self.engine.wake_ups.overlooked.set()
        self.sweeps.hurry()

    def create_consumer(self, **options: Any) -> WatchConsumer:
        # huey_consumer always passes a number, 1 where -w was not given: only its command line can tell.
        if not any(argument.startswith(("-w", "--workers")) for argument in sys.argv[1:]):
            options["workers"] = max(options.get("workers", 1), self.default_workers)
        log.adopt_consumer_flags()
        try:
            return WatchConsumer(self, **options)
        except ConfigurationError as error:  # huey_consumer would print its traceback
            print(f"bus-watch: {error}", file=sys.stderr)  # noqa: T201 - a command line that makes no sense
            raise SystemExit(UsageError.exit_status) from None


huey = WatchHuey()
