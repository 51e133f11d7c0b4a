"""The queue: what is stored, who takes it, and how soon."""

import json
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from tests.world.postgres import Server
from worker.ledger.postgres_url import parameters
from worker.runtime.bands import BandedStorage
from worker.runtime.due import PollsDue, SweepDue
from worker.runtime.huey import Band, WatchHuey
from worker.runtime.postgres_storage import PostgresWakeups
from worker.runtime.storage import WakeupStorage
from worker.secret import Secret

PATIENCE = 30.0
Storage = WakeupStorage | PostgresWakeups


def _deliver(delivery: int) -> None:
    """A task's function; no test here runs it."""


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[WatchHuey]:
    huey = WatchHuey(
        partial(WakeupStorage, filename=str(tmp_path / "queue.db")), polls=PollsDue([]), sweeps=SweepDue(lambda: 0)
    )
    yield huey
    huey.storage.close()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[WakeupStorage]:
    found = WakeupStorage(filename=str(tmp_path / "queue.db"))
    yield found
    found.stop()
    found.close()


@pytest.fixture(params=["sqlite", "postgres"])
def storage(request: pytest.FixtureRequest, postgres: Callable[[], Server]) -> Iterator[Storage]:
    """Either of the two."""
    if request.param == "sqlite":
        yield request.getfixturevalue("file")
        return
    url = Secret(postgres().fresh("queue"))
    found = PostgresWakeups("bus-watch.one", "bus-watch", lambda: parameters(url))
    yield found
    found.stop()
    found.close()


def test_a_task_comes_back_as_it_was_with_the_fraction_of_its_time(watch: WatchHuey) -> None:
    deliver = watch.task(priority=Band.DELIVER, retries=2)(_deliver)

    task = deliver.s(42)
    task.eta = datetime(2026, 11, 22, 1, 2, 3, 456789, tzinfo=UTC).replace(tzinfo=None)
    again = watch.deserialize_task(watch.serialize_task(task))
    assert (again.id, again.args, again.eta, again.priority, again.retries) == (task.id, [42], task.eta, 0, 2)
    plain = watch.deserialize_task(watch.serialize_task(deliver.s(7)))
    assert (plain.args, plain.eta) == ([7], None)


def test_what_is_stored_is_json_and_nothing_but_our_own_can_be(watch: WatchHuey, tmp_path: Path) -> None:
    deliver = watch.task()(_deliver)

    deliver(42)
    with closing(sqlite3.connect(tmp_path / "queue.db")) as db:
        (data,) = db.execute("select data from task").fetchone()
    assert json.loads(data)["task"]["args"] == [42]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("queue.db*")} == {0o600}
    with pytest.raises(TypeError):
        deliver(object())
    with pytest.raises(ValueError, match="pipelines and chords"):
        watch.serialize_task(deliver.s(1).then(deliver, 2))
    import pickle

    with pytest.raises(ValueError):
        watch.serializer.deserialize(pickle.dumps({"an": "attack"}))


def test_a_schedule_keeps_its_fractions(watch: WatchHuey) -> None:
    deliver = watch.task()(_deliver)

    task = deliver.s(42)
    task.eta = datetime.fromtimestamp(1_795_300_000.75, UTC).replace(tzinfo=None)
    watch.add_schedule(task)
    at = [datetime.fromtimestamp(1_795_300_000 + part, UTC).replace(tzinfo=None) for part in (0.5, 1.0)]
    assert watch.read_schedule(at[0]) == []
    (due,) = watch.read_schedule(at[1])
    assert (due.args, due.eta) == ([42], task.eta)
    assert watch.read_schedule(at[1]) == []


