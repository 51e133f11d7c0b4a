"""Somebody removes the folder of locks, notes and receipts while it is used: it is made again, without a restart."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.world.engine import Rig, running
from tests.world.waiting import PATIENCE
from worker.engine import identity
from worker.transports.locks import flock_is_free
from worker.transports.receipts import read_note, read_receipt

WAITS = "touch {home}/started; while ! [ -e {home}/go ]; do sleep 0.02; done; echo once >> {home}/record"


def _folder(files: Path) -> None:
    shutil.rmtree(files)


def _content(files: Path) -> None:
    for path in files.iterdir():
        path.unlink()


removals = pytest.mark.parametrize("remove", [_folder, _content])


def _until(condition: Callable[[], object]) -> None:
    tick = threading.Event()
    for _ in range(int(PATIENCE / 0.02)):
        if condition():
            return
        tick.wait(0.02)
    raise AssertionError("waited in vain")


def _both_live(rig: Rig) -> bool:
    one = rig.engine.identity
    return one.worker_lives(one.worker) and one.launcher_lives(one.worker)


@removals
def test_the_next_sweep_makes_it_again(tmp_path: Path, remove: Callable[[Path], None]) -> None:
    with running(tmp_path) as rig:
        rig.take()
        rig.run()
        remove(rig.engine.identity.files)
        rig.sweep()
        _until(lambda: _both_live(rig))
        assert rig.engine.identity.files.stat().st_mode & 0o777 == 0o700
        rig.take()
        rig.run()
        assert rig.states == ["succeeded"] * 2
        assert len(rig.runs) == 2
    assert flock_is_free(rig.engine.identity.lock_path(rig.engine.identity.worker))


@removals
def test_a_delivery_does_not_wait_for_the_sweep(tmp_path: Path, remove: Callable[[Path], None]) -> None:
    with running(tmp_path) as rig:
        rig.take()
        rig.run()  # the launcher's pool has a file, whose name goes
        remove(rig.engine.identity.files)
        rig.take(2)
        rig.run()
        assert rig.states == ["succeeded"] * 3
        rig.sweep()
        _until(lambda: _both_live(rig))


@removals
def test_what_runs_is_run_once_and_nobody_takes_it_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remove: Callable[[Path], None]
) -> None:
    """Not even another worker that looks before this one has seen it; and its receipt has its name again."""
    with running(tmp_path, script=WAITS.format(home=tmp_path)) as rig, running(tmp_path) as other:
        rig.take()
        thread = threading.Thread(target=rig.run)
        thread.start()
        _until((tmp_path / "started").exists)
        attempt = rig.rows("select attempt_id from deliveries")[0]["attempt_id"]
        files = rig.engine.identity.files
        remove(files)
        assert other.sweep().settled == 0
        assert rig.states == ["running"]
        rig.sweep()
        _until(lambda: _both_live(rig))
        _until(lambda: (note := read_note(files, attempt)) is not None and note.pid)
        monkeypatch.setattr(identity, "SHOWN_AGAIN_SECONDS", 0.0)
        assert other.sweep().settled == 0
        (tmp_path / "go").touch()
        thread.join(PATIENCE)
        assert rig.states == ["succeeded"]
        assert rig.runs == ["once"]
        stopped = rig.rows("select count(*) as n from workers where stopped_at is not null")[0]["n"]
        assert stopped == 0


def test_a_crash_after_the_removal_is_no_second_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder goes with the note of an attempt that nobody answers for: that it is not there proves nothing."""
    with running(tmp_path, on_unknown="hold", timeout=1.0) as rig:
        rig.take()
        monkeypatch.setattr(rig.engine.dispatcher.launcher, "ask", lambda _: None)  # whatever has become of it
        thread = threading.Thread(target=rig.run, daemon=True)
        thread.start()
        _until(lambda: rig.states == ["running"])
        rig.engine.hand_offs._by_attempt.clear()
        shutil.rmtree(rig.engine.identity.files)
        monkeypatch.setattr(identity, "SHOWN_AGAIN_SECONDS", 0.0)
        monkeypatch.setattr(identity.Identity, "launcher_lives", lambda *_: False)
        rig.sweep()
        assert rig.states == ["running"]  # it may be running still
        rig.now += 10.0
        rig.sweep()
        assert rig.states == ["held"]


def test_a_receipt_has_its_name_again(tmp_path: Path) -> None:
    with running(tmp_path, script=WAITS.format(home=tmp_path)) as rig:
        rig.take()
        thread = threading.Thread(target=rig.run)
        thread.start()
        _until((tmp_path / "started").exists)
        attempt = rig.rows("select attempt_id from deliveries")[0]["attempt_id"]
        files = rig.engine.identity.files
        shutil.rmtree(files)
        rig.sweep()
        _until((files / f"{attempt}.note").exists)
        (files / "kept.note").hardlink_to(files / f"{attempt}.note")
        (tmp_path / "go").touch()
        thread.join(PATIENCE)
        (files / f"{attempt}.note").unlink(missing_ok=True)
        (files / "kept.note").rename(files / f"{attempt}.note")
        receipt = read_receipt(files, attempt)
        assert receipt is not None
        assert (receipt.kind, receipt.code) == ("exit", 0)
