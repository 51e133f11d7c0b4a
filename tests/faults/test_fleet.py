"""Two hosts and one ledger, broken: the short forms of `ops/faults fleet`."""

from pathlib import Path

import pytest

from tests.faults.fleet import Hosts
from tests.faults.kills import kill_at_random
from tests.world.postgres import running_server

pytestmark = pytest.mark.timeout(400)


def test_kills_on_two_hosts(tmp_path: Path) -> None:
    with running_server() as server, Hosts(tmp_path, server, lanes=6, seed=7) as world:
        verdict = kill_at_random(world, kills=5, messages=60, consumers=4)
        assert verdict.clean, verdict.words()
        assert verdict.runs == verdict.kept == 60


@pytest.mark.parametrize("how", ["stop", "crash", "hang"])
def test_a_server_that_goes_away(tmp_path: Path, how: str) -> None:
    with running_server() as server, Hosts(tmp_path, server, lanes=6, seed=8, longest=0.2) as world:
        world.outage(how, 3.0, messages=120, consumers=2)
        verdict = world.verdict()
        assert verdict.clean, verdict.words()
        assert verdict.runs == verdict.kept == 120


def test_a_worker_that_starts_while_it_is_away_waits(tmp_path: Path) -> None:
    with running_server() as server, Hosts(tmp_path, server, lanes=2) as world:
        world.feed(4)
        with world.away("stop"):
            process = world.start_worker()
            process.wait_for_line("cannot start yet")
        world.drain()
        assert process.poll() is None
        assert world.verdict().clean
        assert process.log().count("cannot start yet") == 1
        assert world.bus_watch("status").returncode in {0, 1}