def test_a_schedule_is_looked_into_when_something_can_be_due(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours to the moment; what another process has put there within a second."""
    begin = 1_795_300_000.0
    look = Mock(wraps=storage._first_scheduled)
    monkeypatch.setattr(storage, "_first_scheduled", look)

    def at(seconds: float) -> datetime:
        return datetime.fromtimestamp(begin + seconds, UTC)

    storage.add_to_schedule(b"later", at(0.7))
    assert [storage.read_schedule(at(part)) for part in (0.0, 0.2, 0.4)] == [[], [], []]
    assert look.call_count == 1
    storage.add_to_schedule(b"sooner", at(0.5))
    assert [storage.read_schedule(at(part)) for part in (0.5, 0.7)] == [[b"sooner"], [b"later"]]
    another = super(BandedStorage, storage).add_to_schedule  # type: ignore[misc]  # huey's own
    assert storage.read_schedule(at(0.8)) == []
    another(b"another's", at(1.0))
    assert [storage.read_schedule(at(part)) for part in (1.7, 1.8)] == [[], [b"another's"]]
    assert storage.read_schedule(at(9000.0)) == []
    another(b"after a jump", at(2.0))  # our clock is set back
    assert storage.read_schedule(at(2.0)) == [b"after a jump"]


def serving(storage: Storage, band: Band) -> bytes | None:
    storage.serve(band)
    return storage.dequeue()


def test_each_band_has_its_own_workers(storage: Storage) -> None:
    storage.patience = 0.0
    storage.enqueue(b"deliver", Band.DELIVER)
    storage.enqueue(b"sweep", Band.UPKEEP)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(serving, storage, Band.ALERT).result(PATIENCE) is None
        assert pool.submit(serving, storage, Band.UPKEEP).result(PATIENCE) == b"sweep"
        assert pool.submit(serving, storage, Band.UPKEEP).result(PATIENCE) is None
        assert pool.submit(serving, storage, Band.DELIVER).result(PATIENCE) == b"deliver"


def test_upkeep_waits_in_memory(file: WakeupStorage, tmp_path: Path) -> None:
    """They are this process's own, and come again by themselves: one that brings nothing has written nothing."""
    with closing(sqlite3.connect(tmp_path / "queue.db")) as other:
        before = other.execute("pragma data_version").fetchone()
        for band in (Band.UPKEEP, Band.ALERT):
            file.enqueue(b"task", band)
            file.serve(band)
            assert file.dequeue() == b"task"
        assert other.execute("pragma data_version").fetchone() == before
        file.enqueue(b"task", Band.DELIVER)
        assert other.execute("pragma data_version").fetchone() != before


def test_what_an_older_version_left_in_the_file_is_taken(file: WakeupStorage, tmp_path: Path) -> None:
    file.patience = 0.0
    with closing(sqlite3.connect(tmp_path / "queue.db")) as other, other:
        other.execute("insert into task (queue, data, priority) values ('bus-watch', 'old', 100)")
    file.serve(Band.DELIVER)
    assert file.dequeue() is not None
    assert file.dequeue() is None


def test_within_a_band_the_first_come_first(storage: Storage) -> None:
    storage.patience = 0.0
    for number in range(5):
        storage.enqueue(b"%d" % number, Band.UPKEEP)
    storage.serve(Band.UPKEEP)
    assert [storage.dequeue() for _ in range(6)] == [b"0", b"1", b"2", b"3", b"4", None]


def test_a_waiting_worker_wakes_at_once(storage: Storage) -> None:
    """huey's own storage would look again after 0.1 s to 10 s. Generous: this machine may be busy."""
    storage.patience = PATIENCE
    took: list[float] = []
    woken = threading.Semaphore(0)

    def work() -> None:
        storage.serve(Band.DELIVER)
        while (data := storage.dequeue()) is not None:
            took.append(time.monotonic() - float(data))
            woken.release()

    worker = threading.Thread(target=work)
    worker.start()
    for _ in range(20):
        time.sleep(0.01)  # let it fall asleep
        storage.enqueue(repr(time.monotonic()).encode(), Band.DELIVER)
        assert woken.acquire(timeout=PATIENCE)
    storage.stop()
    worker.join(PATIENCE)
    assert not worker.is_alive()
    assert statistics.median(took) < 0.05


def test_a_task_goes_to_one_worker_only(storage: Storage) -> None:
    storage.patience = 0.5

    def drain() -> list[bytes]:
        storage.serve(Band.DELIVER)
        return list(iter(storage.dequeue, None))

    with ThreadPoolExecutor(8) as pool:
        takers = [pool.submit(drain) for _ in range(8)]
        for number in range(200):
            storage.enqueue(b"%d" % number, Band.DELIVER)
        taken = [data for taker in takers for data in taker.result(PATIENCE)]
    assert sorted(taken, key=int) == [b"%d" % number for number in range(200)]


OTHER_PROCESS = """
import sys
from worker.runtime.storage import WakeupStorage
WakeupStorage(filename=sys.argv[1]).enqueue(b"from elsewhere", 0)
"""


def test_another_process_s_writes_are_noticed(file: WakeupStorage, tmp_path: Path) -> None:
    file.patience = PATIENCE
    file.notice_other_writers()
    with ThreadPoolExecutor(1) as pool:
        waiting: Future[Any] = pool.submit(serving, file, Band.DELIVER)
        subprocess.run([sys.executable, "-c", OTHER_PROCESS, str(tmp_path / "queue.db")], check=True, timeout=PATIENCE)
        assert not waiting.done()  # nothing has told this process yet; the scheduler looks once a second:
        file.notice_other_writers()
        assert waiting.result(5) == b"from elsewhere"


def test_durability_is_left_to_the_ledger(file: WakeupStorage) -> None:
    assert file.sql("pragma synchronous", results=True)[0][0] == 1  # NORMAL
    assert file.sql("pragma journal_mode", results=True)[0][0] == "wal"


def test_a_stop_lets_every_worker_go(storage: Storage) -> None:
    storage.patience = PATIENCE
    with ThreadPoolExecutor(len(Band)) as pool:
        waiting = [pool.submit(serving, storage, band) for band in Band]
        storage.stop()
        assert [one.result(5) for one in waiting] == [None] * len(Band)
