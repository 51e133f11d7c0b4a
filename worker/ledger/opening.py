"""Opening the ledger's file: private, durable, brought up to date; or refused and left as it is."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from worker import durable
from worker.ledger.departures import refuse_moved
from worker.ledger.errors import (
    PUT_A_BACKUP,
    LedgerCorruptError,
    LedgerError,
    LedgerMissingError,
    LedgerTooNewError,
    from_os,
    translated,
)
from worker.ledger.schema import CLOSED, MIGRATIONS, VERSION
from worker.plain_files import no_file

BUSY_TIMEOUT_MS = 10_000
MINIMUM_SQLITE = (3, 35, 0)  # RETURNING


class Connection(sqlite3.Connection):
    """A connection that is a `Tx`: SQLite lets one process write at a time, so that nothing needs a lock of its own."""

    def now(self) -> float:
        """See `Tx`: whoever uses the file has this machine's clock."""
        return time.time()

    def _already(self, _: object, /) -> None:
        """Whoever writes has locked everything."""

    lock_lanes = lock_lane_of = lock_lanes_of = lock_message = lock_inbox = lock_outbox = _already

    def nudge(self) -> None:
        """See `Tx`. There is one host: `sweep_signal` tells its workers."""

    def reserve(self, table: str, _: int, /) -> int:
        """See `Tx`."""
        return int(self.execute(f"select coalesce(max(id), 0) from {table}").fetchone()[0])  # noqa: S608 - our name

    @contextlib.contextmanager
    def without_events(self) -> Iterator[None]:
        """See `Tx`. Where it fails, the transaction is undone, and the triggers are there again."""
        triggers = self.execute("select name, sql from sqlite_master where type = 'trigger'").fetchall()
        for name, _ in triggers:
            self.execute(f"drop trigger {name}")
        yield
        for _, definition in triggers:
            self.execute(definition)

    def close_for_good(self, words: str, /) -> None:
        """See `Tx`."""
        quoted = words.replace("'", "''")
        for name, verb, table in _guards():
            self.execute(f"create trigger {name} before {verb} on {table} begin select raise(abort, '{quoted}'); end")

    def reopen(self) -> None:
        """See `Tx`."""
        for name, _, _ in _guards():
            self.execute(f"drop trigger if exists {name}")


def _guards() -> Iterator[tuple[str, str, str]]:
    """Triggers, each with a verb and a table."""
    for table in CLOSED:
        for verb in ("insert", "update", "delete"):
            yield f"moved_{verb}_{table}", verb, table


@contextlib.contextmanager
def reading(path: Path) -> Iterator[Connection]:
    """A connection for a command that only looks: it never creates, migrates or writes the file.

    It shows one moment of the ledger, however long the command looks.

    Raises LedgerMissingError, LedgerTooNewError and the other LedgerErrors.
    """
    refuse_no_file(path)
    if not path.exists():
        raise LedgerMissingError(f"there is no ledger at {path} yet; start the worker with: bus-watch run")
    _refuse_emptied(path)
    try:
        connection = connect(path)
        try:
            connection.execute("pragma query_only = on")
            if _version(connection) < VERSION:
                raise LedgerMissingError(f"the ledger {path} is older than this program; the worker will migrate it")
            refuse_moved(connection, str(path))
            connection.execute("begin")
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise translated(error, path) from error


def create_private(path: Path) -> None:
    """The folder 0700 where we make it, the file 0600 from its first byte on; SQLite's -wal and -shm follow it."""
    if sqlite3.sqlite_version_info < MINIMUM_SQLITE:
        raise LedgerCorruptError(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer is needed")
    refuse_no_file(path)
    _refuse_emptied(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise from_os(error, path) from error


def refuse_no_file(path: Path) -> None:
    """LedgerError where something stands at the ledger's place that is no file, or a link to nothing."""
    try:
        kind = no_file(path.stat().st_mode)
    except OSError:
        kind = f"it is a link to {path.readlink()}, which is not there" if path.is_symlink() else None
    if kind is not None:
        raise LedgerError(f"{path} should be the ledger, but {kind}: move it away, or change state_path")


def _refuse_emptied(path: Path) -> None:
    """A file of 0 bytes beside the folder of a worker that has run was a ledger; SQLite takes it for a new one."""
    try:
        emptied = path.stat().st_size == 0 and any(path.with_suffix(".d").iterdir())
    except OSError:
        return
    if emptied:
        raise LedgerCorruptError(f"ledger {path}: it is empty, something has cut it off: {PUT_A_BACKUP}")


def connect(path: Path) -> Connection:
    """A connection whose commits last. LedgerTooNewError, with the file untouched; sqlite3.Error."""
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, cached_statements=256, factory=Connection
    )
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


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file up to date, one migration a transaction. sqlite3.Error, with that migration undone."""
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
