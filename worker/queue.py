"""The queue: huey on SQLite, made into what a wake-up list should be.

What is changed, and why (huey 3.5.4; `huey_consumer` and its flags stay as huey documents them):
- tasks are stored as JSON, not pickle: whoever can write the file must not run code here;
- a worker waits on a condition that `enqueue` sets, instead of sleeping up to 10 s between looks;
- SQLite runs with synchronous=NORMAL: the ledger is the truth, and rebuilds this file at any time;
- the scheduler looks four times a second, and periodic tasks are asked at each look, so that a poll every few
  seconds is possible; `huey` itself would ask them once a minute;
- poll, sweep and finalize run on workers of their own: they never wait behind transports.
"""

import contextlib
import json
import logging
import sqlite3
import sys
import threading
import time
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, cast

from huey import Huey
from huey.consumer import Consumer, Scheduler, Worker
from huey.exceptions import ConfigurationError
from huey.registry import Message
from huey.serializer import Serializer
from huey.storage import SqliteStorage

from worker.engine import Engine
from worker.engine.polling import PollBook
from worker.engine.sweeping import SweepBook, sweep
from worker.service.watchdog import Pulse, Watchdog
from worker.telemetry import log

logger = logging.getLogger("bus_watch.queue")

SCHEDULER_SECONDS = 0.25
UPKEEP_WORKERS = 2


class Band(IntEnum):
    """Task priorities, each with workers of its own."""

    DELIVER = 0
    POLL = 100
    UPKEEP = 200


class JsonSerializer(Serializer):
    """A task as a JSON list; its arguments are ids. Only what our own tasks use can be stored."""

    def _serialize(self, data: Any) -> bytes:
        if isinstance(data, Message):
            if data.on_complete or data.on_error or data.chord_config:
                raise ValueError("pipelines and chords are not stored in this queue")
            fields = data._asdict()
            # Sentry's integration adds them; a worker without Sentry could not run what one with it has stored.
            fields["kwargs"] = {name: value for name, value in data.kwargs.items() if name != "sentry_headers"}
            fields["eta"] = data.eta and data.eta.replace(tzinfo=UTC).timestamp()
            fields["expires"] = fields["expires_resolved"] = None
            return json.dumps({"task": fields}, separators=(",", ":")).encode()
        return json.dumps({"value": data}, separators=(",", ":"), default=_plain).encode()

    def _deserialize(self, data: bytes) -> Any:
        stored = json.loads(bytes(data))
        if "task" not in stored:
            return stored["value"]
        fields = {name: stored["task"].get(name) for name in Message._fields}
        if fields["eta"] is not None:
            fields["eta"] = datetime.fromtimestamp(fields["eta"], UTC).replace(tzinfo=None)
        return Message(**fields)


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else repr(value)


class WakeupStorage(SqliteStorage):
    """SQLite storage whose `dequeue` waits until there is something, for the calling thread's band of tasks."""

    blocking = True
    begin_sql = "begin immediate"  # readers go on; huey's own `exclusive` is the same in WAL mode, but for them

    def __init__(self, name: str = "bus-watch", filename: str = "queue.db", **kwargs: Any) -> None:
        self._changed = threading.Condition()
        self._enqueued = 0
        self._thread = threading.local()
        self._data_version = -1
        self._stopping = False
        self.patience = 1.0  # seconds a dequeue waits at most before it lets its worker look at the stop flag
        super().__init__(name, filename=filename, **kwargs)

    def _create_connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = super()._create_connection()
        connection.execute("pragma synchronous = normal")
        return connection

    def serve(self, band: Band) -> None:
        """From now on the calling thread takes tasks of this band."""
        self._thread.band = band

    def enqueue(self, data: bytes, priority: float | None = None) -> None:
        super().enqueue(data, priority)
        self.wake()

    def wake(self) -> None:
        """Let every waiting worker look again."""
        with self._changed:
            self._enqueued += 1
            self._changed.notify_all()

    def stop(self) -> None:
        """Let every waiting worker go home."""
        self._stopping = True
        self.wake()

    def dequeue(self) -> bytes | None:
        deadline = time.monotonic() + self.patience
        while True:
            with self._changed:
                seen = self._enqueued
            data = self._take(getattr(self._thread, "band", Band.DELIVER))
            if data is not None:
                return data
            with self._changed:
                left = deadline - time.monotonic()
                if self._stopping or left <= 0 or not self._changed.wait_for(lambda: self._enqueued != seen, left):  # noqa: B023 - called here
                    return None

    def _take(self, band: Band) -> bytes | None:
        bounds = (self.name, int(band), int(band) + 99)
        with self.db() as cursor:
            cursor.execute("select 1 from task where queue = ? and priority between ? and ? limit 1", bounds)
            if cursor.fetchone() is None:
                return None
            cursor.execute(
                "delete from task where id = (select id from task where queue = ? and priority between ? and ?"
                " order by priority desc, id limit 1) returning data",
                bounds,
            )
            row = cursor.fetchone()
        return row[0] if row else None

    def read_schedule(self, ts: datetime) -> list[bytes]:
        due = self.sql(
            "select 1 from schedule where queue = ? and timestamp <= ? limit 1",
            (self.name, ts.timestamp()),
            results=True,
        )
        return cast("list[bytes]", super().read_schedule(ts)) if due else []

    def delete_data(self, key: str) -> bool:
        """Look before writing: huey deletes a revocation that is hardly ever there after every task."""
        return bool(self.has_data_for_key(key) and super().delete_data(key))

    def notice_other_writers(self) -> None:
        """Wake the workers if another process (a command, a second worker) has written to the file."""
        version = self.sql("pragma data_version", results=True)[0][0]
        if version != self._data_version:
            self._data_version = version
            self.wake()


