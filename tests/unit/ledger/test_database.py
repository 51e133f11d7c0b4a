"""Opening and writing: shared commits, undone operations, locks, and files that are not ours to touch."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from worker.ledger import opening
from worker.ledger.errors import (
    LedgerBusyError,
    LedgerCorruptError,
    LedgerError,
    LedgerMissingError,
    LedgerReadOnlyError,
    LedgerTooNewError,
)
from worker.ledger.opening import reading
from worker.ledger.port import Ledger, Tx
from worker.ledger.schema import VERSION
from worker.ledger.sqlite import SqliteLedger

INSERT = "insert into inboxes (agent, floor_ms) values (?, 0)"


def _agents(db: Ledger) -> set[str]:
    return {row["agent"] for row in db.read(lambda tx: tx.execute("select agent from inboxes").fetchall())} - {"a"}


def test_it_is_private_durable_and_shrinkable(file: SqliteLedger) -> None:
    assert file.path.stat().st_mode & 0o777 == 0o600
    for pragma, value in (("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("auto_vacuum", 2)):
        assert file._writer.execute(f"pragma {pragma}").fetchone()[0] == value


def test_an_operation_that_fails_takes_nobody_along(db: Ledger) -> None:
    """All wait for one commit; half of them raise after they have written."""
    gate = threading.Event()
    begun = threading.Event()

    def first(tx: Tx) -> None:
        begun.set()
        gate.wait(30)

    def one(number: int) -> int:
        def operation(tx: Tx) -> int:
            tx.execute(INSERT, (f"n{number}",))
            if number % 2:
                raise ValueError(number)
            return number

        return db.write(operation)

    with ThreadPoolExecutor(33) as pool:
        leader = pool.submit(db.write, first)
        assert begun.wait(30)
        others = [pool.submit(one, number) for number in range(32)]
        gate.set()
        leader.result(30)
        for number, future in enumerate(others):
            if number % 2:
                with pytest.raises(ValueError, match=str(number)):
                    future.result(30)
            else:
                assert future.result(30) == number
    assert _agents(db) == {f"n{number}" for number in range(0, 32, 2)}


def test_an_interrupt_in_the_commit_is_no_commit(file: SqliteLedger) -> None:
    """Ctrl-C hits the thread that commits for everybody: nobody is told that it is done."""

    class Interrupted:
        @property
        def in_transaction(self) -> bool:
            return real.in_transaction

        def execute(self, query: str) -> None:
            if query == "commit":
                raise KeyboardInterrupt
            real.execute(query)

    real, file._writer = file._writer, Interrupted()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        file.write(lambda _: real.execute(INSERT, ("lost",)))
    file._writer = real
    assert not real.in_transaction
    assert _agents(file) == set()
    file.write(lambda tx: tx.execute(INSERT, ("kept",)))
    assert _agents(file) == {"kept"}


def test_a_lock_that_lasts_and_a_file_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "BUSY_TIMEOUT_MS", 50)
    db = SqliteLedger(tmp_path / "ledger.db")
    with closing(sqlite3.connect(db.path, isolation_level=None)) as other:
        other.execute("begin immediate")
        with pytest.raises(LedgerBusyError, match="locked"):
            db.write(lambda tx: tx.execute(INSERT, ("x",)))
        other.execute("rollback")
    db.write(lambda tx: tx.execute(INSERT, ("y",)))
    db._writer.execute("pragma query_only = on")
    with pytest.raises(LedgerReadOnlyError):
        db.write(lambda tx: tx.execute(INSERT, ("z",)))
    db._writer.execute("pragma query_only = off")
    assert _agents(db) == {"y"}
    db.close()


def test_a_lock_that_passes_is_waited_for(file: SqliteLedger) -> None:
    other = sqlite3.connect(file.path, isolation_level=None, check_same_thread=False)
    other.execute("begin immediate")
    with closing(other), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(file.write, lambda tx: tx.execute(INSERT, ("late",)))
        with pytest.raises(TimeoutError):
            waiting.result(0.2)
        other.execute("rollback")
        waiting.result(30)
    assert _agents(file) == {"late"}


def test_a_newer_ledger_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    newer = sqlite3.connect(path)
    newer.execute(f"pragma user_version = {VERSION + 1}")
    newer.close()
    before = path.read_bytes()
    with pytest.raises(LedgerTooNewError, match="upgrade"):
        SqliteLedger(path)
    with pytest.raises(LedgerTooNewError), reading(path):
        pass
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["ledger.db"]


def test_what_is_no_ledger_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"something else entirely" * 200)
    with pytest.raises(LedgerCorruptError, match="put a backup in its place"):
        SqliteLedger(path)
    assert path.read_bytes() == b"something else entirely" * 200


def test_what_cannot_be_used_is_closed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[sqlite3.Connection] = []
    closed: list[sqlite3.Connection] = []

    class Followed(opening.Connection):
        def __init__(self, *args: object, **more: object) -> None:
            super().__init__(*args, **more)  # type: ignore[arg-type]
            opened.append(self)

        def close(self) -> None:
            closed.append(self)
            super().close()

    monkeypatch.setattr(opening, "Connection", Followed)
    (tmp_path / "no.db").write_bytes(b"something else entirely" * 200)
    with pytest.raises(LedgerCorruptError):
        SqliteLedger(tmp_path / "no.db")
    assert len(opened) == 1
    assert closed == opened
    monkeypatch.setattr(opening, "MIGRATIONS", ["create table t (a); create nonsense;\n"])
    with pytest.raises(LedgerError):
        SqliteLedger(tmp_path / "new.db")
    assert len(opened) == 2
    assert closed == opened


def test_looking_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(LedgerMissingError, match="bus-watch run"), reading(tmp_path / "ledger.db"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="check owner"):
        SqliteLedger(tmp_path / "file" / "ledger.db")


def test_two_processes_may_open_a_new_ledger_at_once(tmp_path: Path) -> None:
    for round_ in range(5):
        path = tmp_path / f"{round_}.db"
        with ThreadPoolExecutor(8) as pool:
            opened = [future.result(60) for future in [pool.submit(SqliteLedger, path) for _ in range(8)]]
        for one in opened:
            one.close()
