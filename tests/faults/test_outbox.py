"""The outbox: 0 lost, doubled only where the answer was lost and `redeliver` was chosen, in order."""

from pathlib import Path

import pytest

from tests.faults.disks import LimitedProcesses, small_disk
from tests.faults.outbox import COMMAND_POINTS, WORKER_POINTS, Outboxes
from tests.world.waiting import until

pytestmark = pytest.mark.timeout(400)


@pytest.mark.parametrize("on_unknown", ["redeliver", "hold"])
def test_a_kill_at_each_point(tmp_path: Path, on_unknown: str) -> None:
    interrupted = 0
    with Outboxes(tmp_path, on_unknown=on_unknown) as world:
        for point, sent_already in COMMAND_POINTS:
            assert world.send(step=point) == -9
            interrupted += "written" not in point and "settled" not in point
            world.sent.lost_answers += sent_already
        for point, sent_already in WORKER_POINTS:
            world.kill_worker_at(point)
            interrupted += "settled" not in point
            world.sent.lost_answers += sent_already
        with world.running("bus-watch", "run"):
            until(world.drained, "the rest to be sent")
        held = world.count("select count(*) from outbox where state = 'held'")
        if on_unknown == "hold":
            assert held == interrupted
            assert len([text for came in world.on_bus().values() for text in came]) == len(
                {text for came in world.on_bus().values() for text in came}
            ), "doubled, though hold was chosen"
        else:
            assert held == 0
        assert not world.judge(held=held)


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
