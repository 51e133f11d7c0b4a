"""Several hosts and one ledger: whose a lane is, what becomes of a lost host's attempts, and what its receipts say.

The steps and faults are those that the model search looks at (docs/model.md#the-fleet), here in the code.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.world.fleet import LOST_AFTER, Fleet, HostRig, hosts
from tests.world.postgres import Server
from worker.engine.late_receipts import NEVER
from worker.ledger import claims, lane_hosts, upkeep
from worker.ledger import hosts as ledger_hosts
from worker.ledger.errors import HostTakenError, LedgerError
from worker.transports.receipts import attempt_files

ANYWHERE: dict[str, Any] = {"run_on": ("any",)}
OVER = claims.START_SECONDS + 30.0 + upkeep.OVER_SECONDS  # after a claim, with the default time-out


@pytest.fixture
def fleet(postgres: Callable[[], Server], tmp_path: Path) -> Iterator[Fleet]:
    with hosts(postgres().emptied("fleet"), tmp_path) as found:
        yield found


def lost(fleet: Fleet, rig: HostRig) -> None:
    """A host is cut off from the ledger, until it counts as lost and all that it ran must be over."""
    rig.cut_off()
    fleet.pass_time(max(LOST_AFTER, OVER) + 1.0)


def test_a_lane_is_run_by_the_host_that_has_begun(fleet: Fleet) -> None:
    north, south = fleet.host("north"), fleet.host("south")
    north.take(2)
    north.run()
    south.sweep()
    south.run()
    assert [run.split()[1] for run in fleet.runs] == ["north", "north"]
    assert north.lane()["host"] == "north"
    north.take(1)  # north polls, so it is told
    (waiting,) = north.rows("select id from deliveries where state = 'waiting'")
    assert south.engine.dispatcher.deliver(waiting["id"]) is None
    assert len(fleet.runs) == 2


def test_a_lane_bound_to_a_lost_host_waits_for_it(fleet: Fleet) -> None:
    north, south = fleet.host("north"), fleet.host("south")
    north.hold()
    north.take(2)
    north.begin()
    lost(fleet, north)
    assert south.sweep().settled == 0
    south.run()
    assert south.states == ["running", "waiting"]
    north.let_go()
    north.reconnect()
    north.settle_down()
    north.sweep()
    north.run()
    assert south.states == ["succeeded", "succeeded"]
    assert len(fleet.runs) == 2


@pytest.mark.parametrize(("on_unknown", "state", "runs"), [("redeliver", "succeeded", 3), ("hold", "held", 2)])
def test_what_a_lost_host_ran_is_unknown_once_it_must_be_over(
    fleet: Fleet, on_unknown: str, state: str, runs: int
) -> None:
    north = fleet.host("north", on_unknown=on_unknown, **ANYWHERE)
    south = fleet.host("south", on_unknown=on_unknown, **ANYWHERE)
    north.hold()
    north.take(2)
    north.begin()
    north.cut_off()
    fleet.pass_time(OVER + 1.0)
    south.sweep()
    assert south.states == ["running", "waiting"], "it is not lost yet"
    fleet.pass_time(LOST_AFTER)
    assert south.sweep().settled == 1
    assert south.lane()["host"] == "south"
    south.sweep()
    south.pass_time(10.0)
    assert south.states == [state, "succeeded"]
    north.let_go()
    north.reconnect()
    north.settle_down()
    assert len(fleet.runs) == runs, "the one in flight and no other is doubled"


def test_nothing_is_unknown_before_it_must_be_over(fleet: Fleet) -> None:
    """Lost already, and the time-out is long."""
    north = fleet.host("north", timeout=2 * LOST_AFTER, **ANYWHERE)
    south = fleet.host("south", timeout=2 * LOST_AFTER, **ANYWHERE)
    north.hold()
    north.take(1)
    north.begin()
    lost(fleet, north)
    assert south.sweep().settled == 0
    fleet.pass_time(LOST_AFTER + 40.0)
    assert south.sweep().settled == 1


def given_up(fleet: Fleet, on_unknown: str) -> tuple[HostRig, HostRig]:
    """South has called what north runs unknown, and north is back."""
    north = fleet.host("north", on_unknown=on_unknown, **ANYWHERE)
    south = fleet.host("south", on_unknown=on_unknown, **ANYWHERE)
    north.hold()
    north.take(1)
    north.begin()
    lost(fleet, north)
    south.sweep()
    north.let_go()
    north.reconnect()
    north.settle_down()
    return north, south


def late(rig: HostRig) -> list[str | None]:
    return [row["late"] for row in rig.rows("select late from attempts order by started_at")]


def test_a_late_receipt_of_what_is_held_is_believed(fleet: Fleet) -> None:
    north, south = given_up(fleet, "hold")
    assert (south.states, late(south)) == (["held"], ["awaited"])
    assert attempt_files(north.engine.identity.files) != [], "until it has been read"
    north.sweep()
    assert (south.states, late(south)) == (["succeeded"], ["exit 0"])
    (message,) = south.rows("select state from messages")
    assert message["state"] == "delivered"
    north.sweep()
    assert len(fleet.runs) == 1


def test_a_late_receipt_of_what_has_not_begun_again_is_believed(fleet: Fleet) -> None:
    north, south = given_up(fleet, "redeliver")
    assert south.states == ["retrying"]
    north.sweep()
    south.sweep()
    south.pass_time(10.0)
    assert (south.states, late(south)) == (["succeeded"], ["exit 0"])
    assert len(fleet.runs) == 1


def test_what_has_begun_again_is_shown_as_doubled(fleet: Fleet) -> None:
    north, south = given_up(fleet, "redeliver")
    south.sweep()
    south.pass_time(10.0)
    north.sweep()
    assert (south.states, late(south)) == (["succeeded"], ["exit 0", None])
    assert len(fleet.runs) == 2


@pytest.mark.parametrize("command", ["drop", "retry"])
def test_a_late_receipt_and_what_a_person_said_meanwhile(fleet: Fleet, command: str) -> None:
    north, south = given_up(fleet, "hold")
    change = {
        "drop": "update deliveries set state = 'cancelled'",
        "retry": "update deliveries set state = 'waiting', next_at = null",
    }
    south.engine.db.write(lambda tx: tx.execute(change[command]))
    north.sweep()
    assert south.states == [{"drop": "cancelled", "retry": "succeeded"}[command]]
    assert late(south) == ["exit 0"]


def test_a_late_failure_changes_nothing(fleet: Fleet) -> None:
    north = fleet.host("north", on_unknown="hold", **ANYWHERE)
    south = fleet.host("south", on_unknown="hold", **ANYWHERE)
    north.answer(1)
    north.hold()
    north.take(1)
    north.begin()
    lost(fleet, north)
    south.sweep()
    north.let_go()
    north.reconnect()
    north.settle_down()
    north.sweep()
    assert (south.states, late(south)) == (["held"], ["exit 1"])


def test_what_never_began_on_the_lost_host_is_voided_there(fleet: Fleet) -> None:
    """Claimed, and its worker was killed before it asked: nothing of it is on its disk."""
    north, south = (
        fleet.host("north", on_unknown="hold", **ANYWHERE),
        fleet.host("south", on_unknown="hold", **ANYWHERE),
    )
    north.take(1)
    hand_off = claims.new_attempt_id(fleet.clock.at)
    north.engine.db.write(
        lambda tx: claims.claim(
            tx,
            claims.head_of(1),
            attempt_id=hand_off,
            worker=north.engine.identity.worker,
            boot_id=north.engine.identity.boot,
            settings=north.engine.lanes.claim_settings,
            now=fleet.clock.at,
            host="north",
        )
    )
    lost(fleet, north)
    south.sweep()
    north.reconnect()
    north.sweep()
    assert (south.states, late(south)) == (["held"], [NEVER])


def test_a_second_host_of_the_same_name_is_refused(fleet: Fleet) -> None:
    fleet.host("north")
    with pytest.raises(HostTakenError, match="another id"):
        fleet.host("north", home="other")
    fleet._started[0].cut_off()
    fleet.pass_time(60.0)
    fleet._started[0].reconnect()
    south = fleet.host("south")
    south.engine.db.write(lambda tx: ledger_hosts.forget(tx, "north", fleet.clock.at))
    fleet.host("north", home="other")
    with pytest.raises(HostTakenError):  # it comes back: it must not go on
        fleet._started[0].sweep()


def test_two_workers_of_one_host(fleet: Fleet) -> None:
    north, peer = fleet.host("north"), fleet.host("north")
    north.take(1)
    north.run()
    assert (peer.sweep().settled, peer.states) == (0, ["succeeded"])


def test_whoever_is_alive_cannot_be_forgotten(fleet: Fleet) -> None:
    north, south = fleet.host("north"), fleet.host("south")
    with pytest.raises(LedgerError, match="is alive"):
        south.engine.db.write(lambda tx: ledger_hosts.forget(tx, "north", fleet.clock.at))
    with pytest.raises(LedgerError, match="no host west"):
        south.engine.db.write(lambda tx: ledger_hosts.forget(tx, "west", fleet.clock.at))
    assert north.sweep().settled == 0


def test_what_is_bound_to_a_forgotten_host_runs_elsewhere_once_it_must_be_over(fleet: Fleet) -> None:
    north, south = fleet.host("north"), fleet.host("south")
    north.hold()
    north.take(2)
    north.begin()
    north.cut_off()
    fleet.pass_time(40.0)
    south.engine.db.write(lambda tx: ledger_hosts.forget(tx, "north", fleet.clock.at))
    south.sweep()
    south.run()
    assert south.states == ["running", "waiting"], "it may still run there"
    fleet.pass_time(OVER)
    south.sweep()
    south.pass_time(10.0)
    assert south.states == ["succeeded", "succeeded"]
    assert [run.split()[1] for run in fleet.runs] == ["south", "south"]


def test_a_preferred_host_takes_its_lane_back_between_two_attempts(fleet: Fleet) -> None:
    prefers: dict[str, Any] = {"run_on": ("north", "south")}
    south = fleet.host("south", **prefers)
    south.take(1)
    south.sweep()
    assert south.states == ["waiting"], "north comes first, and nobody knows yet whether it is there"
    fleet.pass_time(1.0)
    south.run()
    south.sweep()
    south.run()
    assert (south.lane()["host"], len(fleet.runs)) == ("south", 1)
    north = fleet.host("north", **prefers)
    south.hold()
    south.take(2)
    south.begin()
    north.sweep()
    assert south.lane()["moving_to"] == "north"
    north.sweep()
    assert south.lane()["host"] == "south", "it runs something"
    south.let_go()
    south.settle_down()
    south.sweep()
    south.run()
    north.sweep()
    north.run()
    assert north.lane()["host"] == "north"
    assert [run.split()[1] for run in fleet.runs] == ["south", "south", "north"]


def test_an_agent_that_is_moved_keeps_its_order(fleet: Fleet) -> None:
    north, south = fleet.host("north"), fleet.host("south")
    north.hold()
    ids = north.take(3)
    north.begin()
    south.engine.db.write(lambda tx: lane_hosts.move(tx, [1], "south"))
    south.sweep()
    assert south.lane()["host"] == "north"
    north.let_go()
    north.settle_down()
    north.run()
    north.sweep()
    south.sweep()
    south.run()
    south.sweep()
    south.run()
    assert fleet.runs == [f"{ids[0]} north", f"{ids[1]} south", f"{ids[2]} south"]


def test_a_lane_that_moves_to_a_lost_host_stays(fleet: Fleet) -> None:
    north, south = fleet.host("north"), fleet.host("south")
    north.take(1)
    north.run()
    north.engine.db.write(lambda tx: lane_hosts.move(tx, [1], "south"))
    lost(fleet, south)
    north.take(1)
    north.sweep()
    north.sweep()
    north.run()
    assert (north.lane()["moving_to"], len(fleet.runs)) == (None, 2)
