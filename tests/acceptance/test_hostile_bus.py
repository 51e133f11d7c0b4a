"""A bus that misbehaves in every known way: nothing is lost, nobody else waits, memory and token stay put."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.buses import Bus, again, start_bus
from tests.fakes.serving import FakeBus
from tests.fakes.streams import GENERATIONS
from tests.world.config import TOKEN
from tests.world.waiting import until
from tests.world.world import World

RECOVERY = 15.0  # seconds, from the bus coming back to the message being delivered
MEMORY = 120 * 1024 * 1024
THIEF = object()

# What each agent's bus does; `hang` and the slow ones end when their bridge is started again, as they would for real.
FAULTS: dict[str, tuple[str, Any]] = {
    "redirect": ("redirect", THIEF),
    "slow-headers": ("slow_headers", 0.2),
    "slow-body": ("slow_body", 0.2),
    "huge": ("huge", 200_000_000),
    "endless": ("endless", None),
    "html": ("html", None),
    "truncated": ("truncated", None),
    "short": ("short", None),
    "list": ("list", None),
    "unauthorized": ("unauthorized", None),
    "rate": ("rate", "seconds"),
    "rate-in-body": ("rate", "body"),
    "closed": ("close", None),
    "unavailable": ("status", 503),
    "empty": ("empty", None),
    "hang": ("hang", None),
}
STAYS = "forbidden-for-good"
HANGING = {"slow-headers", "slow-body", "hang"}


class Bridges:
    """A bridge for each agent, which can be taken down and started again with what it holds."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._running: dict[str, tuple[FakeBus, ExitStack]] = {}

    def __getitem__(self, agent: str) -> FakeBus:
        return self._running[agent][0]

    def start(self, agent: str, bus: Bus) -> FakeBus:
        return self._serve(agent, start_bus(bus))

    def _serve(self, agent: str, bridge: FakeBus) -> FakeBus:
        stack = self._stack.enter_context(ExitStack())
        self._running[agent] = stack.enter_context(bridge), stack
        return bridge

    def restart(self, agent: str) -> None:
        old, stack = self._running[agent]
        stack.close()
        self._serve(agent, again(old))

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def bridges() -> Iterator[Bridges]:
    found = Bridges()
    yield found
    found.close()


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("kinds", [GENERATIONS, ("mupot",)], ids=["bridges", "mupot"])
def test_one_worker_and_every_fault_at_once(world: World, bridges: Bridges, kinds: tuple[Bus, ...]) -> None:
    thief = bridges.start("thief", "C")
    dump = f'env > "{world.home}/environment-$SOS_AGENT"; cat /proc/$PPID/cmdline >> "{world.home}/command-lines"'
    agents = []
    for number, (agent, (kind, value)) in enumerate(
        [*FAULTS.items(), (STAYS, ("identity", None)), ("well", ("", None))]
    ):
        bridge = bridges.start(agent, kinds[number % len(kinds)])
        if kind:
            bridge.fault(kind, value=f"{thief.url}/inbox" if value is THIEF else value)
        agents.append(world.agent(bridge, agent, world.transport(agent, before=dump), poll_interval=1))
        bridge.streams.add(agent, "sent while it fails")
    world.configure(*agents)

    with world.consumer("-w", "4", "-v") as consumer:
        for agent in [*FAULTS, STAYS]:
            asked = 1 if agent in {*HANGING, STAYS, "huge", "endless"} else 2
            until(lambda a=agent, n=asked: len(bridges[a].seen(bridges[a].inbox_path)) >= n, f"polls of {agent}")  # type: ignore[misc]
        until(lambda: world.seen("well"), "what was sent while the others fail")
        for number in range(3):  # the others' trouble is not its own: it is polled about once a second
            sent_at = time.monotonic()
            bridges["well"].streams.add("well", f"live {number}")
            until(lambda n=number: len(world.seen("well")) == n + 2, "a live message", 10)  # type: ignore[misc]
            assert time.monotonic() - sent_at < 6
        told = {agent["agent"]: agent for agent in world.json("status")["agents"]}
        for agent in set(FAULTS) - HANGING - {"empty"} | {STAYS}:
            assert told[agent]["bus"] == "failing", agent
            assert told[agent]["bus_error"]
        assert told["well"]["bus"] == told["empty"]["bus"] == "ok"
        assert [agent for agent in FAULTS if world.seen(agent)] == []

        for agent in FAULTS:
            if agent in HANGING:
                bridges.restart(agent)
            else:
                bridges[agent].clear_faults()
        back_at = time.monotonic()
        for agent in FAULTS:
            until(lambda a=agent: world.seen(a), f"recovery of {agent}")  # type: ignore[misc]
            assert time.monotonic() - back_at < RECOVERY, agent
        until(world.is_done, "an empty backlog")
        assert world.json("status")["backlog"] == 0
        assert consumer.peak_memory() < MEMORY
        assert consumer.stop() == 0

    for agent in FAULTS:
        assert world.seen(agent) == ["sent while it fails"], agent
    assert world.seen(STAYS) == []
    assert len(bridges[STAYS].seen(bridges[STAYS].inbox_path)) == 1, "a 403 is asked again slowly"
    assert thief.requests == [], "a redirect was followed"
    assert_token_only_in(world, {world.token_file})


def assert_token_only_in(world: World, allowed: set[Path]) -> None:
    holding = {path for path in world.home.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()}
    assert holding == allowed
    assert (world.home / "environment-well").stat().st_size > 0


@pytest.mark.parametrize("kind", ["B", "mupot"])
def test_a_bus_that_is_down_for_a_while(world: World, kind: Bus) -> None:
    """Nobody listens at all; then a bus with what was sent meanwhile."""
    with start_bus(kind) as gone:
        world.configure(world.agent(gone, "bob"))
        for number in range(15):
            gone.streams.add("bob", f"m{number}")
    with world.consumer() as consumer:
        until(lambda: world.count("select count(*) from inboxes where error is not null"), "failure")
        assert world.json("status")["agents"][0]["bus"] == "failing"
        with again(gone):
            back_at = time.monotonic()
            until(lambda: len(world.seen("bob-wake")) == 15, "what was sent meanwhile")
            assert time.monotonic() - back_at < RECOVERY
            assert consumer.stop() == 0
    assert world.seen("bob-wake") == [f"m{number}" for number in range(15)]
