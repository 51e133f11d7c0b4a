"""Writing to the ledger: durable, one transaction at a time, many callers a commit.

Commits are what durability costs (an fsync each). Callers that arrive while one commit is under way share the next:
the first of them runs everybody's operation in one transaction. Each operation has a savepoint of its own, so
one that fails takes nobody along.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar, cast

from worker.ledger.errors import translated
from worker.ledger.opening import connect, create_private, migrate

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
                create_private(path)
                self._writer = opened.enter_context(contextlib.closing(connect(path)))
                migrate(self._writer)
                self._reader = opened.enter_context(contextlib.closing(connect(path)))
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
