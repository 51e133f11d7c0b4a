"""Alerts of real workers: channels that hang, workers that hang or are gone. Kills are in tests/faults/alarms.py."""

import json
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes import hurried_consumer
from tests.fakes.bridges import FakeBridge
from tests.fakes.push import UUID, FakePush
from tests.world.config import QUICK
from tests.world.processes import ROOT, Process
from tests.world.waiting import until
from tests.world.world import World

TOPIC_TOKEN = "tk_canary0ntfy1token2"
CLOSE_AFTER = 3


class Scene:
    """A worker with two agents - one whose transport may find nobody there - and everybody who tells people."""

    def __init__(self, world: World, bridge: FakeBridge) -> None:
        self.world = world
        self.bridge = bridge
        self.ntfy = FakePush(TOPIC_TOKEN)
        self.hook = FakePush()
        self.absent = world.home / "absent"

    def configure(self, **alerts: Any) -> None:
        world = self.world
        places = {"topic": f"{self.ntfy.url}/my-secret-topic", "hook": f"{self.hook.url}/hook/secret-path"}
        for name, text in {**places, "ntfy-token": TOPIC_TOKEN}.items():
            world.write_private(world.config.with_name(name), text + "\n")
        channels = [
            {
                "name": "phone",
                "type": "ntfy",
                "url_file": str(world.config.with_name("topic")),
                "token_file": str(world.config.with_name("ntfy-token")),
            },
            {"name": "hook", "type": "webhook", "url_file": str(world.config.with_name("hook"))},
        ]
        gone = world.transport("gone", before=f"[ ! -e {self.absent} ] || exit 69", stuck_after=1, retry_delay=0.5)
        eve = world.agent(self.bridge, "eve", world.transport("eve-wake"), token_env="EVE")
        del eve["token_file"]
        world.env["EVE"] = self.bridge.add_token("eve")
        world.configure(
            world.agent(self.bridge, "bob", gone),
            eve,
            **QUICK,
            workers=1,
            alerts={"channels": channels, "close_after": CLOSE_AFTER, **alerts},
        )

    def start(self) -> Process:
        command = (sys.executable, "-m", hurried_consumer.__name__, "-v", "-g", "TERM")
        return self.world.start(*command, PYTHONPATH=str(ROOT))

    def told(self, push: FakePush) -> list[str]:
        """What arrived at the webhook: `opened stuck bob gone`."""
        with push.arrived:
            return [f"{one.json['event']} {one.json['condition']} {one.json['about']}" for one in push.taken]

    def open(self) -> list[tuple[str, str]]:
        return [(row["condition"], row["about"]) for row in self.world.rows("select * from alerts")]


@pytest.fixture
def scene(world: World) -> Iterator[Scene]:
    with FakeBridge("B") as bridge:
        made = Scene(world, bridge)
        with made.ntfy, made.hook:
            yield made


OPENED = "opened stuck bob gone"


@pytest.mark.timeout(300)
def test_channels_that_hang_or_refuse_hold_no_message_up(scene: Scene) -> None:
    """`workers` is 1: a telling that took its thread would keep everybody waiting."""
    scene.ntfy.gate.clear()
    scene.hook.status = 500
    scene.configure()
    scene.absent.touch()
    scene.bridge.streams.add("bob", "words that no alert may carry")
    worker = scene.start()
    scene.ntfy.wait_begun(1)
    scene.hook.wait_begun(1)
    for number in range(5):
        scene.bridge.streams.add("eve", f"message {number}")
    until(lambda: len(scene.world.seen("eve-wake")) == 5, "messages go on", 60)
    with scene.ntfy.arrived:
        assert not scene.ntfy.taken, "it hung all the while"
    scene.hook.status = 0
    scene.hook.wait_for(1)
    assert scene.told(scene.hook)[0] == OPENED
    assert b"words that no alert may carry" not in scene.hook.taken[0].body
    worker.stop(signal.SIGKILL)


@pytest.mark.timeout(300)
def test_a_worker_that_is_dead_or_stopped_is_told_by_somebody_else(scene: Scene) -> None:
    """The heartbeat falls silent with it, and tmux's status line says so without it."""
    world = scene.world
    world.write_private(world.config.with_name("ping"), f"{scene.hook.url}/ping/{UUID}\n")
    scene.configure(heartbeat_url_file=str(world.config.with_name("ping")), heartbeat_every=5)
    worker = scene.start()
    scene.hook.wait_for(2)
    assert world.bus_watch("status", "--tmux").stdout == "bus-watch ok\n"
    worker.send_signal(signal.SIGSTOP)
    with scene.hook.arrived:
        beats = len(scene.hook.taken)
        assert not scene.hook.arrived.wait_for(lambda: len(scene.hook.taken) > beats + 1, 12), "it is stopped"
    worker.stop(signal.SIGKILL)
    said = world.bus_watch("status", "--tmux")
    assert said.stdout == "#[fg=white,bg=red]bus-watch: not running#[default]\n"
    assert said.returncode == 2
    assert UUID not in worker.log()
    worker = scene.start()
    scene.hook.wait_for(beats + 1)
    worker.stop(signal.SIGTERM)


def test_the_status_line_names_what_is_wrong(scene: Scene) -> None:
    scene.configure()
    scene.absent.touch()
    scene.bridge.streams.add("bob", "nobody is there")
    worker = scene.start()
    until(scene.open, "it is open", 60)
    told = json.loads(scene.world.bus_watch("alerts", "--json").stdout)
    assert ("stuck", "bob gone") in [(one["condition"], one["about"]) for one in told["open"]]
    assert "stuck bob gone" in scene.world.bus_watch("status", "--tmux", "--color", "never").stdout
    assert "! stuck, for" in scene.world.bus_watch("alerts").stdout
    worker.stop(signal.SIGTERM)
