"""The consumer: huey's, with workers reserved for polls and upkeep, a quicker scheduler, and a watchdog."""

import logging
import signal
import threading
import time
from datetime import datetime
from typing import Any, cast

from huey import Huey
from huey.consumer import Consumer, Scheduler, Worker
from huey.exceptions import ConfigurationError

from worker.errors import BusWatchError
from worker.runtime.bands import Band
from worker.runtime.crew import PollCrew
from worker.runtime.signals import SignalSleep
from worker.runtime.watchdog import Watchdog

logger = logging.getLogger("bus_watch.queue")

SCHEDULER_SECONDS = 0.25
OTHERS_SECONDS = 1.0  # how soon a task is seen that another process has enqueued, or that the queue's file is gone
SHORTEST_SLEEP = 0.1  # polls that are due sooner go together: a look at schedule and tasks costs as much as half a poll
UPKEEP_WORKERS = 2
ALERT_WORKERS = 2
MAIN_SECONDS = 1.0  # between two looks of the main thread; a signal ends that sleep, huey's own lasts 0.1 s
POLL_JOIN_SECONDS = 2.0


class BandWorker(Worker):
    """A worker that takes the tasks of one band."""

    band = Band.DELIVER

    def initialize(self) -> None:
        self.huey.storage.serve(self.band)
        super().initialize()


class UpkeepWorker(BandWorker):
    """Takes sweeps and finalizers."""

    band = Band.UPKEEP


class AlertWorker(BandWorker):
    """Tells people of alerts: slowly, where a channel hangs."""

    band = Band.ALERT


class QuickScheduler(Scheduler):
    """A scheduler that looks at schedule and periodic tasks every quarter of a second, or when a poll is due.

    huey's own looks once a second at best, and at the periodic tasks once a minute.
    """

    _others_at = 0.0  # monotonic seconds: when to look for other writers

    def loop(self, now: datetime | None = None) -> None:
        try:
            if time.monotonic() >= self._others_at:
                self._others_at = time.monotonic() + OTHERS_SECONDS
                self.huey.storage.notice_other_writers()
            for task in self.huey.read_schedule(now):
                self.huey.enqueue(task)
        except Exception:  # as in huey's own loop: a bad moment of the disk must not end the scheduler
            self._logger.exception("Error reading schedule.")
        if self.periodic:
            self.enqueue_periodic_tasks(now)
        self.huey.scheduler_beat = time.monotonic()
        self.stop_flag.wait(min(SCHEDULER_SECONDS, max(SHORTEST_SLEEP, self.huey.polls.seconds_until())))

    def enqueue_periodic_tasks(self, now: datetime | None) -> None:
        for task in self.huey.read_periodic(now):
            if not self.huey.try_enqueue(task) and task.name == "sweep":
                self.huey.sweeps.missed()


