"""A worker whose threads, disk, lock or clock fail it: what it did is settled once, and what it owes is done."""

import errno
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.world.engine import Rig, running
from worker.engine import dispatch
from worker.engine.sweeping import Sweeper
from worker.ledger import opening, upkeep
from worker.transports.command import Command
from worker.transports.receipts import create_void_note


def _lock(rig: Rig) -> sqlite3.Connection:
    """Another process holds the ledger's write lock."""
    other = sqlite3.connect(rig.settings.ledger_file, isolation_level=None)
    other.execute("begin immediate")
    return other


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "BUSY_TIMEOUT_MS", 50)
    monkeypatch.setattr(dispatch, "SETTLE_AGAIN_SECONDS", 0.05)


@pytest.mark.usefixtures("impatient")
def test_a_locked_ledger_delays_the_claim_to_the_next_sweep(tmp_path: Path) -> None:
    with running(tmp_path) as rig:
        rig.take(2)
        with closing(_lock(rig)) as other:
            rig.run()
            assert rig.engine.wake_ups.overlooked.is_set()
            assert not rig.runs
            other.execute("rollback")
        rig.sweep()
        rig.run()
        assert rig.states == ["succeeded"] * 2


@pytest.mark.usefixtures("impatient")
def test_a_ledger_that_cannot_be_written_is_waited_for_by_who_knows_the_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path) as rig:
        rig.take()
        refused = threading.Event()
        on_ended = rig.engine.dispatcher.launcher.on_ended

        def lock_and_tell(ended: Any) -> None:
            rig.file._writer.execute("pragma query_only = on")  # SQLITE_READONLY from now on
            on_ended(ended)

        monkeypatch.setattr(rig.engine.dispatcher.launcher, "on_ended", lock_and_tell)
        monkeypatch.setattr(
            dispatch.logger,
            "log",
            lambda _level, words, *_, **__: refused.set() if "cannot be settled" in words else None,
        )
        thread = threading.Thread(target=rig.run)
        thread.start()
        assert refused.wait(30)
        assert rig.states == ["running"]
        rig.file._writer.execute("pragma query_only = off")
        thread.join()
        assert rig.states == ["succeeded"]
        assert len(rig.runs) == 1
        assert rig.rows()[0]["voids"] == 0


def test_a_thread_that_dies_after_the_run_is_settled_by_the_sweep(tmp_path: Path) -> None:
    """huey logs the exception and goes on; the receipt tells."""
    with running(tmp_path) as rig:
        rig.take(2)

        def fail(_: str) -> str:
            raise RuntimeError("a defect")

        rig.engine.dispatcher.redact = fail
        with pytest.raises(RuntimeError):
            rig.run()
        assert rig.states == ["running", "waiting"]
        rig.engine.dispatcher.redact = str
        assert rig.sweep().settled == 1
        rig.run()
        assert rig.states == ["succeeded"] * 2
        assert len(rig.runs) == 2
        rig.sweep()
        assert not [path for path in rig.engine.identity.files.iterdir() if path.suffix == ".note"]


@pytest.mark.usefixtures("both_ways")
def test_a_thread_that_dies_before_the_run_leaves_a_void_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path) as rig:
        (first,) = rig.take()
        with monkeypatch.context() as patch:
            patch.setattr(Command, "prepare", lambda *_, **__: 1 / 0)
            for _ in range(4):
                with pytest.raises(ZeroDivisionError):
                    rig.run()
                assert rig.sweep().settled == 1
            row = rig.rows()[0]
            assert (row["state"], row["voids"], row["burnt"]) == ("waiting", 4, 0)
        rig.run()
        assert rig.states == ["succeeded"]
        assert rig.runs == [f"{first} 5"]


def test_five_voids_are_a_dead_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path) as rig:
        rig.take()
        monkeypatch.setattr(Command, "prepare", lambda *_, **__: 1 / 0)
        for _ in range(5):
            with pytest.raises(ZeroDivisionError):
                rig.run()
            rig.sweep()
        assert rig.states == ["dead"]
        assert "5 claims" in rig.rows()[0]["reason"]


