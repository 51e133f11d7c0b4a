"""A disk that is full, or fails, in the middle of the work: nothing lost, nothing twice, and no restart afterwards."""

import time
from pathlib import Path

from tests.faults.disks import LimitedProcesses, SmallDisk, cpu_seconds, small_disk
from tests.faults.lanes import Lanes
from tests.world.processes import Process
from tests.world.waiting import until


def _succeeded(world: Lanes) -> int:
    return world.count("select count(*) from deliveries where state = 'succeeded'")


def _survive(world: Lanes, process: Process, disk: SmallDisk | LimitedProcesses, seconds: float) -> None:
    """Half of 200 messages, then the trouble, and more messages into it; then the rest."""
    until(lambda: _succeeded(world) >= 60, "the first messages")
    disk.fill()
    world.feed(20)
    time.sleep(1.0)  # what runs ends in this time; whatever it meets, it meets
    before, used = time.monotonic(), cpu_seconds(process.pid)
    time.sleep(seconds)
    assert process.poll() is None, world.log()
    assert cpu_seconds(process.pid) - used < 0.4 * (time.monotonic() - before), "it burns time while it can do nothing"
    done = _succeeded(world)
    assert done < 220, "the trouble came too late to be one"
    disk.free()
    world.drain()
    assert process.poll() is None, world.log()
    verdict = world.verdict()
    assert verdict.clean, verdict.words()
    assert verdict.runs == verdict.kept == 220
    until(lambda: not list(world.files.glob("*.note")), "the files of settled attempts to be gone")


def test_a_full_disk(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", 16) as disk,
        Lanes(tmp_path, seed=8, longest=0.05, state=tmp_path / "disk") as world,
    ):
        world.feed(200)
        process = world.start_worker()
        # Where nothing may be mounted, a limit on the size of files is the nearest to a full disk.
        _survive(world, process, disk or LimitedProcesses(process.pid, 4096), 4.0)


def test_a_disk_that_reports_errors(tmp_path: Path) -> None:
    """Past 100,000 bytes: receipts can be written, and neither ledger nor queue."""
    with Lanes(tmp_path, seed=9, longest=0.05) as world:
        world.feed(200)
        process = world.start_worker()
        until(world.serving, "the consumer to start")
        _survive(world, process, LimitedProcesses(process.pid, 100_000), 2.5)


def test_a_worker_that_starts_while_the_disk_is_full_waits_for_space(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 16) as disk, Lanes(tmp_path, seed=10, state=tmp_path / "disk") as world:
        world.feed(10)
        first = world.start_worker()
        until(lambda: _succeeded(world) >= 3, "the first messages")
        first.kill()
        first.wait()
        if disk:
            disk.fill()
        process = world.start_worker()
        trouble = disk or LimitedProcesses(process.pid, 4096)
        trouble.fill()
        time.sleep(3.0)
        assert process.poll() is None, world.log()
        trouble.free()
        world.drain()
        assert process.poll() is None, world.log()
        verdict = world.verdict()
        assert verdict.clean, verdict.words()
