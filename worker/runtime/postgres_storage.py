"""The queue of several hosts: huey's tables in PostgreSQL, one connection and one listener for a worker.

It is a wake-up list: commits do not wait for the disk, and while its server is away nothing is taken and what is put is
refused. Once it is back the ledger fills it again. huey's own storage opens a connection for each thread that listens.
"""

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, cast

import psycopg
from huey.storage import PostgresStorage
from psycopg import sql

from worker.errors import BusWatchError
from worker.fault_steps import step
from worker.runtime.bands import Band, BandedStorage

logger = logging.getLogger("bus_watch.queue")

ANYWHERE = 1.0  # the priority of a delivery that every host may make, where others have 0
RETRY_SECONDS = 1.0  # between two tries to reach the server
LISTEN_SECONDS = 5.0  # of silence, after which the listener asks whether its server lives
_LOCK_CLASS = 4208  # of our advisory locks, as in the ledger
_MAKING_TABLES = 3


class QueueAwayError(OSError):
    """The queue's server cannot be reached: work goes on by itself once it can."""


class PostgresWakeups(BandedStorage, PostgresStorage):
    """Deliveries lie in PostgreSQL: those of this host in the queue `name`, others' in `shared`, which all take from.

    `parameters`: what to connect with, asked for each connection. Making one of these needs no server.
    """

    def __init__(self, name: str, shared: str, parameters: Callable[[], dict[str, str]]) -> None:
        self._queues = [name, shared]
        self._parameters = parameters
        self._not_before = 0.0  # the next try to connect (monotonic seconds)
        self._pid = 0  # of the server's process for the connection that puts
        self._away = False
        self._listener: threading.Thread | None = None
        self._listener_lock = threading.Lock()
        BandedStorage.__init__(self)
        PostgresStorage.__init__(self, name, table_prefix="bus_watch_queue", create_tables=False)

    # -- connections ---------------------------------------------------------------------------------------------------

    def _connect(self) -> "psycopg.Connection[Any]":
        try:
            parameters = self._parameters()
        except BusWatchError as error:  # somebody is changing the file that it is read from
            raise QueueAwayError(str(error)) from None
        try:
            connection = psycopg.connect(
                **cast("dict[str, Any]", parameters | {"application_name": "bus-watch queue"}),
                autocommit=True,
                keepalives_idle=5,
                keepalives_interval=2,
                keepalives_count=3,
                tcp_user_timeout=10_000,
            )
        except psycopg.Error as error:
            raise QueueAwayError(_words(error)) from None
        connection.add_notice_handler(lambda _: None)
        connection.execute("set synchronous_commit = off")
        return connection

    def _create_connection(self) -> "psycopg.Connection[Any]":
        """The one for all threads, with `lock` held. The tables are made where they are not there."""
        if time.monotonic() < self._not_before:
            raise QueueAwayError("its server cannot be reached")
        self._not_before = time.monotonic() + RETRY_SECONDS
        connection = self._connect()
        try:
            with connection.transaction():
                connection.execute("select pg_advisory_xact_lock(%s, %s)", (_LOCK_CLASS, _MAKING_TABLES))
                for definition in self.ddl:
                    connection.execute(definition)
        except BaseException:
            connection.close()
            raise
        self._pid = connection.info.backend_pid
        return connection

    @contextlib.contextmanager
    def db(self, commit: bool = False, close: bool = False) -> Iterator[Any]:  # noqa: FBT001, FBT002 - huey's signature
        """huey's; QueueAwayError where the server does not answer."""
        try:
            with super().db(commit=commit, close=close) as cursor:
                yield cursor
        except psycopg.Error as error:
            if isinstance(error, psycopg.errors.UndefinedTable):  # somebody has emptied the database
                self.close()  # the next connection makes them
            raise QueueAwayError(_words(error)) from None
        self._is_back()

    def _is_away(self, error: object) -> None:
        """Say so, once an episode."""
        if not self._away:
            self._away = True
            logger.warning("the queue's server is away (%s): nothing new is started until it is back", error)

    def _is_back(self) -> None:
        """What was put there before may be lost with it, and who was rung for did not hear it."""
        if self._away:
            self._away = False
            logger.info("the queue's server is back")
            self.on_loss()
            self.wake()

    # -- the listener --------------------------------------------------------------------------------------------------

    def serve(self, band: Band) -> None:
        """From now on the calling thread takes tasks of this band; the first one has the listener started."""
        super().serve(band)
        with self._listener_lock:
            if self._listener is None and not self.stopping:
                self._listener = threading.Thread(target=self._listen, name="queue-listener", daemon=True)
                self._listener.start()

    def _listen(self) -> None:
        while not self.stopping:
            try:
                with contextlib.closing(self._connect()) as connection:
                    for queue in self._queues:
                        connection.execute(sql.SQL("listen {}").format(sql.Identifier(channel_of(queue))))
                    self.signals[Band.DELIVER].ring()  # what came while nobody listened
                    self._hear(connection)
            except (psycopg.Error, QueueAwayError) as error:
                if not self.stopping:
                    logger.debug("the queue's listener lost its server: %s", type(error).__name__)
                    time.sleep(RETRY_SECONDS)

    def _hear(self, connection: "psycopg.Connection[Any]") -> None:
        while not self.stopping:
            heard = list(connection.notifies(timeout=LISTEN_SECONDS, stop_after=1))
            if not heard:
                connection.execute("select 1")
            if any(one.payload for one in heard):
                self.on_nudge()
            # What we put ourselves we have rung for.
            if count := sum(one.pid != self._pid for one in heard if not one.payload):
                self.signals[Band.DELIVER].ring(count)

    # -- tasks ---------------------------------------------------------------------------------------------------------

    def _store(self, data: bytes, priority: float | None) -> None:
        queue = self._queues[1 if priority == ANYWHERE else 0]
        with self.db() as cursor:  # one statement: one question, and the ring comes with the commit
            cursor.execute(
                f"with put as (insert into {self.table_task} (queue, data, priority) values (%s, %s, 0) returning id)"  # noqa: S608 - huey's name
                " select pg_notify(%s, '') from put",
                (queue, data, channel_of(queue)),
            )

    def _take_stored(self) -> bytes | None:
        try:
            with self.db() as cursor:
                cursor.execute(
                    f"""
                    delete from {self.table_task} where id = (
                      select id from {self.table_task} where queue = any(%s) order by id limit 1 for update skip locked)
                    returning data
                    """,  # noqa: S608 - huey's name
                    (self._queues,),
                )
                row = cursor.fetchone()
        except QueueAwayError as error:
            self._is_away(error)
            return None  # it looks again when somebody rings, or after `patience`
        if row is None:
            return None
        step("dequeued")
        return bytes(row[0])

    def _first_scheduled(self) -> float | None:
        query = f"select min(timestamp) from {self.table_schedule} where queue = %s"  # noqa: S608 - huey's own name
        return cast("float | None", self.sql(query, (self.name,), results=True)[0][0])

    def read_schedule(self, ts: datetime) -> list[bytes]:
        """huey's; nothing while the server is away."""
        try:
            return super().read_schedule(ts)
        except QueueAwayError as error:
            self._is_away(error)
            return []

    def delete_data(self, key: str) -> bool:  # noqa: ARG002 - huey's signature
        """Nothing is ever revoked here; huey would ask after each task."""
        return False

    def notice_other_writers(self) -> None:
        """The listener hears of them."""


def channel_of(queue: str) -> str:
    """The name under which a queue is rung for: PostgreSQL takes 63 bytes."""
    return queue if len(queue.encode()) <= 63 else f"bus-watch.{hashlib.sha256(queue.encode()).hexdigest()[:40]}"


def _words(error: psycopg.Error) -> str:
    """The first line of what it says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
