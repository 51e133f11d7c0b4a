"""A real consumer with nothing to do: it writes nothing."""

import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing

from tests.fakes import hurried_consumer
from tests.fakes.bridges import FakeBridge
from tests.fakes.streams import Generation
from tests.world.processes import ROOT
from tests.world.waiting import until
from tests.world.world import World

BridgeOf = Callable[[Generation], FakeBridge]


def test_polls_that_bring_nothing_write_nothing(world: World, bridge_of: BridgeOf) -> None:
    """Twenty polls, on a bridge that has no doorbell: neither ledger nor queue changes."""
    bridge = bridge_of("A")
    world.configure(world.agent(bridge, "bob", poll_interval=0.5, requests_per_minute=600))
    command = (sys.executable, "-m", hurried_consumer.__name__)
    with world.running(*command, PYTHONPATH=str(ROOT)) as consumer:
        bridge.streams.add("bob", "hello")
        until(lambda: world.seen("bob-wake") == ["hello"], "the message")
        until(world.is_done, "its end")
        assert world.json("queue")["counts"]["running"] == 0
        polls = len(bridge.seen("/inbox"))
        until(lambda: len(bridge.seen("/inbox")) >= polls + 4, "what is written soon after")
        began = time.monotonic()
        settled = hurried_consumer.YOUNG_SECONDS + hurried_consumer.SWEEP_SECONDS + 1
        until(lambda: time.monotonic() - began > settled, "the lease is young no more, and a sweep is over")
        with closing(sqlite3.connect(world.ledger)) as ledger, closing(sqlite3.connect(world.queue)) as queue:
            before = [db.execute("pragma data_version").fetchone() for db in (ledger, queue)]
            polls = len(bridge.seen("/inbox"))
            until(lambda: len(bridge.seen("/inbox")) >= polls + 20, "twenty polls")
            assert [db.execute("pragma data_version").fetchone() for db in (ledger, queue)] == before
        assert consumer.stop() == 0
