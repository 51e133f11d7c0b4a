"""Several workers on one ledger, a stopped one among them, and commands beside them."""

import contextlib
import os
import signal
import sqlite3
import time
from pathlib import Path

from tests.faults.lanes import Lanes
from tests.world.processes import RUN
from tests.world.waiting import until
from worker.runtime.due import SWEEP_SECONDS


def _check(world: Lanes) -> None:
    verdict = world.verdict()
    assert verdict.clean, verdict.words()
    assert verdict.runs == verdict.kept


def _stop_between_commits(pid: int, world: Lanes) -> None:
    """SIGSTOP; not while it holds the write lock of a file, which on a busy machine is long: that keeps every lane."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        if not any(_is_locked(path) for path in (world.ledger, world.queue)):
            return
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.5)  # long enough for it to end what it was doing


def _is_locked(path: Path) -> bool:
    # The other worker may be in a commit: that one passes.
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=0.5)) as db:
        try:
            db.execute("begin immediate")
        except sqlite3.OperationalError:
            return True
        db.execute("rollback")
    return False


def test_a_worker_that_is_stopped_for_longer_than_a_sweep_keeps_its_claims(tmp_path: Path) -> None:
    """Nobody takes over what it runs; the other lanes go on; and when it goes on, it settles."""
    with Lanes(tmp_path, seed=21, longest=0.05, transport={"timeout": 300}) as world:
        world.feed(1, agent="a0", text="gate")
        stopped = world.start_worker()
        until(lambda: world.count("select count(*) from deliveries where state = 'running'"), "a running transport")
        _stop_between_commits(stopped.pid, world)
        other = world.start_worker(*RUN)
        until(lambda: world.count("select count(*) from workers") == 2, "the other worker")
        world.feed(3, agent="a0")
        world.feed(10, agent="a1")
        until(lambda: len(world.keys("succeeded")) == 10, "the lane that nothing keeps")
        time.sleep(SWEEP_SECONDS + 1.0)
        assert world.states() == {"running": 1, "succeeded": 10, "waiting": 3}
        os.kill(stopped.pid, signal.SIGCONT)
        world.gate.touch()
        world.drain()
        assert stopped.poll() is None
        assert other.poll() is None
        _check(world)


def test_once_and_commands_beside_a_consumer(tmp_path: Path) -> None:
    with Lanes(tmp_path, seed=22, lanes=2, longest=0.1) as world:
        world.feed(20)
        world.start_worker()
        until(world.serving, "the consumer")
        assert world.bus_watch("pause", "t0", "--agent", "a0").returncode == 0
        world.feed(20)
        assert world.bus_watch("run", "--once").returncode == 0
        world.feed(10)
        going_on = (
            "select count(*) from deliveries d join lanes l on l.id = d.lane"
            " where d.state <> 'succeeded' and not l.paused"
        )
        until(
            lambda: world.count("select count(*) from messages") == 50 and not world.count(going_on),
            "all to have come, and only the paused lane to wait",
        )
        assert world.count("select count(*) from deliveries where state = 'waiting'") > 0
        assert world.bus_watch("resume", "t0").returncode == 0
        world.feed(10)
        world.drain()
        _check(world)


def test_three_workers_and_runs_once_share_one_ledger(tmp_path: Path) -> None:
    with Lanes(tmp_path, seed=23, one_agent=True, longest=0.02) as world:
        world.feed(60)
        for command in ((), RUN, (*RUN, "--once"), (*RUN, "--once")):
            world.start_worker(*command)
        world.feed(20)
        world.drain()
        _check(world)
