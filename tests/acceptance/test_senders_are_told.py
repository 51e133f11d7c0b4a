"""Two workers on one bus: whoever sent a message that did not arrive is told once, and nobody about that."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.buses import Bus
from tests.fakes.serving import FakeBus
from tests.world.config import QUICK
from tests.world.waiting import until
from tests.world.world import World


def agent(world: World, bus: FakeBus, name: str, *transports: dict[str, Any]) -> dict[str, Any]:
    """With a token of its own."""
    token = world.config.with_name(f"{name}.token")
    world.write_private(token, bus.add_token(name))
    kind = {} if bus.kind == "sos" else {"bus_kind": bus.kind}
    where = {"agent": name, "bridge_url": bus.url, "token_file": str(token), **kind}
    return where | {"transports": list(transports) or [world.transport(name)]}


def reports(world: World) -> list[str]:
    """The states that a worker was told of, and nothing else of that class."""
    rows = world.rows("select text from messages where class = 'terminal-log'")
    return sorted(row["text"].split(" bus-watch report: ")[1].split()[1].rstrip(":") for row in rows)


@pytest.mark.parametrize("kind", ["C", "mupot"])
def test_dead_stuck_dropped_and_expired(
    world_of: Callable[[Path], World], bridge_of: Callable[[Bus], FakeBus], tmp_path: Path, kind: Bus
) -> None:
    bus, here, there = bridge_of(kind), world_of(tmp_path / "here"), world_of(tmp_path / "there")
    fate = 'case "$SOS_MESSAGE_TEXT" in dead*) exit 65;; *) exit 75;; esac'
    bob = there.transport("bob", before=fate, ordered=False, report_stuck_after=1)
    carol = there.transport("carol", before=fate, expires_after=3)
    here.configure(agent(here, bus, "alice"), **QUICK)
    there.configure(agent(there, bus, "bob", bob), agent(there, bus, "carol", carol), **QUICK)
    with here.running("bus-watch", "run"), there.running("bus-watch", "run"):
        for to, text in (("bob", "dead on arrival"), ("bob", "wait"), ("carol", "wait")):
            assert here.bus_watch("send", to, text).returncode == 0

        def outcomes() -> list[str | None]:
            return [row["outcome"] for row in here.rows("select outcome from outbox order by id")]

        until(lambda: outcomes() == ["dead", "stuck", "expired"], "three reports")
        (waiting,) = [one for one in there.json("queue")["deliveries"] if one["state"] == "retrying"]
        assert there.bus_watch("drop", waiting["key"]).returncode == 0
        until(lambda: outcomes() == ["dead", "dropped", "expired"], "the fourth report")
        there.sweep()
    assert reports(here) == ["dead", "dropped", "expired", "stuck"]
    assert reports(there) == []
    assert here.count("select count(*) from outbox") == 3
    assert {row["kind"] for row in there.rows("select kind from outbox")} == {"report"}
    assert here.seen("alice") == [], "nobody was woken by them"


def test_two_broken_agents_end_by_themselves(
    world_of: Callable[[Path], World], bridge_of: Callable[[Bus], FakeBus], tmp_path: Path
) -> None:
    """Each tries to deliver whatever comes, reports too, and fails."""
    bus = bridge_of("C")
    worlds = {name: world_of(tmp_path / name) for name in ("alice", "bob")}
    everything = ["actionable", "terminal-log"]
    for name, world in worlds.items():
        broken = world.transport(name, before="exit 65", classes=everything)
        world.configure(agent(world, bus, name, broken), **QUICK)
    with worlds["alice"].running("bus-watch", "run"), worlds["bob"].running("bus-watch", "run"):
        assert worlds["alice"].bus_watch("send", "bob", "hello").returncode == 0
        until(lambda: worlds["alice"].count("select count(*) from messages where state = 'failed'"), "the report")
        for world in worlds.values():
            world.sweep()
    assert len(bus.seen("/send")) == 2, "the message, and one report of its end"
