"""The outbox: 0 lost, doubled only where the answer was lost and `redeliver` was chosen, in order."""

from pathlib import Path

import pytest

from tests.faults.disks import LimitedProcesses, small_disk
from tests.faults.outbox import Outboxes
from tests.world.waiting import until

pytestmark = pytest.mark.timeout(400)


@pytest.mark.parametrize("on_unknown", ["redeliver", "hold"])
def test_a_kill_at_each_point(tmp_path: Path, on_unknown: str) -> None:
    with Outboxes(tmp_path, on_unknown=on_unknown) as world:
        interrupted = world.kill_at_each()
        with world.running("bus-watch", "run"):
            until(world.drained, "the rest to be sent")
        held = world.count("select count(*) from outbox where state = 'held'")
        assert held == (interrupted if on_unknown == "hold" else 0)
        assert not world.judge()


@pytest.mark.parametrize(
    ("how", "on_unknown"), [("refused", "redeliver"), ("status", "hold"), ("lost", "redeliver"), ("lost", "hold")]
)
def test_a_bus_that_is_down(tmp_path: Path, how: str, on_unknown: str) -> None:
    with Outboxes(tmp_path, on_unknown=on_unknown) as world:
        found = world.outage(3.0, how=how, each=0.2)
        assert not found.wrong, found.words()
        assert found.meanwhile >= 5
        if how != "lost":
            assert found.doubled == 0, found.words()
            assert found.held <= 1, f"the one that the killed worker sent: {found.words()}"
        elif on_unknown == "redeliver":
            assert found.doubled > 0, "the bus had them"
            assert found.held == 0
        else:
            assert found.held > 0


def test_a_full_disk_sends_nothing_twice(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8) as disk, Outboxes(tmp_path / "home", state=tmp_path / "disk") as world:
        world.bridge.fault("unauthorized", path="/send")
        for _ in range(4):
            assert world.send() == 75
        process = world.start("bus-watch", "run")
        until(lambda: world.bridge.seen("/inbox"), "the first poll")
        trouble = disk or LimitedProcesses(process.pid, 4096)  # where nothing may be mounted
        trouble.fill()
        if disk is not None:
            refused = world.bus_watch("send", "carol", "no room")
            assert refused.returncode not in {0, 75}
            assert "disk is full" in refused.stderr
        world.bridge.clear_faults()
        trouble.free()
        until(world.drained, "all to be sent")
        assert process.poll() is None, world.log()
        assert not world.judge()
