"""An agent moves between hosts while messages come: each is delivered once, in order, by whoever had the lane then."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.world.fleet import Fleet, HostRig, hosts
from tests.world.postgres import Server
from worker.ledger import lane_hosts


@pytest.fixture
def fleet(postgres: Callable[[], Server], tmp_path: Path) -> Iterator[Fleet]:
    with hosts(postgres().emptied("fleet"), tmp_path) as found:
        yield found


def test_nothing_begins_where_it_was_and_what_runs_ends_there(fleet: Fleet) -> None:
    north, south = fleet.host("north"), fleet.host("south")
    north.hold()
    north.take(3)
    north.begin()
    _move(south)
    south.sweep()
    south.run()
    assert south.lane()["host"] == "north", "not while something of it runs"
    north.let_go()
    north.settle_down()
    north.sweep()
    north.run()
    assert [run.split()[1] for run in fleet.runs] == ["north"], "nothing more there"
    south.sweep()
    south.run()
    assert [run.split()[1] for run in fleet.runs] == ["north", "south", "south"]
    assert south.states == ["succeeded"] * 3


def _move(to: HostRig) -> None:
    lane = to.lane()["id"]
    to.engine.db.write(lambda tx: lane_hosts.move(tx, [lane], to.name))


@pytest.mark.parametrize("seed", range(3))
def test_order_is_kept_whoever_has_it(fleet: Fleet, seed: int) -> None:
    rng = random.Random(seed)
    rigs = {name: fleet.host(name) for name in ("north", "south")}
    begin = int(fleet.clock.at * 1000)
    rigs["north"].take(1, ms=begin)
    rigs["north"].run()
    came = 1
    for _ in range(30):
        rig = rigs[rng.choice(("north", "south"))]
        match rng.choice(("come", "run", "sweep", "move")):
            case "come":
                rig.take(1, ms=begin + came)
                came += 1
            case "run":
                rig.run()
            case "sweep":
                rig.sweep()
            case "move":
                _move(rig)
    for _ in range(3):
        for rig in rigs.values():
            fleet.pass_time(60.0)
            rig.sweep()
            rig.run()
    assert rigs["north"].states == ["succeeded"] * came
    ids = [run.split()[0] for run in fleet.runs]
    assert len(set(ids)) == came == len(ids)
    assert ids == sorted(ids, key=lambda one: tuple(map(int, one.split("-"))))