class BandWorker(Worker):
    """A worker that takes the tasks of one band."""

    band = Band.DELIVER

    def initialize(self) -> None:
        self.huey.storage.serve(self.band)
        super().initialize()


class PollWorker(BandWorker):
    """Takes polls: one of these for each agent, so that a hung bus blocks nobody else's inbox."""

    band = Band.POLL


class UpkeepWorker(BandWorker):
    """Takes sweeps and finalizers."""

    band = Band.UPKEEP


class QuickScheduler(Scheduler):
    """A scheduler that looks every quarter of a second, at the schedule and at the periodic tasks."""

    periodic_task_seconds = SCHEDULER_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.interval = SCHEDULER_SECONDS
        self._failing = False

    def loop(self, now: datetime | None = None) -> None:
        with contextlib.suppress(sqlite3.Error):  # read_schedule meets the same error, and logs it
            self.huey.storage.notice_other_writers()
        super().loop(now)
        self.huey.scheduler_beat = time.monotonic()

    def enqueue_periodic_tasks(self, now: datetime | None) -> None:
        try:
            for task in self.huey.read_periodic(now):
                self.huey.enqueue(task)
        except (
            sqlite3.Error
        ) as error:  # a full disk: the next round tries again, and the watchdog goes hungry meanwhile
            if not self._failing:
                logger.error("the queue cannot be written: %s", error)  # noqa: TRY400 - the sentence says it all
            self._failing = True
            self.huey.sweeps.done(well=False)  # whichever task was lost: a sweep too many is harmless
        else:
            self._failing = False


class WatchConsumer(Consumer):
    """huey's consumer with reserved workers, our scheduler, and the engine's start and stop around it."""

    worker_class = BandWorker
    worker_threads: list[tuple[BandWorker, threading.Thread]]
    scheduler_class = QuickScheduler

    def __init__(self, huey: "WatchHuey", **options: Any) -> None:
        if options.get("worker_type", "thread") != "thread":
            raise ConfigurationError("bus-watch runs on threads: leave out -k/--worker-type")
        super().__init__(huey, **options)
        self.failed = False
        self.watchdog = Watchdog(huey.pulse, huey.engine.note_health)
        kinds = [PollWorker] * huey.poll_workers + [UpkeepWorker] * UPKEEP_WORKERS
        self.reserved = [self._create_reserved(kind, number) for number, kind in enumerate(kinds, 1)]

    def _create_reserved(self, kind: type[BandWorker], number: int) -> tuple[BandWorker, threading.Thread]:
        worker = kind(
            huey=self.huey,
            stop_flag=self.stop_flag,
            default_delay=self.default_delay,
            max_delay=self.max_delay,
            backoff=self.backoff,
        )
        return worker, self._create_process(worker, f"{kind.__name__}-{number}")

    def start(self) -> None:
        self.huey.engine.start()
        sweep(self.huey.engine, first=True)
        super().start()
        for _, thread in self.reserved:
            thread.start()
        self.watchdog.started()

    def stop(self, graceful: bool = False) -> None:  # noqa: FBT001, FBT002 - huey's signature
        self.watchdog.stopping()
        self.stop_flag.set()
        self.huey.storage.stop()  # those who wait for work look at the flag
        super().stop(graceful)

    def also_graceful(self) -> None:
        """Make the other stop signal graceful too: for `bus-watch run`, where a person's Ctrl-C is no emergency."""
        self._signal_actions[self._interrupt_sig] = (False, True)

    def _join_workers(self) -> bool:
        workers = self.worker_threads
        try:
            self.worker_threads = workers + self.reserved
            return bool(super()._join_workers())
        finally:
            self.worker_threads = workers

    def check_worker_health(self) -> bool:
        healthy = bool(super().check_worker_health())
        for index, (worker, thread) in enumerate(self.reserved):
            if not thread.is_alive():
                logger.warning("%s died, restarting it", thread.name)
                self.reserved[index] = self._create_reserved(type(worker), index + 1)
                self.reserved[index][1].start()
                healthy = False
        return healthy

    def loop(self, health_check_ts: float | None = None) -> float | None:
        if self.huey.engine.stopping.is_set() and not self.stop_flag.is_set():
            # The launcher died: without it nothing can be delivered. The supervisor starts both again.
            logger.critical("the worker stops itself; its supervisor starts it again")
            self.stop()
            self.failed = True
        self.watchdog.look()
        return cast("float | None", super().loop(health_check_ts))

    def run(self) -> None:
        try:
            super().run()
        finally:
            self.huey.engine.stop()
        if self.failed:
            raise SystemExit(1)


class WatchHuey(Huey):
    """The Huey that our tasks decorate with. It is made before the configuration is read: `open` gives it its file."""

    engine: Engine  # set by the composition root, as are the two books
    polls: PollBook
    sweeps: SweepBook

    def __init__(self) -> None:
        self.filename = ":memory:"
        self.is_open = False
        self.poll_workers = 1
        self.default_workers = 1
        self.scheduler_beat = time.monotonic()
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
        self.is_open = True

    def create_consumer(self, **options: Any) -> WatchConsumer:
        # huey_consumer always passes a number, 1 where -w was not given: only its command line can tell.
        if not any(argument.startswith(("-w", "--workers")) for argument in sys.argv[1:]):
            options["workers"] = max(options.get("workers", 1), self.default_workers)
        log.adopt_consumer_flags()
        return WatchConsumer(self, **options)


huey = WatchHuey()
