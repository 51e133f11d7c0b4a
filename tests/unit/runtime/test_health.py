"""The rule of health, and what the watchdog does with it."""

from dataclasses import dataclass, field

import pytest

from worker.runtime.sd_notify import Supervisor
from worker.runtime.watchdog import OK, PATIENCE, Pulse, Watchdog, health


def test_every_silence_is_seen_within_a_minute() -> None:
    assert max(PATIENCE.sweep, PATIENCE.poll, PATIENCE.scheduler) <= 58


def test_one_slow_request_is_healthy() -> None:
    from worker.bus.requests import Endpoint
    from worker.secret import Secret

    assert Endpoint("bob", None, "http://localhost", lambda: Secret("x"), 1).request_timeout < PATIENCE.poll


@pytest.mark.parametrize(
    ("pulse", "reason"),
    [
        (Pulse(sweep=5, scheduler=0.2, polls={"bob": -3.0, "al": 44.0}), OK),
        (Pulse(sweep=5, scheduler=0.2, polls={}), OK),
        (Pulse(sweep=51, scheduler=0.2), "no sweep"),
        (Pulse(sweep=5, scheduler=16), "the scheduler"),
        (Pulse(sweep=5, scheduler=0.2, polls={"bob": 56.0, "al": 1.0}), "the poll of bob"),
    ],
)
def test_the_rule(pulse: Pulse, reason: str) -> None:
    assert health(pulse, PATIENCE).startswith(reason)


@dataclass
class Ear(Supervisor):
    heard: list[str] = field(default_factory=list)
    watchdog_seconds: float | None = 9.0

    def tell(self, *assignments: str) -> bool:
        self.heard += assignments
        return True


@dataclass
class Scene:
    pulse: Pulse = field(default_factory=lambda: Pulse(sweep=1, scheduler=0.1))
    now: float = 100.0
    can_record: bool = True
    recorded: list[str] = field(default_factory=list)

    def record(self, health: str) -> bool:
        self.recorded.append(health)
        return self.can_record


def play(scene: Scene) -> tuple[Watchdog, Ear]:
    ear = Ear()
    return Watchdog(lambda: scene.pulse, scene.record, ear, lambda: scene.now), ear


def test_fed_while_healthy_and_hungry_while_not() -> None:
    scene = Scene()
    watchdog, ear = play(scene)
    watchdog.started()
    for _ in range(90):  # nine seconds
        watchdog.look()
        scene.now += 0.1
    assert ear.heard == ["READY=1", "STATUS=running", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]
    ear.heard.clear()
    scene.pulse = Pulse(sweep=51, scheduler=0.1)
    for _ in range(600):
        watchdog.look()
        scene.now += 0.1
    assert [line.partition(":")[0] for line in ear.heard] == ["STATUS=unhealthy"]
    scene.pulse = Pulse(sweep=0, scheduler=0.1)
    scene.now += 1.0
    watchdog.look()
    assert ear.heard[1:] == ["STATUS=running", "WATCHDOG=1"]
    assert [found == OK for found in scene.recorded] == [True, False, True], "written down when it changes"


def test_what_could_not_be_written_down_is_tried_again_later() -> None:
    scene = Scene(pulse=Pulse(sweep=51, scheduler=0.1), can_record=False)
    watchdog, _ = play(scene)
    for _ in range(15):
        watchdog.look()
        scene.now += 1.0
    assert len(scene.recorded) == 2
    scene.can_record = True
    for _ in range(15):
        watchdog.look()
        scene.now += 1.0
    assert len(scene.recorded) == 3
