"""launchd allows a job 256 open files: the real consumer raises its own soft limit to what its workers need."""

from collections.abc import Callable
from pathlib import Path

from tests.fakes.bridges import FakeBridge
from tests.fakes.streams import Generation
from tests.world.config import QUICK
from tests.world.processes import CONSUMER
from tests.world.waiting import until
from tests.world.world import World
from worker import open_files


def test_the_worker_raises_its_soft_limit(world: World, bridge_of: Callable[[Generation], FakeBridge]) -> None:
    bridge = bridge_of("C")
    world.configure(world.agent(bridge, "bob", world.transport("wake")), **QUICK, workers=32)
    needed = open_files.of_a_worker(32, 1)
    assert 256 < needed < 4096
    with world.running("/usr/bin/prlimit", "--nofile=256:4096", *world.argv(*CONSUMER)) as consumer:
        bridge.streams.add("bob", "hello")
        until(lambda: world.seen("wake") == ["hello"], f"the message\n{consumer.log()}")
        limits = Path(f"/proc/{consumer.pid}/limits").read_text().splitlines()
        (line,) = [line for line in limits if line.startswith("Max open files")]
    assert line.split()[3:5] == [str(needed), "4096"]
