"""The real consumer as huey documents it: reserved workers, flags, signals, and what it says when it cannot start."""

import re
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.fakes.bridges import FakeBridge
from tests.fakes.streams import Generation
from tests.world.waiting import until
from tests.world.world import World

BridgeOf = Callable[[Generation], FakeBridge]


def test_hanging_transports_hold_up_neither_polls_nor_sweeps_nor_finalizers(world: World, bridge_of: BridgeOf) -> None:
    """Eight transports hang, four at a time (-w 4), until the test opens their gate; one more bus answers nothing."""
    bridge, mute = bridge_of("C"), bridge_of("C")
    mute.fault("hang")
    hanging = [world.gated(f"hang-{number}", timeout=300) for number in range(8)]
    world.configure(
        world.agent(bridge, "bob", *hanging, poll_interval=1), world.agent(mute, "mute", world.transport("mute"))
    )
    first = "bob/{}-{}".format(*bridge.streams.add("bob", "first"))

    def swept() -> int:
        return world.count("select coalesce(max(swept_at) * 1000, 0) from workers")

    with world.consumer("-w", "4") as consumer:
        until(lambda: len(list(world.home.glob("*.started"))) == 4, "four transports hanging")
        swept_before = swept()
        polls_before = len(bridge.seen("/inbox"))
        second = "bob/{}-{}".format(*bridge.streams.add("bob", "second"))
        until(lambda: world.state_of(second), "the second message in the ledger", 10)
        assert second in world.bus_watch("history").stdout
        until(lambda: len(bridge.seen("/inbox")) >= polls_before + 3, "three more polls", 10)
        # A crash just before a finalizer leaves a message open whose deliveries are all over: made by hand here.
        with closing(sqlite3.connect(world.ledger, timeout=30)) as db, db:
            db.execute("update deliveries set state = 'cancelled' where state = 'waiting' and message = 2")
        until(lambda: world.state_of(second) == "failed", "the finalizer", 15)
        assert world.json("show", second)["state"] == "failed"
        until(lambda: swept() != swept_before, "a sweep", 15)
        queue = world.json("queue")
        assert queue["counts"] == {"running": 4, "waiting": 4, "retrying": 0, "held": 0, "dead": 0}
        assert len(list(world.home.glob("*.started"))) == 4
        world.gate.touch()
        until(lambda: world.state_of(first) == "delivered", "the first message")
        assert world.json("show", first)["state"] == "delivered"
        assert consumer.stop() == 0
    assert [world.seen(f"hang-{number}") for number in range(8)] == [["first"]] * 8


def test_huey_s_flags_work(world: World, bridge_of: BridgeOf) -> None:
    bridge = bridge_of("C")
    world.configure(world.agent(bridge, "bob"))
    log = world.home / "huey.log"
    flags = "-w 2 -s 5 -v -S -c 1 -M 1 -f -L some-lock -d 0.1 -m 5 -b 1.2 -t 20 -g TERM -l"
    with world.consumer(*flags.split(), str(log)) as consumer:
        for number in range(20):
            bridge.streams.add("bob", f"m{number}")
        until(lambda: len(world.seen("bob-wake")) == 20, "all messages, though a worker retires after each task (-M)")
        assert consumer.stop(signal.SIGTERM) == 0  # -g TERM: graceful
    assert world.seen("bob-wake") == [f"m{number}" for number in range(20)]
    written = log.read_text()
    assert "Huey consumer started with 2 thread" in written  # -w
    assert "Scheduler runs every 5 second(s)." in written  # -s
    assert "DEBUG" in written or "Starting worker" in written or "Executing" in written  # -v
    assert "Shutting down gracefully" in written
    assert "restarting (max tasks)" in written  # -M


