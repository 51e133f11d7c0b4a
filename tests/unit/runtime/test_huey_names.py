"""huey's names that our subclasses use without huey having promised them: the reason for its upper bound in pyproject.

When this fails after an upgrade, huey has renamed something: look at each place in `worker/runtime` that uses it.
"""

import ast
import inspect
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from huey import SqliteHuey
from huey.consumer import Consumer, Scheduler, Worker
from huey.registry import Message
from huey.serializer import Serializer
from huey.storage import PostgresStorage, SqliteStorage

from tests.world.processes import ROOT
from worker.runtime.consumer import BandWorker, QuickScheduler, WatchConsumer
from worker.runtime.huey import WatchHuey
from worker.runtime.postgres_storage import PostgresWakeups
from worker.runtime.serializer import JsonSerializer
from worker.runtime.storage import WakeupStorage

PRIVATE = {
    "Consumer": {
        "_create_process",
        "_handle_signal",
        "_interrupt_sig",
        "_join_workers",
        "_logger",
        "_signal_actions",
        "_stop_flag_timeout",
    },
    "PostgresStorage": {"_connect", "_create_connection"},
    "Scheduler": {"_logger"},
    "Serializer": {"_deserialize", "_serialize"},
    "SqliteHuey": {"_immediate", "_registry"},
    "SqliteStorage": {"_create_connection"},
    "Worker": {"_logger"},  # we use the scheduler's; the others have one too
}

# Not private, but nowhere documented either.
UNDOCUMENTED = {
    "Consumer": {"backoff", "default_delay", "max_delay", "periodic", "stop_flag", "worker_threads"},
    "PostgresStorage": {"db", "ddl", "lock", "name", "table_task"},
    "Scheduler": {"huey", "periodic", "stop_flag"},
    "SqliteHuey": {"create_consumer", "create_storage", "get_immediate_storage", "read_periodic", "read_schedule"},
    "SqliteStorage": {"begin_sql", "db", "filename", "has_data_for_key", "initialize_schema", "lock", "name", "sql"},
    "Worker": {"huey", "initialize"},
}


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[dict[str, object]]:
    """What huey itself makes, by the name of its class."""
    huey = SqliteHuey(filename=str(tmp_path / "queue.db"))
    consumer = Consumer(huey, workers=1)
    worker, _ = consumer.worker_threads[0]
    made = [huey, huey.storage, huey.serializer, consumer, worker, consumer._create_scheduler()]
    made.append(PostgresStorage(create_tables=False))
    with closing(huey.storage):
        yield {type(one).__name__: one for one in made}


def test_each_private_name_is_there_and_named_here(stock: dict[str, object]) -> None:
    used = {
        node.attr if isinstance(node, ast.Attribute) else node.name
        for file in (ROOT / "worker" / "runtime").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute | ast.FunctionDef)
    }
    private = {name for name in used if name.startswith("_") and not name.endswith("__")}
    assert {name: {one for one in private if hasattr(made, one)} for name, made in stock.items()} == PRIVATE


def test_what_is_undocumented_is_there(stock: dict[str, object]) -> None:
    missing = {
        owner: {name for name in names if not hasattr(stock[owner], name)} for owner, names in UNDOCUMENTED.items()
    }
    assert not any(missing.values()), missing


def test_what_we_override_is_called_as_before() -> None:
    pairs: list[tuple[type, type]] = [
        (BandWorker, Worker), (QuickScheduler, Scheduler), (WatchConsumer, Consumer), (WakeupStorage, SqliteStorage),
        (PostgresWakeups, PostgresStorage), (JsonSerializer, Serializer), (WatchHuey, SqliteHuey),
    ]  # fmt: skip
    overridden = 0
    for ours, theirs in pairs:
        for name, method in vars(ours).items():
            if not inspect.isfunction(method) or name == "__init__" or not hasattr(theirs, name):
                continue
            overridden += 1
            assert list(inspect.signature(method).parameters) == list(
                inspect.signature(getattr(theirs, name)).parameters
            ), f"{theirs.__name__}.{name}"
    assert overridden > 15


def test_a_stored_task_has_the_fields_that_we_clear() -> None:
    assert {"args", "chord_config", "eta", "expires", "expires_resolved", "kwargs", "on_complete", "on_error"} <= set(
        Message._fields
    )


def test_the_tables_have_the_columns_that_we_ask_for(stock: dict[str, object]) -> None:
    storage = stock["SqliteStorage"]
    assert isinstance(storage, SqliteStorage)
    for query in ("select id, queue, priority, data from task", "select queue, timestamp from schedule"):
        storage.sql(query, results=True)
