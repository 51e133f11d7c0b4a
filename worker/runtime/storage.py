"""The storage: huey's tables in SQLite, JSON instead of pickle, workers that are woken instead of polling.

Only deliveries are stored, and what is scheduled. Polls, sweeps and finalizers are this process's own: they come again
by themselves, so their tasks wait in memory, and one that brings nothing writes nothing.
"""

import contextlib
import json
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, cast

from huey.registry import Message
from huey.serializer import Serializer
from huey.storage import SqliteStorage

from worker.fault_steps import step

logger = logging.getLogger("bus_watch.queue")


class Band(IntEnum):
    """Task priorities, each with workers of its own."""

    DELIVER = 0
    POLL = 100
    UPKEEP = 200
    ALERT = 300


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


class _BandSignal:
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
    """Storage whose `dequeue` waits until there is something, for the calling thread's band of tasks.

    That of deliveries lies in SQLite, the others in memory.
    """

    blocking = True
    begin_sql = "begin immediate"  # readers go on; huey's own `exclusive` is the same in WAL mode, but for them

    def __init__(self, name: str = "bus-watch", filename: str = "queue.db", **kwargs: Any) -> None:
        self._signals = {band: _BandSignal() for band in Band}
        self._in_memory: dict[Band, deque[bytes]] = {band: deque() for band in Band if band is not Band.DELIVER}
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
        band = _band_of(priority)
        if band in self._in_memory:
            self._in_memory[band].append(data)
        else:
            super().enqueue(data, priority)
        self._signals[band].ring(1)

    def wake(self) -> None:
        """Let every waiting worker look again."""
        for signal in self._signals.values():
            signal.ring()

    def somebody_idles(self, band: Band) -> bool:
        """Whether a worker of this band waits for a task: then no task waits for a worker."""
        return self._signals[band].waiting > 0 and not self._stopping

    def stop(self) -> None:
        """Let every waiting worker go home."""
        self._stopping = True
        self.wake()

    def dequeue(self) -> bytes | None:
        band = getattr(self._thread, "band", Band.DELIVER)
        signal = self._signals[band]
        deadline = time.monotonic() + self.patience
        while True:
            seen = signal.rings
            data = self._take(band)
            if data is not None:
                return data
            if self._stopping or not signal.wait(seen, deadline - time.monotonic()):
                return None

    def _take(self, band: Band) -> bytes | None:
        if band in self._in_memory:
            try:
                return self._in_memory[band].popleft()
            except IndexError:
                return None
        # Whatever lies there: an older version kept all bands in the file.
        with self.db() as cursor:
            cursor.execute("select 1 from task where queue = ? limit 1", (self.name,))
            if cursor.fetchone() is None:
                return None
            cursor.execute(
                "delete from task where id = (select id from task where queue = ? order by priority desc, id limit 1)"
                " returning data",
                (self.name,),
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