def test_quiet_and_no_periodic(world: World, bridge_of: BridgeOf) -> None:
    """-n: no periodic tasks, so nothing is polled; what is due in the ledger is delivered all the same."""
    bridge = bridge_of("C")
    world.configure(world.agent(bridge, "bob", world.transport("wake", before="exit 1", retry_delay="1h")))
    message = "bob/{}-{}".format(*bridge.streams.add("bob", "hello"))
    assert world.bus_watch("run", "--once").returncode == 0
    assert world.json("queue")["counts"]["retrying"] == 1
    world.configure(world.agent(bridge, "bob", world.transport("wake")))
    assert world.bus_watch("retry", message).returncode == 0
    asked = len(bridge.requests)
    with world.consumer("-n", "-q", "-C") as consumer:
        until(lambda: world.seen("wake") == ["hello"], "the message that was due")
        time.sleep(2)  # without -n there would have been a poll at once, and one more
        assert len(bridge.requests) == asked
        assert consumer.stop() == 0
        assert "Huey consumer started" not in consumer.log()  # -q


def test_sighup_is_no_restart(world: World, bridge_of: BridgeOf) -> None:
    """huey's own would start the program anew; ours looks at the configuration, and goes on."""
    bridge = bridge_of("C")
    world.configure(world.agent(bridge, "bob"))
    with world.consumer("-w", "2") as consumer:
        bridge.streams.add("bob", "before")
        until(lambda: world.seen("bob-wake") == ["before"], "the first message")
        worker = world.json("status")["workers"][0]
        consumer.send_signal(signal.SIGHUP)
        bridge.streams.add("bob", "after")
        until(lambda: world.seen("bob-wake") == ["before", "after"], "the message after the signal")
        (same,) = world.json("status")["workers"]
        assert (same["pid"], same["since"]) == (consumer.pid, worker["since"])
        assert consumer.stop() == 0
    assert not list(world.ledger.with_suffix(".d").glob("*.lock"))


@pytest.mark.parametrize("command", [["huey_consumer", "worker.app.huey"], ["bus-watch", "run"]])
def test_sighup_while_it_starts_ends_nobody(world: World, bridge_of: BridgeOf, command: list[str]) -> None:
    """From its first import on, which is when it begins to heed the signal, until it delivers."""
    world.configure(world.agent(bridge := bridge_of("C"), "bob"))
    bridge.streams.add("bob", "hello")
    with world.running(*command) as consumer:
        status = Path(f"/proc/{consumer.pid}/status")
        caught = re.compile(r"^SigCgt:\s*[0-9a-f]+[13579bdf]$", re.MULTILINE)  # the lowest bit is SIGHUP's
        until(lambda: caught.search(status.read_text()), "somebody who heeds SIGHUP")
        signals = iter(range(30))

        def delivered() -> bool:
            if next(signals, None) is not None:
                consumer.send_signal(signal.SIGHUP)
            return world.seen("bob-wake") == ["hello"]

        until(delivered, "a message")
        assert consumer.stop() == 0


@pytest.mark.parametrize("kind", ["process", "greenlet"])
def test_other_kinds_of_workers_are_refused_in_a_sentence(world: World, bridge_of: BridgeOf, kind: str) -> None:
    world.configure(world.agent(bridge_of("C"), "bob"))
    with world.consumer("-k", kind) as consumer:
        assert consumer.wait(30) == 64
        assert consumer.log() == "bus-watch: it runs on threads only: leave out -k/--worker-type\n"


@pytest.mark.parametrize("command", [["huey_consumer", "worker.app.huey"], ["bus-watch", "run"]])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "does not exist; write one with: bus-watch install"),
        ('{"agent": "bob", "limt": 10}', "unknown key 'limt'; did you mean 'limit'?"),
        ('{"agent": "bob",', "not valid JSON"),
        ('{"agent": "bob", "limit": 0}', "limit: Input should be greater than or equal to 1"),
    ],
)
def test_a_configuration_that_cannot_be_used(world: World, command: list[str], text: str | None, words: str) -> None:
    if text is not None:
        world.write_config(text)
    with world.running(*command) as consumer:
        assert consumer.wait(30) == 1
        assert words in consumer.log()
        assert len(consumer.log().splitlines()) == 1
