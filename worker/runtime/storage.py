"""The queue in a file: huey's tables in SQLite, which can be lost at any time, for the ledger is the truth."""

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from huey.storage import SqliteStorage

from worker.fault_steps import step
from worker.runtime.bands import BandedStorage

logger = logging.getLogger("bus_watch.queue")


class WakeupStorage(BandedStorage, SqliteStorage):
    """Deliveries lie in SQLite."""

    begin_sql = "begin immediate"  # readers go on; huey's own `exclusive` is the same in WAL mode, but for them

    def __init__(self, name: str = "bus-watch", filename: str = "queue.db", **kwargs: Any) -> None:
        self._data_version = -1
        self._inode: int | None = None  # of the file that is open
        self._generation = 0  # of that file, counted by this process
        self._beginning = False
        BandedStorage.__init__(self)
        SqliteStorage.__init__(self, name, filename=filename, **kwargs)

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

    def _store(self, data: bytes, priority: float | None) -> None:
        SqliteStorage.enqueue(self, data, priority)

    def _take_stored(self) -> bytes | None:
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

    def _first_scheduled(self) -> float | None:
        query = "select min(timestamp) from schedule where queue = ?"
        return cast("float | None", self.sql(query, (self.name,), results=True)[0][0])

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
        return os.stat(filename).st_ino  # noqa: PTH116 - once a second, and a Path costs more than the look
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
