"""A thread that goes on with its lane: the rules of the claim hold, and the queue carries nothing needless."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.world.engine import Rig, running
from worker.engine.endings import Endings
from worker.ledger import settling
from worker.ledger.port import Tx
from worker.transports.command import Command, CommandMissing

pytestmark = pytest.mark.usefixtures("either_ledger")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with running(tmp_path) as made:
        made.goes_on = True
        yield made


def test_one_wake_up_runs_the_whole_lane_in_order(rig: Rig) -> None:
    ids = rig.take(5)
    assert len(rig.due) == 1
    rig.run()
    assert rig.runs == [f"{one} 1" for one in ids]
    assert rig.states == ["succeeded"] * 5
    assert not rig.due
    assert not rig.engine.hand_offs


def test_each_delivery_after_the_first_costs_one_commit(rig: Rig) -> None:
    rig.take(5)
    commits: list[int] = []
    commit = rig.commits._commit

    def counted(batch: Any) -> None:
        commits.append(len(batch.jobs))
        commit(batch)

    rig.commits._commit = counted  # type: ignore[method-assign]
    rig.engine.dispatcher.deliver(rig.due[0][2])
    assert commits == [1] * 6  # one claim; then each settle claims the next


def test_a_head_that_retries_keeps_its_lane(rig: Rig) -> None:
    rig.answer(1)
    first, second = rig.take(2)
    rig.run()
    assert rig.states == ["retrying", "waiting"]
    assert len(rig.due) == 1
    assert rig.due[0][0] > rig.now
    rig.answer(0)
    rig.pass_time(60.0)
    assert rig.runs == [f"{first} 1", f"{first} 2", f"{second} 1"]


def test_a_pause_in_between_stops_it(rig: Rig) -> None:
    rig.take(3)
    settle = settling.settle_all

    def settle_and_pause(tx: Tx, *args: Any, **more: Any) -> Any:
        tx.execute("update lanes set paused = 1")
        return settle(tx, *args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settling, "settle_all", settle_and_pause)
        rig.run()
    assert rig.states == ["succeeded", "waiting", "waiting"]
    assert not rig.due


def test_the_next_one_that_is_throttled_waits_its_time(tmp_path: Path) -> None:
    with running(tmp_path, max_wakes_per_minute=2) as rig:
        rig.goes_on = True
        ids = rig.take(3)
        rig.run()
        assert rig.runs == [f"{one} 1" for one in ids[:2]]
        assert rig.due
        assert not rig.engine.hand_offs
        rig.pass_time(61.0)
        assert rig.runs == [f"{one} 1" for one in ids]


def test_a_claim_made_by_a_settle_that_nobody_ran_is_void_for_the_sweep(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread is lost between the settle and the start of what it claimed."""

    first, second = rig.take(2)
    monkeypatch.setattr(Endings, "announce", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        rig.engine.dispatcher.deliver(rig.due[0][2])
    monkeypatch.undo()
    assert rig.states == ["succeeded", "running"]
    assert not rig.engine.hand_offs
    rig.due.clear()
    rig.sweep()
    rig.pass_time(60.0)
    assert rig.runs == [f"{first} 1", f"{second} 2"]
    assert rig.states == ["succeeded"] * 2


def test_what_cannot_be_started_goes_back_to_the_thread_that_handed_it_off(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = rig.take(2)
    prepared: list[threading.Thread] = []

    prepare = Command.prepare

    def vanish(*args: Any, **more: Any) -> Any:
        prepared.append(threading.current_thread())
        if len(prepared) == 2:
            raise CommandMissing("it is being upgraded")
        return prepare(*args, **more)

    monkeypatch.setattr(Command, "prepare", vanish)
    rig.run()
    assert prepared[0] is threading.current_thread()
    assert prepared[1].name == "launcher-events"
    assert rig.states == ["succeeded", "retrying"]
    assert "being upgraded" in rig.rows()[1]["reason"]
    rig.pass_time(60.0)
    assert rig.runs == [f"{first} 1", f"{second} 2"]
    assert not rig.engine.hand_offs


def test_a_launcher_that_dies_ends_the_worker_and_its_attempts_are_recovered(tmp_path: Path) -> None:
    with running(tmp_path, script="sleep 3") as rig:
        rig.take()
        thread = threading.Thread(target=rig.run)
        thread.start()
        until_running(rig)
        os.kill(rig.engine.dispatcher.launcher.pid, signal.SIGKILL)
        thread.join(30)
        assert not thread.is_alive()
        assert rig.engine.stopping.is_set()
        assert not rig.engine.hand_offs
        assert rig.states == ["running"]


def until_running(rig: Rig) -> None:
    end = time.monotonic() + 30
    while not list(rig.engine.identity.files.glob("*.note")):
        assert time.monotonic() < end
        time.sleep(0.01)
