"""The main job: from the bus to an exit status, by `run --once` and by the real consumer, on every generation."""

import itertools
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fakes.bridges import FakeBridge
from tests.fakes.streams import GENERATIONS, Generation
from tests.world.waiting import until
from tests.world.world import World

BridgeOf = Callable[[Generation], FakeBridge]


def test_twenty_sent_while_off_are_delivered_once_and_in_order(
    tmp_path: Path, world_of: Callable[[Path], World], bridge_of: BridgeOf
) -> None:
    """One home directory for each generation; side by side, since most of it is waiting for turns at the bus."""
    bridges = {generation: bridge_of(generation) for generation in GENERATIONS}
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(_twenty_by_run_once, world_of(tmp_path / g), bridge) for g, bridge in bridges.items()]:
            done.result()


def _twenty_by_run_once(world: World, bridge: FakeBridge) -> None:
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
    """One worker, an agent at a bridge of each generation; a page holds 10."""
    bridges = {generation: bridge_of(generation) for generation in GENERATIONS}
    agents = {generation: f"agent-{generation.lower()}" for generation in GENERATIONS}
    world.configure(*(world.agent(bridges[g], agents[g], world.transport(g), limit=10) for g in GENERATIONS))
    sent = {generation: [f"{generation} {number}" for number in range(200)] for generation in GENERATIONS}
    for generation, texts in sent.items():
        for text in texts:
            bridges[generation].streams.add(agents[generation], text)

    with world.consumer("-w", "4") as consumer:
        for generation in GENERATIONS:
            until(lambda g=generation: len(world.seen(g)) >= 200, f"200 messages on {generation}")  # type: ignore[misc]
        for generation in GENERATIONS:
            for number in range(60):
                sent[generation].append(f"{generation} burst {number}")
                bridges[generation].streams.add(agents[generation], sent[generation][-1])
        for generation in GENERATIONS:
            until(lambda g=generation: len(world.seen(g)) >= 260, f"the burst on {generation}")  # type: ignore[misc]
        until(lambda: world.json("status")["backlog"] == 0, "an empty backlog")
        assert consumer.stop() == 0
    assert {generation: world.seen(generation) for generation in GENERATIONS} == sent
    for bridge in bridges.values():
        assert_within_budget(bridge)


def assert_within_budget(bridge: FakeBridge) -> None:
    """Requests come 1.1 s apart (60 a minute with a margin); a rung poll may be four of them early. Never more."""
    times = [request.at for request in bridge.requests if request.path != "/watch"]
    for first, last in itertools.combinations(range(len(times)), 2):
        assert last - first <= (times[last] - times[first] + 0.5) / 1.1 + 4, f"requests {first} to {last}"


def test_a_transport_that_fails_twice_repeats_alone(world: World, bridge_of: BridgeOf) -> None:
    bridge = bridge_of("C")
    flaky = '[ "$SOS_DELIVERY_ATTEMPT" -ge 3 ] || { echo "cannot find pane" >&2; exit 1; }'
    world.configure(
        world.agent(bridge, "bob", world.transport("good"), world.transport("flaky", before=flaky, retry_delay=0.2))
    )
    ids = ["{}-{}".format(*bridge.streams.add("bob", text)) for text in ("first", "second")]

    with world.consumer() as consumer:
        until(lambda: len(world.seen("flaky")) == 2, "both messages by the flaky transport")
        until(lambda: world.json("status")["backlog"] == 0, "an empty backlog")
        assert consumer.stop() == 0
    assert world.seen("good") == ["first", "second"]
    assert world.seen("flaky") == ["first", "second"]
    for message in ids:
        story = world.json("show", f"bob/{message}")
        assert story["state"] == "delivered"
        results = {d["transport"]: [a["result"] for a in d["attempts"]] for d in story["deliveries"]}
        assert results == {"good": ["exit 0"], "flaky": ["exit 1: cannot find pane"] * 2 + ["exit 0"]}
