"""What an agent sends: written down first, sent by the worker or at once without one, kept while the bus is down."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.bridges import FakeBridge
from tests.fakes.streams import Generation
from tests.world.config import QUICK, TOKEN
from tests.world.waiting import until
from tests.world.world import World

Bridges = Callable[[Generation], FakeBridge]


@pytest.fixture
def bridge(bridge_of: Bridges) -> FakeBridge:
    return bridge_of("C")


def texts(bridge: FakeBridge, agent: str = "carol") -> list[str]:
    """What the bus has for an agent, oldest first."""
    return [json.loads(request.body)["text"] for request in bridge.seen("/send") if _to(request.body) == agent]


def _to(body: str) -> str:
    return str(json.loads(body)["to"])


def on_bus(bridge: FakeBridge, agent: str = "carol") -> list[Any]:
    page = bridge.streams.page("C", agent, None, 1000, (0, 1))
    return sorted((entry.item("C", agent) for entry in page), key=lambda item: item["id"])


def configure(world: World, bridge: FakeBridge, **fields: Any) -> None:
    world.configure(world.agent(bridge, "bob", **fields), **QUICK)


def test_without_a_worker_it_is_sent_at_once(world: World, bridge: FakeBridge) -> None:
    configure(world, bridge)
    sent = world.bus_watch("send", "carol", "hello carol")
    assert (sent.returncode, sent.stdout) == (0, f"sent out-1 to carol: carol/{on_bus(bridge)[0]['id']}\n")
    assert "has not seen an agent 'carol' yet" in sent.stderr
    assert texts(bridge) == ["hello carol"]
    shown = world.json("show", "out-1")
    assert shown["state"] == "sent"
    assert shown["message"] == f"carol/{on_bus(bridge)[0]['id']}"
    assert shown["text"] == "hello carol"
    (listed,) = world.json("history", "--sent")
    assert listed["key"] == "out-1"
    assert "out-1" in world.bus_watch("history", "--sent").stdout
    assert world.json("queue", "--sent") == []


def test_the_running_worker_sends(world: World, bridge: FakeBridge) -> None:
    configure(world, bridge)
    with world.running("bus-watch", "run"):
        until(lambda: bridge.seen("/inbox"), "the first poll")
        for number in range(3):
            done = world.bus_watch("send", "carol", f"m{number}")
            assert done.returncode == 0, done.stderr
        sent = world.bus_watch("send", "carol", "-", stdin="from a pipe\n")
        assert sent.stdout.startswith("sent out-4 to carol: carol/")
    assert texts(bridge) == ["m0", "m1", "m2", "from a pipe"]
    assert {row["kind"] for row in world.rows("select kind from workers")} == {"consumer"}  # no command sent by itself


def test_an_agent_may_be_named_as_in_a_preamble(world: World, bridge: FakeBridge) -> None:
    configure(world, bridge)
    assert world.json("send", "agent:carol", "hi")["to"] == "carol"
    assert texts(bridge) == ["hi"]


def test_texts_and_classes(world: World, bridge: FakeBridge) -> None:
    configure(world, bridge)
    notes = world.home / "notes.md"
    notes.write_text("# notes\nline 2\n")
    assert world.bus_watch("send", "carol", "-f", str(notes)).returncode == 0
    assert world.bus_watch("send", "carol", "-C", "human", "read this").returncode == 0
    assert world.bus_watch("send", "carol", "--fyi", "deployed").returncode == 0
    assert texts(bridge) == [
        "# notes\nline 2\n",
        "[bob -> carol class=human] read this",
        "[bob -> carol class=terminal-log] deployed",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("", "hi"), "no agent's name"),
        (("al ice", "hi"), "no agent's name"),
        (("bob/1795300087770-0", "hi"), "no agent's name"),
        (("carol" * 50, "hi"), "no agent's name"),
        (("carol", ""), "the text is empty"),
        (("carol", "x" * 16_385), "the bus takes 16,384"),
        (("carol", "hi", "-C", "humn"), "did you mean human?"),
        (("carol", "hi", "--fyi", "-C", "human"), "--fyi is -C terminal-log"),
        (("carol", "hi", "-f", "x"), "not both"),
        (("carol", "-f", "no-such-file"), "No such file"),
        (("carol", "hi", "--as", "bobb"), "did you mean bob?"),
    ],
)
def test_what_makes_no_sense_is_said(world: World, bridge: FakeBridge, arguments: tuple[str, ...], says: str) -> None:
    configure(world, bridge)
    done = world.bus_watch("send", *arguments)
    assert done.returncode == 64
    assert says in done.stderr
    assert not bridge.seen("/send")


def test_of_several_agents_one_is_named(world: World, bridge: FakeBridge) -> None:
    world.configure(world.agent(bridge, "bob"), world.agent(bridge, "dave"), **QUICK)
    done = world.bus_watch("send", "carol", "hi")
    assert done.returncode == 64
    assert "--as one of: bob, dave" in done.stderr
    # The token in the tests' one file is the last one's that was given it.
    assert world.bus_watch("send", "carol", "hi", "--as", "dave").returncode == 0
    assert world.bus_watch("send", "carol", "hi", env={"SOS_AGENT": "dave"}).returncode == 0


def test_an_agent_that_the_embedded_bus_does_not_know(world: World) -> None:
    token = world.home / "bob.token"
    db = str(world.home / "bus.db")
    assert world.bus_watch("bus", "--db", db, "--add-agent", "bob", "--token-file", str(token)).returncode == 0
    with world.running("bus-watch", "bus", "--db", db, "--port", "0") as bus:
        url = bus.wait_for_line("listening on").split()[-1]
        world.configure(
            {"agent": "bob", "bridge_url": url, "token_file": str(token), "transports": [world.transport("t")]}, **QUICK
        )
        done = world.bus_watch("send", "bbo", "hi")
        assert done.returncode == 65
        assert "the bus knows no agent 'bbo'; did you mean bob?" in done.stderr
        assert world.json("show", "out-1")["state"] == "dead"
        probe = world.bus_watch("test-send", "--to", "bbo")
        assert probe.returncode == 64
        assert "so nothing was sent" in probe.stderr


def test_while_the_bus_is_down_messages_are_kept_in_order(world: World, bridge: FakeBridge) -> None:
    configure(world, bridge)
    bridge.fault("unauthorized", path="/send")
    bridge.fault("unauthorized", path="/peers")
    kept = world.bus_watch("send", "carol", "m0")
    assert kept.returncode == 75
    assert "no worker is running" in kept.stderr
    assert "401" in kept.stderr
    assert "m0" not in kept.stderr
    with world.running("bus-watch", "run"):
        until(lambda: world.count("select attempts from outbox where id = 1") > 1, "the worker to try it")
        queued = world.bus_watch("send", "carol", "m1")
        assert queued.returncode == 0
        assert "queued out-2 to carol" in queued.stdout
        assert [row["key"] for row in world.json("queue", "--sent")] == ["out-1", "out-2"]
        bridge.clear_faults()
        until(lambda: [item["text"] for item in on_bus(bridge)] == ["m0", "m1"], "both in order")
        until(lambda: world.count("select count(*) from outbox where state = 'sent'") == 2, "both to be settled")


def test_one_recipient_does_not_wait_for_another(world: World, bridge: FakeBridge) -> None:
    configure(world, bridge, on_unknown="hold")
    bridge.fault("close", path="/send", times=1)
    held = world.bus_watch("send", "carol", "m0")
    assert held.returncode == 76
    assert "nobody knows" in held.stderr
    assert world.bus_watch("send", "dave", "m1").returncode == 0
    assert world.bus_watch("send", "carol", "m2").returncode == 0  # held ones free their place
    assert world.bus_watch("status").returncode == 2
    assert "held in the outbox" in world.bus_watch("status").stdout
    assert "waits again" in world.bus_watch("retry", "out-1").stdout
    once = world.bus_watch("run", "--once")
    assert once.returncode == 0
    assert [item["text"] for item in on_bus(bridge)] == ["m2", "m0"]
    assert "nothing to drop" in world.bus_watch("drop", "out-1").stdout


@pytest.mark.parametrize("kind", ["close", "html", "truncated", "status"])
def test_a_lost_answer_is_sent_again_where_that_was_chosen(world: World, bridge: FakeBridge, kind: str) -> None:
    configure(world, bridge)
    bridge.fault(kind, path="/send", times=1, value=500)
    first = world.bus_watch("send", "carol", "m0")
    assert first.returncode == 75
    assert "the answer was lost" in first.stderr
    with world.running("bus-watch", "run"):
        until(lambda: on_bus(bridge), "the second try")
    assert world.json("show", "out-1")["attempts"] == 2


def test_what_the_bus_refuses_is_dead_and_what_it_cannot_do_now_is_not(world: World, bridge: FakeBridge) -> None:
    configure(world, bridge)
    bridge.fault("status", path="/send", times=1, value=413)
    assert world.bus_watch("send", "carol", "m0").returncode == 65
    bridge.fault("status", path="/send", times=1, value=503)
    assert world.bus_watch("send", "carol", "m1").returncode == 75
    assert [row["state"] for row in world.json("queue", "--sent")] == ["retrying", "dead"]
    assert "was dead, is cancelled" in world.bus_watch("drop", "out-1").stdout


def test_a_send_that_was_killed_is_unknown(world: World, bridge: FakeBridge) -> None:
    configure(world, bridge, on_unknown="hold")
    killed = world.bus_watch("send", "carol", "m0", env={"BUS_WATCH_FAULT_STEP": "worker.outbox_answered"})
    assert killed.returncode == -9
    assert world.bus_watch("run", "--once").returncode == 0
    shown = world.json("show", "out-1")
    assert shown["state"] == "held"
    assert "interrupted" in shown["reason"]
    assert len(on_bus(bridge)) == 1


def test_nothing_shows_the_token_or_the_text(world: World, bridge: FakeBridge) -> None:
    configure(world, bridge)
    bridge.fault("close", path="/send")
    with world.running("bus-watch", "run") as worker:
        until(lambda: bridge.seen("/inbox"), "the first poll")
        done = world.bus_watch("send", "carol", "canary-text-5521")
        log = worker.log()
    assert "canary-text-5521" not in done.stdout + done.stderr + log
    assert TOKEN not in done.stdout + done.stderr + log


def test_a_removed_folder_of_the_bell_is_heard_again(world: World, bridge: FakeBridge) -> None:
    configure(world, bridge)
    with world.running("bus-watch", "run"):
        until(lambda: bridge.seen("/inbox"), "the first poll")
        Path(world.files / "outbox-bell").unlink()
        assert world.bus_watch("send", "carol", "m0").returncode == 0  # by the command itself
    assert texts(bridge) == ["m0"]
