"""The ledger in a SQLite file: one host, any number of threads and processes.

Operations of a group commit run one after the other in one transaction. Where one of them fails they run again, each
within a savepoint of its own, so that it takes nobody along.
"""

import contextlib
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from worker.ledger.departures import refuse_moved
from worker.ledger.errors import translated
from worker.ledger.group_commit import Batch, GroupCommit, Operation
from worker.ledger.opening import Connection, connect, create_private, migrate
from worker.ledger.port import Tx
from worker.ledger.upkeep import ROUND

T = TypeVar("T")


class SqliteLedger(GroupCommit):
    """The ledger file, open for reading and writing."""

    def __init__(self, path: Path, *, moved_too: bool = False) -> None:
        """Open or create it, and bring it up to date.

        `moved_too`: also where it has moved away.

        Raises LedgerTooNewError (the file stays untouched), LedgerMovedError and the other LedgerErrors.
        """
        super().__init__()
        self.path = path
        self.on_back: Callable[[], object] = lambda: None  # a file is not away
        self._read_lock = threading.Lock()
        try:
            with contextlib.ExitStack() as opened:  # closes them if one of the steps fails
                create_private(path)
                self._writer = opened.enter_context(contextlib.closing(connect(path)))
                migrate(self._writer)
                if not moved_too:
                    refuse_moved(self._writer, str(path))
                self._reader = opened.enter_context(contextlib.closing(connect(path)))
                self._reader.execute("pragma query_only = on")
                opened.pop_all()
        except sqlite3.Error as error:
            raise translated(error, path) from error

    @property
    def place(self) -> str:
        """Where it is."""
        return f"{self.path} on {socket.gethostname()}"

    def _commit(self, batch: Batch) -> None:
        """Run and commit a batch. Raises only what interrupts it; then nothing is done, or all of it."""
        connection = self._writer
        committing = False
        try:
            if connection.in_transaction:  # an interrupt came before the rollback
                connection.execute("rollback")
            connection.execute("begin immediate")
            _run_all(connection, batch)
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

    def read(self, operation: Callable[[Tx], T]) -> T:
        """Run `operation` on a connection that cannot write."""
        with self._read_lock:
            try:
                return operation(self._reader)
            except sqlite3.Error as error:
                raise translated(error, self.path) from error

    def now(self) -> float:
        """This machine's clock."""
        return time.time()

    def return_pages(self) -> int:
        """Give some free pages back to the disk, a bounded number a call; returns how many."""
        return self.write(_return_pages)

    def close(self) -> None:
        """Close both connections."""
        with self._committing, self._read_lock:
            self._writer.close()
            self._reader.close()


def _roll_back(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("rollback")


def _run_all(connection: Connection, batch: Batch) -> None:
    """Give each job its results; where an operation fails, its error, and nothing of it is left.

    Nearly always nothing fails, and a savepoint copies each page that is changed.
    """
    try:
        for job in batch.jobs:
            job.results = [operation(connection) for operation in job.operations]
    except Exception as error:
        if not connection.in_transaction:  # SQLite gave up the whole transaction (a full disk): everybody's
            raise
        connection.execute("rollback")
        if len(batch.jobs) == 1 and len(batch.jobs[0].operations) == 1:
            batch.jobs[0].results = [_raised(error)]
            return
    else:
        return
    connection.execute("begin immediate")
    for job in batch.jobs:
        job.results = [_run(connection, operation) for operation in job.operations]


def _run(connection: Connection, operation: Operation) -> object:
    """Its result, or the error that it raised; then nothing of it is left."""
    connection.execute("savepoint operation")
    result: object
    try:
        result = operation(connection)
    except Exception as error:  # it is the caller's, and is raised there
        if not connection.in_transaction:
            raise
        connection.execute("rollback to operation")
        result = _raised(error)
    connection.execute("release operation")
    return result


def _raised(error: Exception) -> Exception:
    return translated(error, "operation") if isinstance(error, sqlite3.Error) else error


def _return_pages(tx: Tx) -> int:
    free = min(ROUND, int(tx.execute("pragma freelist_count").fetchone()[0]))
    for _ in range(free):
        # One by one: the pragma frees a page a step, and CPython's `execute` takes one step of what has no columns.
        tx.execute("pragma incremental_vacuum(1)")
    return free