def test_a_voided_attempt_never_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path) as rig:
        rig.take()
        ask = rig.engine.dispatcher.launcher.ask

        def void_first(requests: Any) -> None:
            assert create_void_note(rig.engine.identity.files, requests[0].attempt_id)
            monkeypatch.undo()
            ask(requests)

        monkeypatch.setattr(rig.engine.dispatcher.launcher, "ask", void_first)
        rig.run()
        assert rig.states == ["succeeded"]
        assert rig.rows()[0]["starts"] == 2
        assert [run.split()[1] for run in rig.runs] == ["2"]


def test_a_message_file_that_cannot_be_written_is_no_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path) as rig:
        transport = rig.settings.agents[0].transports[0]
        command = (*transport.command, "{message_file}")
        agent = rig.settings.agents[0].model_copy(
            update={"transports": (transport.model_copy(update={"command": command}),)}
        )
        rig.engine.lanes.settings = rig.settings.model_copy(update={"agents": (agent,)})
        rig.take()

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "no space")

        with monkeypatch.context() as patch:
            patch.setattr(dispatch, "write_message_file", full)
            for _ in range(7):
                rig.pass_time(5.1)
        row = rig.rows()[0]
        assert (row["state"], row["burnt"], row["voids"]) == ("retrying", 0, 0)
        assert "this host could not start it" in row["reason"]
        rig.pass_time(5.1)
        assert rig.states == ["succeeded"]
        assert not list(rig.engine.identity.files.glob("*.message"))


def test_a_queue_that_takes_nothing_is_made_up_for(tmp_path: Path) -> None:
    with running(tmp_path) as rig:
        rig.broken_queue = True
        rig.take(3)
        assert not rig.due
        rig.sweep()
        assert rig.engine.wake_ups.overlooked.is_set()
        rig.broken_queue = False
        assert rig.sweep().woken == 1
        rig.run()
        assert rig.states == ["succeeded"] * 3


def test_a_sweep_that_fails_still_owes_what_it_owed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path) as rig:
        rig.take()
        rig.due.clear()
        rig.engine.wake_ups.overlooked.set()
        with monkeypatch.context() as patch:
            patch.setattr(Sweeper, "_bury_workers", lambda _: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                rig.sweep()
        assert rig.sweep().woken == 1


@pytest.mark.parametrize("jump", [-400 * 86400.0, -3600.0, 3600.0, 400 * 86400.0])
def test_a_clock_that_jumps_keeps_nothing_waiting(tmp_path: Path, jump: float) -> None:
    with running(tmp_path, give_up_after=1000 * 86400.0) as rig:
        rig.take(3)
        rig.answer(1)
        rig.run()
        rig.answer(0)
        rig.now += jump
        rig.due.clear()  # huey's schedule knows the old time
        for _ in range(100):
            rig.sweep()
            rig.pass_time(5.0)
        assert rig.states == ["succeeded"] * 3
        assert len(rig.runs) == 4


@pytest.mark.usefixtures("both_ways")
def test_the_text_file_of_a_killed_launcher_is_removed(tmp_path: Path) -> None:
    with running(tmp_path) as rig:
        rig.take()
        rig.run()
        attempt = rig.rows("select id from attempts")[0]["id"]
        left = [rig.engine.identity.files / f"{attempt}{suffix}" for suffix in (".stdin", ".message", ".note")]
        for path in left:
            path.write_text("a secret")
        launcher = rig.engine.dispatcher.launcher
        launcher.close()
        launcher.join(30)
        rig.sweep()
        assert not [path for path in left if path.exists()]


@pytest.mark.usefixtures("both_ways")
def test_locks_of_dead_workers_and_launchers_are_removed(tmp_path: Path) -> None:
    with running(tmp_path) as rig:
        dead = "0" * 32
        for suffix in (".lock", ".launcher"):
            (rig.engine.identity.files / (dead + suffix)).touch()
        rig.engine.db.write(
            lambda tx: upkeep.register_worker(tx, dead, pid=1, boot_id="b", version="0", kind="consumer", now=0.0)
        )
        rig.sweep()
        assert not list(rig.engine.identity.files.glob(f"{dead}.*"))
        assert rig.rows(f"select stopped_at from workers where id = '{dead}'")[0]["stopped_at"] == rig.now
