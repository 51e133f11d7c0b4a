"""The main job: from the bus to an exit status, by `run --once` and by the real consumer, on every kind of bus."""

import itertools
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fakes.buses import BUSES, Bus
from tests.fakes.mupot import FakePot
from tests.fakes.serving import FakeBus
from tests.world.waiting import until
from tests.world.world import World

BridgeOf = Callable[[Bus], FakeBus]


def test_twenty_sent_while_off_are_delivered_once_and_in_order(
    tmp_path: Path, world_of: Callable[[Path], World], bridge_of: BridgeOf
) -> None:
    """One home directory for each kind of bus; side by side, since most of it is waiting for turns at the bus."""
    bridges = {bus: bridge_of(bus) for bus in BUSES}
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(_twenty_by_run_once, world_of(tmp_path / b), bridge) for b, bridge in bridges.items()]:
            done.result()


def _twenty_by_run_once(world: World, bridge: FakeBus) -> None:
    world.configure(world.agent(bridge, "bob", world.transport("one"), world.transport("two"), limit=10))
    sent = [f"message {number}" for number in range(20)]
    for text in sent:
        bridge.streams.add("bob", text)

    first = world.bus_watch("run", "--once")
    assert (first.returncode, first.stdout) == (0, "delivered 20 message(s)\n"), first.stderr
    assert world.seen("one") == sent
    assert world.seen("two") == sent

    second = world.bus_watch("run", "--once")
    assert (second.returncode, second.stdout) == (0, "delivered 0 message(s)\n"), second.stderr
    assert world.seen("one") == sent
    assert_within_budget(bridge)


def test_once_goes_on_by_itself_and_tries_each_once(world: World, bridge_of: BridgeOf) -> None:
    """Though the lane is busy for longer than the one that fails waits to be tried again."""
    bridge = bridge_of("C")
    fails = 'case "$SOS_MESSAGE_TEXT" in 1) exit 1;; esac; sleep 0.05'
    loose = {**world.transport("loose", before=fails), "ordered": False, "retry_delay": 0.01}
    world.configure(world.agent(bridge, "bob", loose, world.transport("strict")))
    for number in range(12):
        bridge.streams.add("bob", str(number))
    done = world.bus_watch("run", "--once", "--json")
    told = json.loads(done.stdout)
    assert (told["delivered"], told["dead"], told["errors"]) == (11, [], [])
    assert len(told["retrying"]) == 1
    assert "by loose is retrying: exit 1" in told["retrying"][0]
    assert world.seen("loose") == [str(number) for number in range(12) if number != 1]
    assert world.seen("strict") == [str(number) for number in range(12)]


def test_once_says_what_has_expired(world: World, bridge_of: BridgeOf) -> None:
    bridge = bridge_of("C")
    world.configure(world.agent(bridge, "bob", {**world.transport("one"), "expires_after": 0.001}))
    bridge.streams.add("bob", "too late")
    done = world.bus_watch("run", "--once", "--json")
    assert done.returncode == 1
    (words,) = json.loads(done.stdout)["dead"]
    assert words.startswith("delivery of message bob/")
    assert words.endswith(" by one is dead: expired")
    assert world.seen("one") == []


def test_two_hundred_sent_while_off_and_a_live_burst(world: World, bridge_of: BridgeOf) -> None:
    """One worker, an agent at a bus of each kind; a page of a bridge holds 10, one of a pot 100."""
    bridges = {bus: bridge_of(bus) for bus in BUSES}
    agents = {bus: f"agent-{bus.lower()}" for bus in BUSES}
    world.configure(*(world.agent(bridges[b], agents[b], world.transport(b), limit=10) for b in BUSES))
    sent = {bus: [f"{bus} {number}" for number in range(200)] for bus in BUSES}
    for bus, texts in sent.items():
        for text in texts:
            bridges[bus].streams.add(agents[bus], text)

    with world.consumer("-w", "4") as consumer:
        for bus in BUSES:
            until(lambda b=bus: len(world.seen(b)) >= 200, f"200 messages on {bus}")  # type: ignore[misc]
        for bus in BUSES:
            for number in range(60):
                sent[bus].append(f"{bus} burst {number}")
                bridges[bus].streams.add(agents[bus], sent[bus][-1])
        for bus in BUSES:
            until(lambda b=bus: len(world.seen(b)) >= 260, f"the burst on {bus}")  # type: ignore[misc]
        until(world.is_done, "an empty backlog")
        assert world.json("status")["backlog"] == 0
        assert consumer.stop() == 0
    assert {bus: world.seen(bus) for bus in BUSES} == sent
    for bridge in bridges.values():
        assert_within_budget(bridge)
    pot = bridges["mupot"]
    assert isinstance(pot, FakePot)
    assert pot.streams.unread(agents["mupot"]) == [], "everything was acknowledged"
    assert pot.consumed == 0, "nothing was read without peek"


def assert_within_budget(bridge: FakeBus) -> None:
    """Requests come 1.1 s apart (60 a minute with a margin); a rung poll may be four of them early. Never more."""
    times = [request.at for request in bridge.requests if request.path != bridge.watch_path]
    for first, last in itertools.combinations(range(len(times)), 2):
        late = 0.5 if first else 1.0  # how late the former may have come; the first one also had to connect
        assert last - first <= (times[last] - times[first] + late) / 1.1 + 4, f"requests {first} to {last}"


def test_a_transport_that_fails_twice_repeats_alone(world: World, bridge_of: BridgeOf) -> None:
    bridge = bridge_of("C")
    flaky = '[ "$SOS_DELIVERY_ATTEMPT" -ge 3 ] || { echo "cannot find pane" >&2; exit 1; }'
    world.configure(
        world.agent(bridge, "bob", world.transport("good"), world.transport("flaky", before=flaky, retry_delay=0.2))
    )
    ids = ["{}-{}".format(*bridge.streams.add("bob", text)) for text in ("first", "second")]

    with world.consumer() as consumer:
        until(lambda: len(world.seen("flaky")) == 2, "both messages by the flaky transport")
        until(world.is_done, "an empty backlog")
        assert world.json("status")["backlog"] == 0
        assert consumer.stop() == 0
    assert world.seen("good") == ["first", "second"]
    assert world.seen("flaky") == ["first", "second"]
    for message in ids:
        story = world.json("show", f"bob/{message}")
        assert story["state"] == "delivered"
        results = {d["transport"]: [a["result"] for a in d["attempts"]] for d in story["deliveries"]}
        assert results == {"good": ["exit 0"], "flaky": ["exit 1: cannot find pane"] * 2 + ["exit 0"]}
