"""Nothing lost, nothing twice, in order: the short forms of `ops/faults`, whose long forms take an hour."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.alarms import Alarms
from tests.faults.kills import LAUNCHER_STEPS, WARM_STEPS, WORKER_STEPS, kill_at_random, kill_at_step, lose_power
from tests.faults.lanes import Lanes
from tests.faults.storm import Storm

pytestmark = pytest.mark.timeout(400)  # some two dozen consumers start, one after the other


@pytest.mark.parametrize(("consumers", "reloads"), [(1, False), (2, True)])
def test_kills_at_random_moments(tmp_path: Path, consumers: int, reloads: bool) -> None:
    with Lanes(tmp_path, seed=100 + consumers) as world:
        verdict = kill_at_random(world, kills=6, messages=60, consumers=consumers, reloads=reloads)
        assert verdict.clean, verdict.words()
        assert verdict.runs == verdict.kept == 60


def test_alerts_through_kills(tmp_path: Path) -> None:
    """Each is opened once and closed once, and no word of a message goes along."""
    with Alarms(tmp_path, seed=301) as world:
        verdict, tally = world.campaign(kills=6, messages=30)
        assert verdict.clean, verdict.words()
        assert not tally.wrong, tally.words()
        assert tally.alerts, tally.words()  # how many depends on when the kills come


def test_a_storm_that_coalesces_through_kills(tmp_path: Path) -> None:
    with Storm(tmp_path, coalesce=3.0, busy=2) as world:
        found = world.weather(messages=60, seconds=9.0, kills=4)
        assert found.clean, found.words()
        assert len(found.wakes) <= 10, found.words()


@pytest.mark.usefixtures("without_proc")
def test_kills_where_there_is_no_proc(tmp_path: Path) -> None:
    with Lanes(tmp_path, seed=201) as world:
        verdict = kill_at_random(world, kills=4, messages=40)
        assert verdict.clean, verdict.words()
        assert verdict.runs == verdict.kept == 40


def test_a_kill_at_each_named_step_of_the_worker(tmp_path: Path) -> None:
    with Lanes(tmp_path, seed=3, longest=0.05, transport={"retry_delay": 0.2}) as world:
        for step in WORKER_STEPS:
            assert not kill_at_step(world, step)
        world.start_worker()
        world.drain()
        verdict = world.verdict()
        assert verdict.clean, verdict.words()
        assert set(world.states()) == {"succeeded"}


def test_a_kill_at_each_named_step_of_the_launcher(tmp_path: Path) -> None:
    """What cannot be closed: the outcome of what the launcher ran is unknown, and it runs again as attempt 2."""
    with Lanes(tmp_path, seed=4, longest=0.05, transport={"timeout": 2, "retry_delay": 0.2}) as world:
        interrupted = sum((kill_at_step(world, step) for step in LAUNCHER_STEPS), Counter[str]())
        world.start_worker()
        world.drain()
        verdict = world.verdict(interrupted=interrupted)
        assert verdict.clean, verdict.words()
        assert set(world.states()) == {"succeeded"}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every send is started in the plain way")
def test_a_kill_at_each_named_step_of_a_warm_start(tmp_path: Path) -> None:
    transport = {"timeout": 20, "retry_delay": 0.2}
    with Lanes(tmp_path, seed=6, longest=0.05, transport=transport, sends=True) as world:
        interrupted = sum((kill_at_step(world, step) for step in WARM_STEPS), Counter[str]())
        world.start_worker()
        world.drain(200.0)  # what the dead launcher had asked for is waited for until its time-out
        verdict = world.verdict(interrupted=interrupted)
        assert verdict.clean, verdict.words()
        assert set(world.states()) == {"succeeded"}


@pytest.mark.parametrize("on_unknown", ["redeliver", "hold"])
def test_power_loss(tmp_path: Path, on_unknown: str) -> None:
    with Lanes(tmp_path, seed=5, transport={"retry_delay": 0.2, "on_unknown": on_unknown}) as world:
        interrupted: Counter[str] = Counter()
        for boot in range(2):
            world.feed(30)
            interrupted += Counter(lose_power(world, boot))
        world.start_worker()
        world.drain()
        held = world.keys("held")
        if on_unknown == "hold":
            verdict = world.verdict(unfinished=held)
            assert held <= set(interrupted)
        else:
            verdict = world.verdict(interrupted=interrupted)
            assert not held
        assert interrupted
        assert verdict.clean, verdict.words()
