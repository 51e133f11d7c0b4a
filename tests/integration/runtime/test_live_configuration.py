"""The real consumer takes a changed configuration while it runs, and refuses a bad one; nothing that runs is lost."""

import json
import os
import signal
from collections.abc import Callable
from typing import Any

from tests.fakes.bridges import FakeBridge
from tests.fakes.streams import Generation
from tests.world.config import QUICK, TOKEN
from tests.world.processes import RUN
from tests.world.waiting import until
from tests.world.world import World

BridgeOf = Callable[[Generation], FakeBridge]


def _eve(world: World, bridge: FakeBridge) -> dict[str, Any]:
    """A second agent, with a token of its own."""
    token = world.config.with_name("eve.token")
    world.write_private(token, bridge.add_token("eve"))
    agent = {"agent": "eve", "bridge_url": bridge.url, "token_file": str(token)}
    return agent | {"transports": [world.transport("eve-wake")]}


def _polls(bridge: FakeBridge, agent: str) -> int:
    return sum(request.query["agent"] == agent for request in bridge.seen("/inbox"))


def _problems(world: World) -> list[str]:
    found: list[str] = world.json("status")["problems"]
    return found


def _in_force(world: World, *agents: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Write the configuration; the worker says that it is in force."""
    world.configure(*agents, **QUICK, **fields)
    done = world.bus_watch("reload", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    (worker,) = json.loads(done.stdout)["workers"]
    assert worker["agents"] == {agent["agent"]: [t["name"] for t in agent["transports"]] for agent in agents}
    return dict(worker)


def test_agents_come_and_go_while_a_transport_runs(world: World, bridge_of: BridgeOf) -> None:
    """By the change of the file alone; what runs for one that is taken out ends as it would have."""
    bridge = bridge_of("C")
    bob, eve = world.agent(bridge, "bob", world.gated("hang")), _eve(world, bridge)
    world.configure(bob, **QUICK)
    with world.consumer("-w", "2") as consumer:
        ran = "bob/{}-{}".format(*bridge.streams.add("bob", "runs"))
        until((world.home / "hang.started").exists, "the transport")
        bridge.streams.add("bob", "behind it")
        until(lambda: world.count("select count(*) from messages") == 2, "the second message")

        world.configure(bob, eve, **QUICK)
        bridge.streams.add("eve", "hello")
        until(lambda: world.seen("eve-wake") == ["hello"], "the new agent's message")
        assert _problems(world) == []

        world.configure(eve, **QUICK)
        consumer.wait_for_line("bob is gone")
        polls = _polls(bridge, "bob")
        world.gate.touch()
        until(lambda: world.state_of(ran) == "delivered", "the end of what ran")
        assert world.json("show", ran)["state"] == "delivered"
        for number in range(3):
            bridge.streams.add("eve", f"again {number}")
        until(lambda: len(world.seen("eve-wake")) == 4, "the other's messages")
        assert _polls(bridge, "bob") - polls <= 1
        assert world.seen("hang") == ["runs"]
        assert any("bob hang: not configured any more" in line for line in _problems(world))

        world.configure(bob, eve, **QUICK)
        until(lambda: world.seen("hang") == ["runs", "behind it"], "what waited for the transport that came back")
        assert consumer.poll() is None
        assert _problems(world) == []


def test_a_renamed_transport_and_a_wider_and_narrower_allowlist(world: World, bridge_of: BridgeOf) -> None:
    bridge = bridge_of("C")
    old, new = world.transport("old"), world.transport("new")
    world.configure(world.agent(bridge, "bob", old), **QUICK)
    with world.consumer():
        bridge.streams.add("bob", "one")
        until(lambda: world.seen("old") == ["one"], "the first message")
        renamed = world.agent(bridge, "bob", new | {"max_attempts": 2, "retry_delay": 0.1})
        _in_force(world, renamed, allowlist=old["command"][:1])
        refused = "bob/{}-{}".format(*bridge.streams.add("bob", "two"))
        until(lambda: world.state_of(refused) == "failed", "the refusal: it is not allowlisted")
        assert world.json("show", refused)["state"] == "failed"
        assert world.seen("new") == []
        _in_force(world, renamed)
        assert world.bus_watch("retry", refused).returncode == 0
        bridge.streams.add("bob", "three")
        until(lambda: world.seen("new") == ["two", "three"], "the messages by the new transport")
        assert world.seen("old") == ["one"]


def test_a_bad_file_is_refused_and_the_one_of_before_stays_in_force(world: World, bridge_of: BridgeOf) -> None:
    bridge = bridge_of("C")
    bob = world.agent(bridge, "bob")
    world.configure(bob, **QUICK)
    with world.consumer() as consumer:
        bridge.streams.add("bob", "one")
        until(lambda: world.seen("bob-wake") == ["one"], "the first message")
        world.write_config('{"agent": "bob", "transprots": []}')
        done = world.bus_watch("reload")
        assert done.returncode == 1
        assert "did you mean 'transports'?" in done.stderr
        assert "of before" in done.stderr
        consumer.wait_for_line("the configuration is refused, that of before is in force")
        bridge.streams.add("bob", "two")
        until(lambda: world.seen("bob-wake") == ["one", "two"], "a message by the configuration of before")

        # The command's environment makes the file good for it, and not for the worker.
        world.configure(bob | {"bridge_url": "http://bus.example"}, **QUICK)
        insecure = {"BUS_WATCH_ALLOW_INSECURE_HTTP": "true"}
        done = world.bus_watch("reload", "--json", env=insecure)
        (worker,) = json.loads(done.stdout)["workers"]
        assert done.returncode == 1
        assert "would travel in the clear" in worker["error"]
        assert worker["agents"] == {"bob": ["bob-wake"]}
        told = world.bus_watch("status", env=insecure)
        assert told.returncode == 1
        assert "! the configuration is refused, that of before is in force" in told.stdout

        _in_force(world, bob)
        assert _problems(world) == []


def test_a_token_from_another_file_and_another_bridge(world: World, bridge_of: BridgeOf) -> None:
    """Neither waits for the backoff that the refusal began, nor does the old token go to the new bridge."""
    bridge, other = bridge_of("C"), bridge_of("C")
    bob = world.agent(bridge, "bob") | {"watch": True}
    world.configure(bob, **QUICK | {"watch": True})
    with world.consumer():
        bridge.streams.add("bob", "one")
        until(lambda: world.seen("bob-wake") == ["one"], "the first message")
        other.add_token("bob", token="another-token-21ab")
        second = world.config.with_name("second")
        world.write_private(second, "another-token-21ab\n")
        world.configure(bob | {"bridge_url": other.url, "token_file": str(second)}, **QUICK | {"watch": True})
        assert world.bus_watch("reload").returncode == 0
        other.streams.add("bob", "two")
        until(lambda: world.seen("bob-wake") == ["one", "two"], "the message of the other bridge")
        until(lambda: other.seen("/watch"), "the doorbell at the other bridge")
        assert all(TOKEN not in str(request) for request in other.seen("/inbox") + other.seen("/watch"))


def test_a_hang_up_is_a_reload_and_takes_no_time(world: World, bridge_of: BridgeOf) -> None:
    bridge = bridge_of("C")
    world.configure(world.agent(bridge, "bob", world.gated("hang")), **QUICK)
    with world.running(*RUN) as consumer:
        bridge.streams.add("bob", "runs")
        until((world.home / "hang.started").exists, "the transport")
        read = "select config_read_at from workers"
        before = world.rows(read)[0][0]
        os.kill(consumer.pid, signal.SIGHUP)
        until(lambda: world.rows(read)[0][0] != before, "the configuration to be read", 10)
        assert consumer.poll() is None
        assert world.count("select count(*) from workers") == 1
        world.gate.touch()
        until(lambda: world.seen("hang") == ["runs"], "the transport's end")
        assert consumer.stop(signal.SIGTERM) == 0


def test_what_needs_a_restart_is_said_and_the_rest_is_taken(world: World, bridge_of: BridgeOf) -> None:
    bridge = bridge_of("C")
    bob = world.agent(bridge, "bob")
    world.configure(bob, **QUICK)
    with world.consumer() as consumer:
        until(lambda: world.count("select count(*) from workers where config_read_at is not null"), "the start")
        worker = _in_force(world, bob, _eve(world, bridge), workers=9, log_level="DEBUG")
        assert worker["needs_restart"] == ["workers", "log_level"]
        (line,) = _problems(world)
        assert line == f"worker {consumer.pid}: workers, log_level changed in the configuration: restart it"
        bridge.streams.add("eve", "hello")
        until(lambda: world.seen("eve-wake") == ["hello"], "the new agent's message")
        assert _in_force(world, bob)["needs_restart"] == []
        assert _problems(world) == []


def test_a_worker_whose_ledger_is_to_move_is_not_lost_from_sight(world: World, bridge_of: BridgeOf) -> None:
    bob = world.agent(bridge_of("C"), "bob")
    world.configure(bob, **QUICK)
    with world.consumer() as consumer:
        until(lambda: world.count("select count(*) from workers where config_read_at is not null"), "the start")
        world.configure(bob, **QUICK, state_path=str(world.home / "new" / "state.json"))
        consumer.wait_for_line("state_path changed in the configuration, which takes a restart")
        sentence = f"a worker runs with the ledger of before, {world.ledger}"
        until(lambda: any(line.startswith(sentence) for line in _problems(world)), "what status says", 10)
        done = world.bus_watch("reload")
        assert done.returncode == 2
        assert sentence in done.stderr
        consumer.stop()
    assert not any(line.startswith(sentence) for line in _problems(world))
    with world.consumer():
        until(lambda: world.json("status")["running"], "the worker at the new place")
        assert _problems(world) == []


def test_without_a_worker(world: World, bridge_of: BridgeOf) -> None:
    world.configure(world.agent(bridge_of("C"), "bob"))
    done = world.bus_watch("reload")
    assert (done.returncode, done.stderr) == (
        2,
        "bus-watch reload: no worker runs; it reads its configuration when it starts\n",
    )
