"""Opening the ledger, and writing to it: durable, one transaction at a time, many callers a commit.

Commits are what durability costs (an fsync each). Callers that arrive while one commit is under way share the next:
the first of them runs everybody's operation in one transaction. Each operation has a savepoint of its own, so
one that fails takes nobody along.
"""

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar, cast

from worker.ledger.errors import (
    LedgerCorruptError,
    LedgerMissingError,
    LedgerTooNewError,
    from_os,
    translated,
)
from worker.ledger.schema import MIGRATIONS, VERSION

BUSY_TIMEOUT_MS = 10_000
MINIMUM_SQLITE = (3, 35, 0)  # RETURNING

T = TypeVar("T")


class _Job:
    """One caller's operations, and what came of them."""

    __slots__ = ("done", "error", "operations", "results", "turn")

    def __init__(self, operations: Sequence[Callable[[sqlite3.Connection], object]]) -> None:
        self.operations = operations
        self.done = False
        self.results: list[object] = []  # of each operation, or the error that it raised
        self.error: BaseException | None = None  # of the transaction
        self.turn = threading.Lock()  # free once it is done, or its caller's to lead
        self.turn.acquire()


class Database:
    """The ledger file, open for reading and writing by one process with any number of threads."""

    def __init__(self, path: Path) -> None:
        """Open or create it, and bring it up to date.

        Raises LedgerTooNewError (the file stays untouched) and the other LedgerErrors.
        """
        self.path = path
        self._pending: list[_Job] = []
        self._pending_lock = threading.Lock()
        self._led = False  # somebody leads, or has been told to
        self._committing = threading.Lock()
        self._read_lock = threading.Lock()
        try:
            _create_private(path)
            self._writer = _connect(path)
            _migrate(self._writer)
            self._reader = _connect(path)
            self._reader.execute("pragma query_only = on")
        except sqlite3.Error as error:
            raise translated(error, path) from error

    def write(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run `operation` in a write transaction and return its result once it is on the disk.

        Raises what the operation raises (its changes are undone), or a LedgerError for the transaction itself.
        """
        (result,) = self.write_all([operation])
        if isinstance(result, BaseException):
            raise result
        return result

    def write_all(self, operations: Sequence[Callable[[sqlite3.Connection], T]]) -> list[T | BaseException]:
        """Run several in one transaction: the result of each once they are on the disk, or what it raised.

        Raises a LedgerError for the transaction itself.
        """
        job = _Job(operations)
        with self._pending_lock:
            self._pending.append(job)
            leads, self._led = not self._led, True
        if not leads:
            job.turn.acquire()
        if not job.done:
            self._lead()
        if job.error is not None:
            raise job.error
        return cast("list[T | BaseException]", job.results)

    def _lead(self) -> None:
        """Commit what is pending, name the next leader, and wake each of the others once.

        Nobody waits for a lock that others wait for: woken one by one, they would hold up the next commit.
        """
        with self._pending_lock:
            jobs, self._pending = self._pending, []
        try:
            with self._committing:
                self._commit(jobs)
        finally:
            with self._pending_lock:
                self._led = bool(self._pending)
                woken = [*self._pending[:1], *jobs]
            for job in woken:
                job.turn.release()

    def _commit(self, jobs: list[_Job]) -> None:
        connection = self._writer
        alone = len(jobs) == 1 and len(jobs[0].operations) == 1
        try:
            connection.execute("begin immediate")
            for job in jobs:
                job.results = [_run(connection, operation, alone=alone) for operation in job.operations]
            if connection.in_transaction:
                connection.execute("commit")
        except BaseException as error:  # noqa: BLE001 - Ctrl-C too: nobody may take for done what was rolled back
            with contextlib.suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("rollback")
            failure = translated(error, self.path) if isinstance(error, sqlite3.Error) else error
            for job in jobs:
                job.error = failure
        finally:
            for job in jobs:
                job.done = True

    def read(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run `operation` on a connection that cannot write."""
        with self._read_lock:
            try:
                return operation(self._reader)
            except sqlite3.Error as error:
                raise translated(error, self.path) from error

    def close(self) -> None:
        """Close both connections."""
        with self._committing, self._read_lock:
            self._writer.close()
            self._reader.close()


def _run(connection: sqlite3.Connection, operation: Callable[[sqlite3.Connection], object], *, alone: bool) -> object:
    """Its result, or the error that it raised; then nothing of it is left.

    A savepoint copies each page that is changed; an operation that is `alone` in its transaction needs none.
    """
    if not alone:
        connection.execute("savepoint operation")
    result: object
    try:
        result = operation(connection)
    except BaseException as error:  # it is the caller's, and is raised there
        if not connection.in_transaction:  # SQLite gave up the whole transaction (a full disk): everybody's
            raise
        connection.execute("rollback" if alone else "rollback to operation")
        result = translated(error, "operation") if isinstance(error, sqlite3.Error) else error
    if not alone:
        connection.execute("release operation")
    return result


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for a command that only looks: it never creates, migrates or writes the file.

    It shows one moment of the ledger, however long the command looks.

    Raises LedgerMissingError, LedgerTooNewError and the other LedgerErrors.
    """
    if not path.exists():
        raise LedgerMissingError(f"there is no ledger at {path} yet; start the worker with: bus-watch run")
    try:
        connection = _connect(path)
        try:
            connection.execute("pragma query_only = on")
            if _version(connection) < VERSION:
                raise LedgerMissingError(f"the ledger {path} is older than this program; the worker will migrate it")
            connection.execute("begin")
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise translated(error, path) from error


def _create_private(path: Path) -> None:
    """The folder 0700 where we make it, the file 0600 from its first byte on; SQLite's -wal and -shm follow it."""
    if sqlite3.sqlite_version_info < MINIMUM_SQLITE:
        raise LedgerCorruptError(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer is needed")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise from_os(error, path) from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    connection.row_factory = sqlite3.Row
    connection.execute(f"pragma busy_timeout = {BUSY_TIMEOUT_MS}")
    found = _version(connection)
    if found > VERSION:  # before anything that could change the file
        connection.close()
        raise LedgerTooNewError(
            f"the ledger {path} has schema {found}, this program knows up to {VERSION}; "
            "upgrade bus-watch (nothing was changed)"
        )
    if found == 0:
        connection.execute("pragma auto_vacuum = incremental")
    _use_wal(connection)
    connection.execute("pragma synchronous = full")
    connection.execute("pragma foreign_keys = on")
    connection.execute("pragma temp_store = memory")  # else savepoints of a large transaction spill into a file
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL. While another process switches the new file SQLite refuses at once, whatever the busy time-out."""
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("pragma journal_mode = wal")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _version(connection: sqlite3.Connection) -> int:
    return cast("int", connection.execute("pragma user_version").fetchone()[0])


def _migrate(connection: sqlite3.Connection) -> None:
    while (found := _version(connection)) < VERSION:
        connection.execute("begin immediate")
        try:
            if _version(connection) == found:  # another process may have been first
                for statement in _statements(MIGRATIONS[found]):
                    connection.execute(statement)
                connection.execute(f"pragma user_version = {found + 1}")
            connection.execute("commit")
        except BaseException:
            if connection.in_transaction:
                connection.execute("rollback")
            raise


def _statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: `executescript` would commit the transaction around it."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
