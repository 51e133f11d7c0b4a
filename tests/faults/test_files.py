"""Damaged, removed and read-only files under a worker: what can be rebuilt is, and the rest is said clearly."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.disks import small_disk
from tests.faults.lanes import Lanes
from tests.world.waiting import until


def _garbage(queue: Path) -> None:
    size = queue.stat().st_size
    with queue.open("r+b") as file:
        file.write(os.urandom(size))


def _emptied(queue: Path) -> None:
    os.truncate(queue, 0)


def _removed(queue: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        queue.with_name(queue.name + suffix).unlink(missing_ok=True)


@pytest.mark.parametrize("damage", [_garbage, _emptied, _removed])
def test_a_queue_file_that_is_damaged_while_it_is_used(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    with Lanes(tmp_path, seed=11, longest=0.1, transport={"retry_delay": 0.5}) as world:
        world.feed(30)
        world.feed(6, failing=True)
        process = world.start_worker()
        until(lambda: world.count("select count(*) from deliveries where state = 'succeeded'") >= 5, "some work")
        damage(world.queue)
        world.feed(20)
        world.drain()
        assert process.poll() is None
        verdict = world.verdict()
        assert verdict.clean, verdict.words()
        assert world.queue.stat().st_size > 0


def test_a_folder_of_receipts_that_is_removed_while_it_is_used(tmp_path: Path) -> None:
    """Twice, in the midst of work: nothing is lost, nothing runs twice, and nobody starts the worker again."""
    with Lanes(tmp_path, seed=14, longest=0.1, transport={"retry_delay": 0.5}) as world:
        files = world.ledger.with_suffix(".d")
        world.feed(60)
        process = world.start_worker()
        done = "select count(*) from deliveries where state = 'succeeded'"
        for so_far in (5, 20):
            until(lambda n=so_far: world.count(done) >= n, "some work")  # type: ignore[misc]
            shutil.rmtree(files, ignore_errors=True)  # a file may come while it is at it
        world.feed(20)
        world.drain()
        assert process.poll() is None
        verdict = world.verdict()
        assert verdict.clean, verdict.words()
        until(lambda: len(list(files.glob("*.lock"))) == len(list(files.glob("*.launcher"))) == 1, "both locks")
        status = world.bus_watch("status", "--json")
        assert status.returncode == 0, status.stdout


def test_a_queue_file_that_is_damaged_at_the_start_is_set_aside(tmp_path: Path) -> None:
    with Lanes(tmp_path, seed=12, longest=0.1) as world:
        world.state.mkdir()
        world.queue.write_bytes(b"this is no database, though it is as long as one" * 1000)
        world.feed(10)
        world.start_worker()
        world.drain()
        verdict = world.verdict()
        assert verdict.clean, verdict.words()
        (aside,) = world.state.glob("state-queue.db.corrupt-*")
        assert aside.read_bytes().startswith(b"this is no database")


def _refused(world: Lanes) -> str:
    """Start a worker that cannot use its ledger: it ends with a sentence, and so does `status`."""
    process = world.start_worker()
    assert process.wait(30) == 1
    assert "Traceback" not in world.log()
    status = world.bus_watch("status", "--json")
    assert status.returncode == 2, status.stderr
    said = json.dumps(json.loads(status.stdout)) + status.stderr
    assert "Traceback" not in said
    return world.log() + said


def test_a_corrupt_ledger_is_left_alone(tmp_path: Path) -> None:
    with Lanes(tmp_path, seed=13) as world:
        world.state.mkdir()
        world.ledger.write_bytes(b"not a ledger, and yet somebody's" * 500)
        before = world.ledger.read_bytes()
        assert "put a backup in its place" in _refused(world)
        assert world.ledger.read_bytes() == before


def test_a_folder_of_receipts_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    with Lanes(tmp_path, seed=15) as world:
        world.state.mkdir()
        world.files.write_text("in the way")
        process = world.start_worker()
        assert process.wait(30) == 1
        assert "cannot run" in world.log()
        assert "Traceback" not in world.log()


def test_a_read_only_ledger(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", 16) as disk,
        Lanes(tmp_path, seed=14, longest=0.05, state=tmp_path / "disk") as world,
    ):
        world.feed(5)
        assert world.bus_watch("run", "--once").returncode == 0
        world.feed(5)
        if disk:
            subprocess.run(["mount", "-o", "remount,ro", str(world.state)], check=True)
        else:
            world.ledger.chmod(0o400)
            world.state.chmod(0o500)
        assert "mode and mount" in _refused(world)
        if disk:
            subprocess.run(["mount", "-o", "remount,rw", str(world.state)], check=True)
        else:
            world.state.chmod(0o700)
            world.ledger.chmod(0o600)
        world.start_worker()
        world.drain()
        verdict = world.verdict()
        assert verdict.clean, verdict.words()