class WatchConsumer(Consumer):
    """A WatchHuey's consumer: huey's, with reserved workers, our scheduler, the program's start and stop around it."""

    worker_class = BandWorker
    worker_threads: list[tuple[BandWorker, threading.Thread]]
    scheduler_class = QuickScheduler

    def __init__(self, huey: Huey, **options: Any) -> None:
        if options.get("worker_type", "thread") != "thread":
            raise ConfigurationError("it runs on threads only: leave out -k/--worker-type")
        super().__init__(huey, **options)
        self._stop_flag_timeout = 0.0  # we sleep before
        self._sleep = SignalSleep()
        self.failed = False
        self.watchdog = Watchdog(huey.pulse, huey.program.note_health)
        self._reload = False
        self.upkeep = [
            self._create_named(UpkeepWorker, f"UpkeepWorker-{number}") for number in range(1, UPKEEP_WORKERS + 1)
        ]
        self.crew = PollCrew(
            huey.polls_to_make,
            huey.poll_inbox,
            self.stop_flag,
            inboxes=huey.polls.__len__,
            slow=huey.polls.slow,
        )

    def _create_named(self, kind: type[BandWorker], name: str) -> tuple[BandWorker, threading.Thread]:
        worker = kind(
            huey=self.huey,
            stop_flag=self.stop_flag,
            default_delay=self.default_delay,
            max_delay=self.max_delay,
            backoff=self.backoff,
        )

        return worker, self._create_process(worker, name)

    def _staff_alerts(self) -> None:
        """Have those who tell of alerts, once there are channels."""
        if self.huey.tells and not any(isinstance(worker, AlertWorker) for worker, _ in self.upkeep):
            made = [self._create_named(AlertWorker, f"AlertWorker-{number}") for number in range(1, ALERT_WORKERS + 1)]
            self.upkeep += made
            for _, thread in made:
                thread.start()

    def _handle_signal(self, signum: int, frame: Any) -> None:
        """A hang-up asks for the configuration to be read again; huey would end, wait for all, and begin anew."""
        if signum == signal.SIGHUP:
            self._reload = True
        else:
            super()._handle_signal(signum, frame)

    def start(self) -> None:
        self._sleep.begin()
        signal.signal(signal.SIGHUP, self._handle_signal)  # huey does so when all runs: until then it would kill us
        self.huey.program.start()
        super().start()
        for _, thread in self.upkeep:
            thread.start()
        self.crew.staff()
        if self.periodic:  # without periodic tasks (-n) nothing is polled, so nothing has to ring for it
            self.huey.program.listen()
        self.watchdog.started()

    def stop(self, graceful: bool = False) -> None:  # noqa: FBT001, FBT002 - huey's signature
        self.watchdog.stopping()
        self.stop_flag.set()
        self._sleep.wake()
        self.huey.program.stopping.set()  # polls that wait for their turn at the bus go home
        self.huey.storage.stop()  # those who wait for work look at the flag
        self.crew.end()
        super().stop(graceful)

    def also_graceful(self) -> None:
        """Make the other stop signal graceful too: for `bus-watch run`, where a person's Ctrl-C is no emergency."""
        self._signal_actions[self._interrupt_sig] = (False, True)

    def _join_workers(self) -> bool:
        workers = self.worker_threads
        try:
            self.worker_threads = workers + self.upkeep
            joined = bool(super()._join_workers())
        finally:
            self.worker_threads = workers
        # A bus may hang for all of `request_timeout`; a poll that is cut off has changed nothing: hardly wait for it.
        deadline = time.monotonic() + POLL_JOIN_SECONDS
        for thread in self.crew.threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return joined

    def check_worker_health(self) -> bool:
        healthy = bool(super().check_worker_health())
        for index, (worker, thread) in enumerate(self.upkeep):
            if not thread.is_alive():
                logger.warning("%s died, restarting it", thread.name)
                self.upkeep[index] = self._create_named(type(worker), thread.name)
                self.upkeep[index][1].start()
                healthy = False
        return healthy

    def loop(self, health_check_ts: float | None = None) -> float | None:
        if self.huey.program.stopping.is_set() and not self.stop_flag.is_set():
            # The launcher died: without it nothing can be delivered. The supervisor starts both again.
            logger.critical("the worker stops itself; its supervisor starts it again")
            self.stop()
            self.failed = True
        asked, self._reload = self._reload, False
        self.huey.program.look(reload=asked)
        if not self.stop_flag.is_set():
            self.crew.staff()
            self._staff_alerts()
        self.watchdog.look()
        self._sleep.sleep(MAIN_SECONDS)
        return cast("float | None", super().loop(health_check_ts))

    def run(self) -> None:
        try:
            super().run()
        except BusWatchError as error:  # our sentence; huey_consumer would print a traceback
            logger.critical("the worker cannot run: %s", error)
            raise SystemExit(error.exit_status) from None
        finally:
            self.huey.program.stop()
            self._sleep.end()
        if self.failed:
            raise SystemExit(1)
