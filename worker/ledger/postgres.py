"""The ledger in PostgreSQL: several hosts, any number of processes and threads.

The statements are those of SQLite's ledger, as `postgres_words` puts them. Transactions are READ COMMITTED: whoever
decides by what it reads takes a lock first (`Tx`), and the statement after that sees what the last holder left.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, cast

import psycopg
from psycopg import errors, sql

from worker.errors import ConfigError
from worker.ledger import postgres_url, timeline
from worker.ledger.departures import refuse_moved
from worker.ledger.errors import (
    LedgerBusyError,
    LedgerError,
    LedgerFullError,
    LedgerMissingError,
    LedgerReadOnlyError,
    LedgerTooNewError,
    LedgerUnreachableError,
)
from worker.ledger.group_commit import Batch, GroupCommit, Operation
from worker.ledger.port import Tx, Values
from worker.ledger.postgres_words import definitions, packed, statement, unpacked
from worker.ledger.schema import CLOSED, MIGRATIONS, VERSION
from worker.ledger.server_clock import ServerClock
from worker.ledger.timeline import Line
from worker.secret import Secret
from worker.steady_clock import steady

T = TypeVar("T")

logger = logging.getLogger("bus_watch.ledger")

STOOD_STILL_SECONDS = 5.0  # a commit that takes longer is an outage
TRIES = 5  # of an operation whose transaction met another's
LINE = """
select (select system_identifier from pg_control_system())::text as system,
       ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int as timeline
"""
"""The server's history: its cluster, and its timeline now (`pg_control_checkpoint` tells it a checkpoint late)."""

NUDGE = ("bus-watch", "look")
"""Channel and payload by which workers are told to look at the ledger: the channel that all of them listen to."""

MARGIN = 1000  # numbers that others may take at the very moment in which we reserve some
_LOCK_CLASS = 4208  # of our advisory locks, among whoever else uses the database
_MIGRATING = 1
_SETTINGS = (
    "set synchronous_commit = on",
    "set lock_timeout = '10s'",
    "set idle_in_transaction_session_timeout = '60s'",  # a host that vanished in a transaction holds nobody up for long
)


