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

from worker import durable
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

    __slots__ = ("batch", "operations", "results", "turn")

    def __init__(self, operations: Sequence[Callable[[sqlite3.Connection], object]]) -> None:
        self.operations = operations
        self.batch: _Batch | None = None  # the commit that has taken it
        self.results: list[object] = []  # of each operation, or the error that it raised
        self.turn = threading.Lock()  # freed when there is something for its caller to look at
        self.turn.acquire()

    @property
    def over(self) -> bool:
        """Whether it is on the disk, or its transaction has failed."""
        return self.batch is not None and self.batch.over

    def wake(self) -> None:
        """Have its caller look again; once too often does no harm."""
        if self.turn.locked():
            self.turn.release()


class _Batch:
    """The jobs of one transaction."""

    __slots__ = ("error", "jobs", "over")

    def __init__(self, jobs: list[_Job]) -> None:
        self.jobs = jobs
        self.over = False
        self.error: Exception | None = None  # of the transaction


class Database:
    """The ledger file, open for reading and writing by one process with any number of threads."""

    def __init__(self, path: Path) -> None:
        """Open or create it, and bring it up to date.

        Raises LedgerTooNewError (the file stays untouched) and the other LedgerErrors.
        """
        self.path = path
        self._pending: list[_Job] = []
        self._pending_lock = threading.Lock()
        self._leader: _Job | None = None  # whose caller commits for all, or has been told to
        self._batch: _Batch | None = None  # what the leader has taken on
        self._committing = threading.Lock()
        self._read_lock = threading.Lock()
        try:
            with contextlib.ExitStack() as opened:  # closes them if one of the steps fails
                _create_private(path)
                self._writer = opened.enter_context(contextlib.closing(_connect(path)))
                _migrate(self._writer)
                self._reader = opened.enter_context(contextlib.closing(_connect(path)))
                self._reader.execute("pragma query_only = on")
                opened.pop_all()
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
        try:
            with self._pending_lock:
                self._pending.append(job)
                if self._leader is None:
                    self._leader = job
            while not job.over:
                if self._leader is job:
                    self._lead()
                else:
                    job.turn.acquire()
        except BaseException:  # Ctrl-C hits this caller, and nobody else
            self._leave(job)
            raise
        if job.batch is not None and job.batch.error is not None:
            raise job.batch.error
        return cast("list[T | BaseException]", job.results)

    def _lead(self) -> None:
        """Commit what is pending, then let the next one lead."""
        with self._pending_lock:
            batch = self._batch = _Batch(self._pending)
            self._pending = []
            for job in batch.jobs:
                job.batch = batch
        with self._committing:
            self._commit(batch)
        with self._pending_lock:
            self._hand_over()

    def _hand_over(self) -> None:
        """Wake those whose jobs are over and name the next leader. What was interrupted is the next leader's to do.

        With `_pending_lock` held. Done twice it does no harm: the first time may have been interrupted.
        """
        if self._batch is not None:
            if not self._batch.over:
                self._pending[:0] = [job for job in self._batch.jobs if job not in self._pending]
            for job in self._batch.jobs:
                job.wake()
            self._batch = None
        self._leader = self._pending[0] if self._pending else None
        if self._leader is not None:
            self._leader.wake()

    def _leave(self, job: _Job) -> None:
        """The caller of this job goes away before its turn has come, or while it leads: the others go on without it."""
        with self._pending_lock:
            if self._leader is job:
                if self._batch is not None and job in self._batch.jobs:
                    self._batch.jobs.remove(job)
                self._leader = None
            if job in self._pending:
                self._pending.remove(job)
            if self._leader is None:
                self._hand_over()
            else:
                self._leader.wake()

    def _commit(self, batch: _Batch) -> None:
        """Run and commit a batch. Raises only what interrupts it; then nothing is done, or all of it."""
        connection = self._writer
        alone = len(batch.jobs) == 1 and len(batch.jobs[0].operations) == 1
        committing = False
        try:
            if connection.in_transaction:  # an interrupt came before the rollback
                connection.execute("rollback")
            connection.execute("begin immediate")
            for job in batch.jobs:
                job.results = [_run(connection, operation, alone=alone) for operation in job.operations]
            if connection.in_transaction:
                committing = True
                connection.execute("commit")
        except Exception as error:  # noqa: BLE001 - it is everybody's, and is raised there
            _roll_back(connection)
            batch.error = translated(error, self.path) if isinstance(error, sqlite3.Error) else error
        except BaseException:
            if committing and not connection.in_transaction:
                batch.over = True  # the interrupt came after the commit
            _roll_back(connection)
            raise
        batch.over = True

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


def _roll_back(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("rollback")


def _run(connection: sqlite3.Connection, operation: Callable[[sqlite3.Connection], object], *, alone: bool) -> object:
    """Its result, or the error that it raised; then nothing of it is left.

    A savepoint copies each page that is changed; an operation that is `alone` in its transaction needs none.
    """
    if not alone:
        connection.execute("savepoint operation")
    result: object
    try:
        result = operation(connection)
    except Exception as error:  # it is the caller's, and is raised there
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
    try:
        _set_up(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    connection.row_factory = sqlite3.Row
    connection.execute(f"pragma busy_timeout = {BUSY_TIMEOUT_MS}")
    found = _version(connection)
    if found > VERSION:  # before anything that could change the file
        raise LedgerTooNewError(
            f"the ledger {path} has schema {found}, this program knows up to {VERSION}; "
            "upgrade bus-watch (nothing was changed)"
        )
    if found == 0:
        connection.execute("pragma auto_vacuum = incremental")
    _use_wal(connection)
    durable.sync_commits(connection)
    connection.execute("pragma foreign_keys = on")
    connection.execute("pragma temp_store = memory")  # else savepoints of a large transaction spill into a file


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
