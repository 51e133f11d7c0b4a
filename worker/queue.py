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
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, cast

from huey import Huey
from huey.api import Task
from huey.consumer import Consumer, Scheduler, Worker
from huey.exceptions import ConfigurationError
from huey.registry import Message
from huey.serializer import Serializer
from huey.storage import SqliteStorage

from worker.bus.doorbell import Doorbell
from worker.engine import Engine
from worker.engine.faults import step
from worker.engine.finishing import FinishedBook
from worker.engine.polling import PollBook
from worker.engine.sweeping import SweepBook, sweep
from worker.errors import BusWatchError, UsageError
from worker.service.watchdog import Pulse, Watchdog
from worker.telemetry import log

logger = logging.getLogger("bus_watch.queue")

SCHEDULER_SECONDS = 0.25
SHORTEST_SLEEP = 0.02
UPKEEP_WORKERS = 2
MAIN_SECONDS = 0.25  # how soon a signal is seen; at huey's own 0.1 s the main thread wakes more often than all others
POLL_JOIN_SECONDS = 2.0


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


def _band_of(priority: float | None) -> Band:
    return Band(min(int(priority or 0) // 100 * 100, max(Band)))


class _Bell:
    """Wakes those who wait for one band's tasks: one for each task, since each that wakes costs a look and a switch."""

    def __init__(self) -> None:
        self.rings = 0
        self.waiting = 0
        self._condition = threading.Condition()

    def ring(self, waiting: int | None = None) -> None:
        """Wake so many of those who wait; None: all of them."""
        with self._condition:
            self.rings += 1
            if waiting is None:
                self._condition.notify_all()
            else:
                self._condition.notify(waiting)

    def wait(self, seen: int, seconds: float) -> bool:
        """Until it has rung since `rings` was `seen`; False when it has not within so many seconds."""
        if seconds <= 0:
            return False
        with self._condition:
            self.waiting += 1
            try:
                return self._condition.wait_for(lambda: self.rings != seen, seconds)
            finally:
                self.waiting -= 1


class WakeupStorage(SqliteStorage):
    """SQLite storage whose `dequeue` waits until there is something, for the calling thread's band of tasks."""

    blocking = True
    begin_sql = "begin immediate"  # readers go on; huey's own `exclusive` is the same in WAL mode, but for them

    def __init__(self, name: str = "bus-watch", filename: str = "queue.db", **kwargs: Any) -> None:
        self._bells = {band: _Bell() for band in Band}
        self._thread = threading.local()
        self._data_version = -1
        self._stopping = False
        self._inode: int | None = None  # of the file that is open
        self._generation = 0  # of that file, counted by this process
        self._beginning = False
        self.on_loss: Callable[[], None] = lambda: None  # called when wake-ups were lost with a damaged file
        self.patience = 5.0  # seconds a dequeue waits at most before it lets its worker look at the stop flag
        super().__init__(name, filename=filename, **kwargs)

    def _create_connection(self) -> sqlite3.Connection:
        self._inode = _inode(self.filename)
        if self.filename != ":memory:":  # 0600 from its first byte on; SQLite's -wal and -shm follow it
            with contextlib.suppress(OSError):  # then SQLite says what is wrong
                os.close(os.open(self.filename, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection: sqlite3.Connection = super()._create_connection()
        connection.execute("pragma synchronous = normal")
        self._inode = _inode(self.filename)
        return connection

    def initialize_schema(self) -> None:
        try:
            super().initialize_schema()
        except sqlite3.DatabaseError:  # `db` has set a damaged file aside; what else it was comes again
            super().initialize_schema()

    @contextlib.contextmanager
    def db(self, commit: bool = False, close: bool = False) -> Iterator[sqlite3.Cursor]:  # noqa: FBT001, FBT002 - huey's signature
        """huey's, and a damaged file is set aside: the caller meets the error once, and the next one a new queue."""
        generation = self._generation
        try:
            with super().db(commit=commit, close=close) as cursor:
                yield cursor
        except sqlite3.DatabaseError as error:
            if _is_damage(error) and not self._beginning:
                self._set_aside(error, generation)
            raise

    def _set_aside(self, error: sqlite3.DatabaseError, generation: int) -> None:
        """Rename the damaged file and begin a new one: nothing in it is the truth.

        Another thread (`generation`) or another process (the inode) may have been first.
        """
        with self.lock:
            if generation != self._generation:
                return
            self._generation += 1
            if self._inode is not None and self._inode == _inode(self.filename):
                aside = f"{self.filename}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
                for suffix in ("", "-wal", "-shm"):
                    with contextlib.suppress(FileNotFoundError):
                        Path(self.filename + suffix).rename(aside + suffix)
                logger.error("the queue file was damaged (%s): set aside as %s, rebuilt from the ledger", error, aside)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Open the file again, made if it is not there, and have it filled from the ledger."""
        self.close()
        self._beginning = True
        try:
            with contextlib.suppress(sqlite3.Error):  # a full disk: whoever wants the queue next tries again
                super().initialize_schema()
        finally:
            self._beginning = False
        self.on_loss()
        self.wake()

    def serve(self, band: Band) -> None:
        """From now on the calling thread takes tasks of this band."""
        self._thread.band = band

    def enqueue(self, data: bytes, priority: float | None = None) -> None:
        super().enqueue(data, priority)
        self._bells[_band_of(priority)].ring(1)

    def wake(self) -> None:
        """Let every waiting worker look again."""
        for bell in self._bells.values():
            bell.ring()

    def somebody_idles(self, band: Band) -> bool:
        """Whether a worker of this band waits for a task: then no task waits for a worker."""
        return self._bells[band].waiting > 0 and not self._stopping

    def stop(self) -> None:
        """Let every waiting worker go home."""
        self._stopping = True
        self.wake()

    def dequeue(self) -> bytes | None:
        band = getattr(self._thread, "band", Band.DELIVER)
        bell = self._bells[band]
        deadline = time.monotonic() + self.patience
        while True:
            seen = bell.rings
            data = self._take(band)
            if data is not None:
                return data
            if self._stopping or not bell.wait(seen, deadline - time.monotonic()):
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
        if row is None:
            return None
        step("dequeued")
        return cast("bytes", row[0])

    def read_schedule(self, ts: datetime) -> list[bytes]:
        due = self.sql(
            "select 1 from schedule where queue = ? and timestamp <= ? limit 1",
            (self.name, ts.timestamp()),
            results=True,
        )
        if not due:
            return []
        taken = cast("list[bytes]", super().read_schedule(ts))
        step("schedule_taken")
        return taken

    def delete_data(self, key: str) -> bool:
        """Look before writing: huey deletes a revocation that is hardly ever there after every task."""
        return bool(self.has_data_for_key(key) and super().delete_data(key))

    def notice_other_writers(self) -> None:
        """Wake the workers if another process (a command, a second worker) has written to the file.

        One that was removed, or replaced because it was damaged, is left for the one that has its name now.
        """
        if self._inode is not None and _inode(self.filename) != self._inode:
            self.begin_anew()
        version = self.sql("pragma data_version", results=True)[0][0]
        if version != self._data_version:
            self._data_version = version
            self.wake()


def _inode(filename: str) -> int | None:
    try:
        return Path(filename).stat().st_ino
    except OSError:
        return None


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the file itself is broken: not a full disk, a lock or a read-only mount, which pass."""
    code = getattr(error, "sqlite_errorcode", None) or 0
    return (
        code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
        or code == sqlite3.SQLITE_IOERR_SHORT_READ
        or "no such table" in str(error)  # somebody has emptied it
    )


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
    """A scheduler that looks at schedule and periodic tasks every quarter of a second, or when a poll is due.

    huey's own looks once a second at best, and at the periodic tasks once a minute.
    """

    def loop(self, now: datetime | None = None) -> None:
        try:
            self.huey.storage.notice_other_writers()
            for task in self.huey.read_schedule(now):
                self.huey.enqueue(task)
        except Exception:  # as in huey's own loop: a bad moment of the disk must not end the scheduler
            self._logger.exception("Error reading schedule.")
        if self.periodic:
            self.enqueue_periodic_tasks(now)
        self.huey.scheduler_beat = time.monotonic()
        self.stop_flag.wait(min(SCHEDULER_SECONDS, max(SHORTEST_SLEEP, self.huey.polls.seconds_until_due())))

    def enqueue_periodic_tasks(self, now: datetime | None) -> None:
        for task in self.huey.read_periodic(now):
            if not self.huey.try_enqueue(task) and task.name == "sweep":
                self.huey.sweeps.missed()


class WatchConsumer(Consumer):
    """huey's consumer with reserved workers, our scheduler, and the engine's start and stop around it."""

    worker_class = BandWorker
    worker_threads: list[tuple[BandWorker, threading.Thread]]
    scheduler_class = QuickScheduler

    def __init__(self, huey: "WatchHuey", **options: Any) -> None:
        if options.get("worker_type", "thread") != "thread":
            raise ConfigurationError("it runs on threads only: leave out -k/--worker-type")
        super().__init__(huey, **options)
        self._stop_flag_timeout = MAIN_SECONDS
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
        try:
            sweep(self.huey.engine, first=True)
        except BusWatchError as error:
            logger.error("the first sweep is not finished: %s", error)  # noqa: TRY400 - our sentence says it all
        super().start()
        for _, thread in self.reserved:
            thread.start()
        if self.periodic:  # without periodic tasks (-n) nothing is polled, so nothing has to ring for it
            self.huey.doorbell.start()
        self.watchdog.started()

    def stop(self, graceful: bool = False) -> None:  # noqa: FBT001, FBT002 - huey's signature
        self.watchdog.stopping()
        self.stop_flag.set()
        self.huey.engine.stopping.set()  # polls that wait for their turn at the bus go home
        self.huey.storage.stop()  # those who wait for work look at the flag
        super().stop(graceful)

    def also_graceful(self) -> None:
        """Make the other stop signal graceful too: for `bus-watch run`, where a person's Ctrl-C is no emergency."""
        self._signal_actions[self._interrupt_sig] = (False, True)

    def _join_workers(self) -> bool:
        workers = self.worker_threads
        try:
            self.worker_threads = workers + [one for one in self.reserved if not isinstance(one[0], PollWorker)]
            joined = bool(super()._join_workers())
        finally:
            self.worker_threads = workers
        # A bus may hang for a poll's whole 45 s, and a poll that is cut off has changed nothing: hardly wait for it.
        deadline = time.monotonic() + POLL_JOIN_SECONDS
        for _, thread in self.reserved:
            thread.join(max(0.0, deadline - time.monotonic()))
        return joined

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
        except BusWatchError as error:  # our sentence; huey_consumer would print a traceback
            logger.critical("the worker cannot run: %s", error)
            raise SystemExit(error.exit_status) from None
        finally:
            self.huey.doorbell.close()
            self.huey.engine.stop()
        if self.failed:
            raise SystemExit(1)


class WatchHuey(Huey):
    """The Huey that our tasks decorate with. It is made before the configuration is read: `open` gives it its file."""

    engine: Engine  # set by the composition root, as are the books
    polls: PollBook
    sweeps: SweepBook
    finished: FinishedBook
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
        self.engine.overlooked.set()
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