class Row:
    """One row, by name and by number, as sqlite3.Row."""

    __slots__ = ("_names", "_values")

    def __init__(self, names: dict[str, int], values: Sequence[Any]) -> None:
        self._names, self._values = names, values

    def __getitem__(self, key: int | str, /) -> Any:
        return self._values[self._names[key] if isinstance(key, str) else key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def keys(self) -> list[str]:
        """The names of the columns."""
        return list(self._names)


def _rows(cursor: "psycopg.Cursor[Any]") -> Callable[[Sequence[Any]], Row]:
    names = {column.name: number for number, column in enumerate(cursor.description or ())}
    return lambda values: Row(names, unpacked(values))


class PostgresTx:
    """What an operation does in its transaction."""

    def __init__(self, connection: "psycopg.Connection[Row]", clock: ServerClock) -> None:
        self._connection = connection
        self._clock = clock

    def now(self) -> float:
        """See `Tx`."""
        return self._clock.now()

    def execute(self, query: str, values: Values = (), /) -> "psycopg.Cursor[Row]":
        """Run one statement of ours."""
        if not values:
            return self._connection.execute(statement(query, with_values=False))
        return self._connection.execute(statement(query), packed(values))

    def executemany(self, query: str, values: Iterable[Values], /) -> None:
        """Run it once for each of these."""
        with self._connection.cursor() as cursor:
            cursor.executemany(statement(query), [packed(one) for one in values])

    # `no key update`: rows that point to these may still be inserted.

    def lock_lanes(self, lanes: Iterable[int], /) -> None:
        """See `Tx`."""
        ids = list(lanes)
        if ids:
            self._connection.execute(
                "select 1 from lanes where id = any(%s) order by id for no key update", (ids,), prepare=True
            )

    def lock_lane_of(self, delivery: int, /) -> None:
        """See `Tx`."""
        self._connection.execute(
            "select 1 from lanes where id = (select lane from deliveries where id = %s) for no key update", (delivery,)
        )

    def lock_lanes_of(self, message: int, /) -> None:
        """See `Tx`."""
        self._connection.execute(
            """
            select 1 from lanes where id in (select lane from deliveries where message = %s)
            order by id for no key update
            """,
            (message,),
        )

    def lock_message(self, message: int, /) -> None:
        """See `Tx`."""
        self._connection.execute("select 1 from messages where id = %s for no key update", (message,))

    def lock_inbox(self, agent: str, /) -> None:
        """See `Tx`."""
        self._connection.execute("select 1 from inboxes where agent = %s for no key update", (agent,))

    def lock_outbox(self, agent: str, /) -> None:
        """See `Tx`."""
        self._connection.execute("select pg_advisory_xact_lock(%s, hashtext(%s))", (_LOCK_CLASS, agent))

    def nudge(self) -> None:
        """See `Tx`."""
        self._connection.execute("select pg_notify(%s, %s)", NUDGE)

    def reserve(self, table: str, count: int, /) -> int:
        """See `Tx`. Others may take numbers meanwhile, but not these."""
        names = {"table": sql.Identifier(table), "sequence": sql.Literal(f"{table}_id_seq")}
        last = 0
        if self._connection.execute(sql.SQL("select 1 from {table} limit 1").format(**names)).fetchone():
            taken = self._connection.execute(sql.SQL("select nextval({sequence}::regclass)").format(**names)).fetchone()
            last = int(taken[0]) + MARGIN if taken else 0
        if last + count:
            self._connection.execute(
                sql.SQL("select setval({sequence}::regclass, %s)").format(**names), (last + count,)
            )
        return last

    @contextlib.contextmanager
    def without_events(self) -> Iterator[None]:
        """See `Tx`; it holds for the rest of the transaction, at whose end triggers of events run."""
        self._connection.execute("set local bus_watch.copying = 'on'")
        yield

    def close_for_good(self, words: str, /) -> None:
        """See `Tx`. It waits for whoever is writing."""
        self._connection.execute(
            sql.SQL("create or replace function moved() returns trigger language plpgsql as {}").format(
                sql.Literal(f"begin raise exception '%', {sql.Literal(words).as_string()}; end")
            )
        )
        for table in CLOSED:
            self._connection.execute(
                sql.SQL(
                    "create trigger moved before insert or update or delete on {} for each statement "
                    "execute function moved()"
                ).format(sql.Identifier(table))
            )

    def reopen(self) -> None:
        """See `Tx`."""
        for table in CLOSED:
            self._connection.execute(sql.SQL("drop trigger if exists moved on {}").format(sql.Identifier(table)))


class PostgresLedger(GroupCommit):
    """The ledger in one schema of a database, by a URL (`postgresql://...`), which may hold a password.

    It connects at its first use, and brings the schema up to date then. A connection that breaks is made again at the
    next use; whoever wanted something meanwhile is told that the server cannot be reached.
    """

    def __init__(self, url: Callable[[], Secret], *, moved_too: bool = False, clock: ServerClock | None = None) -> None:
        """`url` is asked for each connection: its file may have changed. `moved_too`: also where it has moved away.

        `clock` is told the server's time.

        Raises ConfigError, where it cannot be used.
        """
        super().__init__()
        self._url = url
        self._moved_too = moved_too
        self._hidden = Secret("")
        postgres_url.parameters(url())
        self._reading = threading.Lock()
        self._writer: psycopg.Connection[Row] | None = None
        self._reader: psycopg.Connection[Row] | None = None
        self._is_migrated = False
        self._is_closed = False
        self._clock = clock or ServerClock()
        self._away_since: float | None = None  # seconds of the steady clock
        self.on_back: Callable[[], object] = lambda: None

    def _parameters(self) -> dict[str, str]:
        try:
            found = postgres_url.parameters(self._url())
        except ConfigError as error:  # it could be used before: somebody is changing it
            raise LedgerUnreachableError(str(error)) from error
        self._hidden = Secret(found.get("password", ""))
        return found

    @property
    def place(self) -> str:
        """Where it is, without user and password."""
        return postgres_url.shown(self._parameters())

    def _refuse_moved(self, connection: "psycopg.Connection[Row]") -> None:
        if not self._moved_too:
            refuse_moved(PostgresTx(connection, self._clock), self.place)

    def _keep_history(self, connection: "psycopg.Connection[Row]") -> None:
        """Hold what was to run where the server has forgotten commits; where it does not tell, `doctor` says so."""
        try:
            row = connection.execute(LINE).fetchone()
        except (errors.InsufficientPrivilege, errors.UndefinedFunction, errors.ObjectNotInPrerequisiteState):
            return
        if row is None:
            return
        line = Line(str(row["system"]), int(row["timeline"]))
        with connection.transaction():
            connection.execute("select pg_advisory_xact_lock(%s, %s)", (_LOCK_CLASS, _MIGRATING))
            timeline.keep(PostgresTx(connection, self._clock), line)

    def _connect(self) -> "psycopg.Connection[Row]":
        if self._is_closed:  # a thread that comes too late must not open it again
            raise LedgerError("ledger: this process has closed it")
        connection = psycopg.connect(
            **cast("dict[str, Any]", self._parameters()),
            autocommit=True,
            row_factory=_rows,
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=10_000,
        )
        for setting in _SETTINGS:
            connection.execute(sql.SQL(setting))
        self._read_clock(connection)
        return connection

    def _read_clock(self, connection: "psycopg.Connection[Row]") -> None:
        """Learn the server's time, where that was not just done."""
        if self._clock.is_stale():
            self._clock.learn(lambda: _time_of(connection))

    def now(self) -> float:
        """The server's time."""
        return self._clock.now()

    def _connect_to_write(self) -> "psycopg.Connection[Row]":
        """A connection to a schema that is up to date."""
        connection = self._connect()
        try:
            if _version_of(connection) < VERSION:
                _migrate(connection)
            self._refuse_moved(connection)
            self._keep_history(connection)
        except BaseException:
            connection.close()
            raise
        self._is_migrated = True
        return connection

    # -- writing -------------------------------------------------------------------------------------------------------

    def _commit(self, batch: Batch) -> None:
        began = steady()
        try:
            connection = self._begun()
            alone = len(batch.jobs) == 1 and len(batch.jobs[0].operations) == 1
            if alone or not self._together(connection, batch):
                self._one_by_one(connection, batch)
        except Exception as error:  # noqa: BLE001 - it is everybody's, and is raised there
            self._drop_writer()
            batch.error = self._translated(error) if isinstance(error, psycopg.Error) else error
            self._failed(batch.error)
        except BaseException:  # whether the commit came is not known: what was done is found when it is done again
            self._drop_writer()
            raise
        else:
            self._answered(began)
        batch.over = True

    def _begun(self) -> "psycopg.Connection[Row]":
        """The writer in a new transaction. One that broke since its last use, in which nothing was, is made again."""
        if self._writer is not None and not self._writer.closed:
            with contextlib.suppress(psycopg.OperationalError):
                self._writer.execute("begin")
                return self._writer
        self._drop_writer()
        self._writer = self._connect_to_write()
        self._writer.execute("begin")
        return self._writer

    def _together(self, connection: "psycopg.Connection[Row]", batch: Batch) -> bool:
        """Run all operations in the transaction that has begun, and commit; where one of them fails, begin another.

        There are no savepoints: nearly always nothing fails, and each would be a question to the server.
        """
        tx = PostgresTx(connection, self._clock)
        try:
            for job in batch.jobs:
                job.results = [operation(tx) for operation in job.operations]
            connection.execute("commit")
        except Exception:  # whose it is shows when they run one by one
            if connection.closed:
                raise
            connection.execute("rollback")
            connection.execute("begin")
            return False
        return True

    def _one_by_one(self, connection: "psycopg.Connection[Row]", batch: Batch) -> None:
        """Run each operation in a transaction of its own; the first one has begun."""
        begun = True
        for job in batch.jobs:
            job.results = []
            for operation in job.operations:
                if not begun:
                    connection.execute("begin")
                begun = False
                job.results.append(self._run(connection, operation))

    def _run(self, connection: "psycopg.Connection[Row]", operation: Operation) -> object:
        """Its result, or the error that it raised. Where its transaction met another's, it is tried again."""
        for left in reversed(range(TRIES)):
            try:
                result = operation(PostgresTx(connection, self._clock))
                connection.execute("commit")
            except Exception as error:
                if connection.closed:
                    raise
                connection.execute("rollback")
                if left and isinstance(error, _MET_ANOTHER):
                    # Whoever was in its way goes first: a lock taken again at once may be had before the other wakes.
                    time.sleep(0.03 * (TRIES - left))
                    connection.execute("begin")
                    continue
                return self._translated(error) if isinstance(error, psycopg.Error) else error
            return result
        raise AssertionError

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    # -- reading -------------------------------------------------------------------------------------------------------

    def read(self, operation: Callable[[Tx], T]) -> T:
        """Run `operation`, which must not write. LedgerError."""
        with self._reading:
            began = steady()
            try:
                found = self._read(operation)
            except psycopg.Error as error:
                translated = self._translated(error)
                self._failed(translated)
                raise translated from error
            except LedgerUnreachableError as error:
                self._failed(error)
                raise
            self._answered(began)
            return found

    def _read(self, operation: Callable[[Tx], T]) -> T:
        if self._reader is not None and not self._reader.closed:
            try:
                self._read_clock(self._reader)
                return operation(PostgresTx(self._reader, self._clock))
            except psycopg.OperationalError:
                if not self._reader.closed:
                    raise
        if not self._is_migrated:
            self._connect_to_write().close()
        self._reader = self._connect()
        self._reader.execute("set default_transaction_read_only = on")
        return operation(PostgresTx(self._reader, self._clock))

    def _failed(self, error: Exception) -> None:
        """Say that the server is away, once for all who meet it."""
        if isinstance(error, LedgerUnreachableError) and self._away_since is None:
            self._away_since = steady()
            logger.error("%s", error)

    def _answered(self, began: float) -> None:
        """It answers; one that was away, or stood still, may have made others give up: what they owed is owed still."""
        since, self._away_since = self._away_since, None
        if since is not None:
            logger.warning("the ledger's server is back, after %.0f s", steady() - since)
        if since is not None or steady() - began > STOOD_STILL_SECONDS:
            self.on_back()

    @contextlib.contextmanager
    def one_moment(self) -> Iterator[Tx]:
        """For a command that looks: one moment of the ledger, however long it looks; nothing is made or changed.

        LedgerMissingError, where no worker has made it yet, and the other LedgerErrors.
        """
        try:
            with contextlib.closing(self._connect()) as connection:
                found = _version_of(connection)
                if not found:
                    raise LedgerMissingError("the database has no ledger yet; start the worker with: bus-watch run")
                if found < VERSION:
                    raise LedgerMissingError("the ledger is older than this program; the worker will migrate it")
                self._refuse_moved(connection)
                connection.execute("begin isolation level repeatable read read only")
                yield PostgresTx(connection, self._clock)
        except psycopg.Error as error:
            raise self._translated(error) from error

    def return_pages(self) -> int:
        """The server's autovacuum does that: 0."""
        return 0

    def close(self) -> None:
        """Close both connections, for good."""
        with self._committing:
            self._is_closed = True
            self._drop_writer()
        with self._reading:
            if self._reader is not None:
                self._reader.close()

    def _translated(self, error: psycopg.Error) -> LedgerError:
        """Our error for one of PostgreSQL's; its first line, without the password."""
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if self._hidden:
            words = words.replace(self._hidden.reveal(), "***")
        for kinds, ours, hint in _ERRORS:
            if isinstance(error, kinds):
                return ours(f"ledger: {hint} ({words})")
        return LedgerError(f"ledger: {words}")


def _time_of(connection: "psycopg.Connection[Row]") -> float:
    row = connection.execute("select extract(epoch from clock_timestamp())::float8").fetchone()
    assert row is not None  # noqa: S101 - a select without a table has one row
    return float(row[0])


def _version_of(connection: "psycopg.Connection[Row]") -> int:
    """Which schema is there, 0 for none. LedgerTooNewError, with nothing changed."""
    there = connection.execute("select to_regclass('schema_version') is not null as there").fetchone()
    if there is None or not there["there"]:
        return 0
    row = connection.execute("select max(version) as version from schema_version").fetchone()
    found = int(row["version"] or 0) if row is not None else 0
    if found > VERSION:
        raise LedgerTooNewError(
            f"the ledger has schema {found}, this program knows up to {VERSION}; "
            "upgrade bus-watch (nothing was changed)"
        )
    return found


def _migrate(connection: "psycopg.Connection[Row]") -> None:
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(%s, %s)", (_LOCK_CLASS, _MIGRATING))
        connection.execute("create table if not exists schema_version (version bigint primary key)")
        for number in range(_version_of(connection), VERSION):  # another process may have been first
            connection.execute(sql.SQL(definitions(MIGRATIONS[number])))
            connection.execute("insert into schema_version values (%s)", (number + 1,))


_MET_ANOTHER = (errors.DeadlockDetected, errors.SerializationFailure, errors.UniqueViolation)

_ERRORS: tuple[tuple[tuple[type[psycopg.Error], ...], type[LedgerError], str], ...] = (
    ((errors.DiskFull,), LedgerFullError, "the server's disk is full; free some space"),
    ((errors.ReadOnlySqlTransaction,), LedgerReadOnlyError, "the server only lets us read; is it a standby?"),
    ((errors.LockNotAvailable, errors.QueryCanceled), LedgerBusyError, "another transaction keeps it locked"),
    (
        (errors.InvalidPassword, errors.InvalidAuthorizationSpecification, errors.InvalidCatalogName),
        LedgerError,
        "the server refuses us; check user, password and database",
    ),
    ((errors.InsufficientPrivilege,), LedgerReadOnlyError, "the user may not do that; grant it the schema"),
    ((psycopg.OperationalError,), LedgerUnreachableError, "its server cannot be reached; work goes on when it can"),
)
