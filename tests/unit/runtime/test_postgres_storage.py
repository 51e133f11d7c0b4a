"""The queue of several hosts: whose task it is, who hears of it, its connections, and its server's absence."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from tests.world.postgres import Server, running_server
from tests.world.waiting import PATIENCE, until
from worker.ledger.postgres_url import parameters
from worker.runtime.bands import Band
from worker.runtime.due import PollsDue, SweepDue
from worker.runtime.huey import WatchHuey
from worker.runtime.postgres_storage import ANYWHERE, PostgresWakeups, QueueAwayError, channel_of
from worker.secret import Secret

Queue = Callable[[str], PostgresWakeups]


@pytest.fixture
def server(postgres: Callable[[], Server]) -> Server:
    return postgres()


@pytest.fixture
def opened() -> Iterator[Callable[[str, str], PostgresWakeups]]:
    """Makes the queue of a worker on a host."""
    with ExitStack() as stack:

        def open_queue(host: str, url: str) -> PostgresWakeups:
            secret = Secret(url)
            found = PostgresWakeups(f"bus-watch.{host}", "bus-watch", lambda: parameters(secret))
            stack.callback(found.close)
            stack.callback(found.stop)
            return found

        yield open_queue


@pytest.fixture
def queue(opened: Callable[[str, str], PostgresWakeups], server: Server) -> Queue:
    url = server.fresh("queue")
    return lambda host: opened(host, url)


def _taken(storage: PostgresWakeups) -> list[bytes]:
    storage.patience = 0.0
    return list(iter(storage.dequeue, None))


def test_a_host_takes_what_is_its_own_and_what_is_for_any(queue: Queue) -> None:
    one, two = queue("one"), queue("two")
    one.enqueue(b"bound", Band.DELIVER)
    one.enqueue(b"for any", ANYWHERE)
    two.enqueue(b"sweeps stay here", Band.UPKEEP)
    assert _taken(two) == [b"for any"]
    assert _taken(one) == [b"bound"]


def _serve(storage: PostgresWakeups, took: list[tuple[str, float]], name: str) -> None:
    storage.serve(Band.DELIVER)
    while not storage.stopping:
        if (data := storage.dequeue()) is not None:
            took.append((name, time.monotonic() - float(data)))


def test_who_waits_elsewhere_is_rung_for(queue: Queue) -> None:
    """The other worker of the host, or another host: at once, not after its patience."""
    putter, taker = queue("one"), queue("one")
    putter.patience = taker.patience = PATIENCE * 10
    took: list[tuple[str, float]] = []
    thread = threading.Thread(target=_serve, args=(taker, took, "taker"))
    thread.start()
    _await_listener(taker)
    for number in range(1, 6):
        putter.enqueue(repr(time.monotonic()).encode(), Band.DELIVER)
        until(lambda number=number: len(took) == number, "the task")  # type: ignore[misc]
    taker.stop()
    thread.join(PATIENCE)
    assert max(seconds for _, seconds in took) < PATIENCE


def _await_listener(storage: PostgresWakeups) -> None:
    def listens() -> bool:
        with storage.db() as cursor:
            cursor.execute("select 1 from pg_stat_activity where query ilike 'listen%'")
            return cursor.fetchone() is not None

    until(listens, "the listener")


def test_two_connections_however_many_threads(queue: Queue, server: Server) -> None:
    storage = queue("one")
    storage.patience = 0.2
    before = _connections(server)  # of earlier tests: their listeners take a moment to end

    def serve() -> None:
        storage.serve(Band.DELIVER)
        for _ in range(5):
            storage.dequeue()

    with ThreadPoolExecutor(16) as pool:
        for one in [pool.submit(serve) for _ in range(16)]:
            one.result(PATIENCE)
    _await_listener(storage)
    assert len(_connections(server) - before) == 2


def _connections(server: Server) -> set[object]:
    with server.connect() as connection:
        found = connection.execute("select pid from pg_stat_activity where application_name = 'bus-watch queue'")
        return {pid for (pid,) in found}


def test_commits_do_not_wait_for_the_disk(queue: Queue) -> None:
    assert queue("one").sql("show synchronous_commit", results=True)[0][0] == "off"


def _deliver(delivery: int) -> None:
    """A task's function; no test here runs it."""


def test_the_schedule_is_this_host_s_and_keeps_its_fractions(queue: Queue) -> None:
    one, two = queue("one"), queue("two")
    huey = WatchHuey(lambda: one, polls=PollsDue([]), sweeps=SweepDue(lambda: 0))
    task = huey.task()(_deliver).s(42)
    now = datetime.now(UTC).replace(tzinfo=None)
    task.eta = now + timedelta(seconds=0.75)
    assert huey.read_schedule(now) == []
    huey.add_schedule(task)
    assert huey.read_schedule(now + timedelta(seconds=0.5)) == []
    assert two.read_schedule(now + timedelta(seconds=2)) == []
    (due,) = huey.read_schedule(now + timedelta(seconds=0.8))
    assert (due.args, due.eta) == ([42], task.eta)


def test_while_its_server_is_away_nothing_is_lost_nor_busy(
    opened: Callable[[str, str], PostgresWakeups], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="bus_watch.queue")
    with running_server() as server:
        storage = opened("one", server.fresh("queue"))
        losses: list[int] = []
        storage.on_loss = partial(losses.append, 1)
        storage.enqueue(b"task", Band.DELIVER)
        tries: list[int] = []
        connect = storage._connect

        def count() -> Any:
            tries.append(1)
            return connect()

        storage._connect = count  # type: ignore[method-assign]
        server.stop("immediate")
        storage.patience = 0.05
        for _ in range(20):
            assert storage.dequeue() is None
            assert storage.read_schedule(datetime.now(UTC).replace(tzinfo=None)) == []
            with pytest.raises(QueueAwayError):
                storage.enqueue(b"refused", Band.DELIVER)
        assert len(tries) <= 5, "the server is not asked at every turn"
        storage.enqueue(b"a sweep", Band.UPKEEP)  # goes on
        server.start()
        until(lambda: storage.dequeue() is None and not storage._away, "the queue to be back")
        assert losses == [1], "the ledger fills it again"
    words = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    assert [one.split("(")[0].strip() for one in words] == ["the queue's server is away", "the queue's server is back"]


def test_tables_that_were_gone_are_made_again(queue: Queue, server: Server) -> None:
    storage = queue("one")
    storage.enqueue(b"task", Band.DELIVER)
    with server.connect() as connection:
        connection.execute("drop table queue.bus_watch_queue_task")
    losses: list[int] = []
    storage.on_loss = partial(losses.append, 1)
    storage.patience = 0.0
    assert storage.dequeue() is None
    until(lambda: storage.dequeue() is None and losses, "the tables to be back")
    storage.enqueue(b"again", Band.DELIVER)
    assert _taken(storage) == [b"again"]


def test_a_long_host_has_a_channel_too() -> None:
    names = [channel_of(f"bus-watch.{'h' * 60}{n}") for n in range(2)]
    assert len(set(names)) == 2
    assert all(len(name) <= 63 for name in names)


def test_no_word_of_it_has_the_password(opened: Callable[[str, str], PostgresWakeups]) -> None:
    for url in ("postgresql://u:hunter2@127.0.0.1:1/x", "postgresql://u:hunter2@[/x"):
        storage = opened("one", url)
        with pytest.raises(QueueAwayError) as raised:
            storage.enqueue(b"task", Band.DELIVER)
        assert "hunter2" not in f"{raised.value!r}{raised.value.__cause__!r}"
