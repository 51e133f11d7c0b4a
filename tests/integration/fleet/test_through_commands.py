"""One ledger for several hosts, which are homes here: the real commands and consumers, and a real server."""

import signal
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.acceptance.test_canary import canary, files, processes_with, search
from tests.fakes.bridges import FakeBridge
from tests.fakes.streams import Generation
from tests.world.postgres import Server, running_server
from tests.world.waiting import until
from tests.world.world import World

BridgeOf = Callable[[Generation], FakeBridge]


@pytest.fixture
def server(postgres: Callable[[], Server]) -> Server:
    return postgres()


def _url_file(world: World, url: str) -> Path:
    path = world.config.with_name("ledger-url")
    world.write_private(path, url)
    return path


def _join(world: World, url: str, **keys: object) -> None:
    """From now on this home's ledger is in the server."""
    world.change_config(ledger_url_file=str(_url_file(world, url)), **keys)


def test_into_the_server(world: World, bridge_of: BridgeOf, server: Server) -> None:
    bridge = bridge_of("C")
    world.configure(world.agent(bridge, "bob", world.transport("wake", before="[ ! -e gone ] || exit 69")))
    bridge.streams.add("bob", "one")
    assert world.bus_watch("run", "--once").stdout == "delivered 1 message(s)\n"
    (world.home / "gone").touch()
    bridge.streams.add("bob", "two")
    world.bus_watch("run", "--once")
    before = _story(world)
    url = server.fresh("there")
    moved = world.json("ledger", "move", "--to-file", str(_url_file(world, url)))
    assert moved["rows"]["messages"] == 2
    assert "ledger_url_file" in moved["next"]
    for command in (("run", "--once"), ("queue",), ("ledger", "move", "--to", url)):
        refused = world.bus_watch(*command)
        assert (refused.returncode, "has moved to postgresql://" in refused.stderr) == (1, True), refused.stderr
    _join(world, url)
    assert _story(world) == before
    (world.home / "gone").unlink()
    bridge.streams.add("bob", "three")
    assert world.bus_watch("retry", world.json("queue")["deliveries"][0]["key"]).returncode == 0
    assert world.bus_watch("run", "--once").stdout == "delivered 2 message(s)\n"
    assert world.seen("wake") == ["one", "two", "three"]


def test_and_back(world: World, bridge_of: BridgeOf, server: Server) -> None:
    bridge = bridge_of("C")
    world.configure(world.agent(bridge, "bob", world.transport("wake")))
    _join(world, server.fresh("back"))
    bridge.streams.add("bob", "one")
    assert world.bus_watch("run", "--once").stdout == "delivered 1 message(s)\n"
    with world.consumer():
        until(lambda: world.json("status")["running"], "the worker")
        refused = world.bus_watch("ledger", "move", "--back")
        assert (refused.returncode, "stop it first" in refused.stderr) == (1, True)
    assert world.bus_watch("ledger", "move", "--back").returncode == 0
    assert "has moved to" in world.bus_watch("queue").stderr
    world.change_config(ledger_url_file=None)
    bridge.streams.add("bob", "two")
    assert world.bus_watch("run", "--once").stdout == "delivered 1 message(s)\n"
    assert world.seen("wake") == ["one", "two"]


def _story(world: World) -> object:
    """What does not change while time passes."""
    kept = [{name: value for name, value in one.items() if not name.endswith("_ago")} for one in world.json("history")]
    return kept, world.json("queue")["counts"]


def test_what_makes_no_sense_is_said(world: World, bridge_of: BridgeOf) -> None:
    world.configure(world.agent(bridge_of("C"), "bob"))
    for arguments, status, words in (
        (("move",), 64, "--to-file FILE"),
        (("move", "--back"), 64, "ledger_url_file is missing"),
        (("move", "--to", "postgresql://u:hunter2@h/d"), 64, "can be read by everybody"),
        (("move", "--to", "postgresql://u@h/d?password=hunter2"), 64, "can be read by everybody"),
        (("move", "--to", "postgresql://u@127.0.0.1:1/d"), 1, "there is no ledger"),
        (("check", "--back"), 64, "go with `move`"),
    ):
        said = world.bus_watch("ledger", *arguments)
        assert (said.returncode, words in said.stderr) == (status, True), said.stderr
        assert "hunter2" not in said.stderr
    world.bus_watch("run", "--once")
    said = world.bus_watch("ledger", "move", "--to", "postgresql://u@127.0.0.1:1/d")
    assert (said.returncode, "cannot be reached" in said.stderr) == (1, True)
    assert world.bus_watch("queue").returncode == 0, "it was not closed for that"


def test_four_connections_a_worker(world: World, bridge_of: BridgeOf, server: Server) -> None:
    bridge = bridge_of("C")
    lanes = [f"lane{number}" for number in range(8)]
    world.configure(world.agent(bridge, "bob", *map(world.transport, lanes)))
    _join(world, server.fresh("four"))
    with world.consumer("-w", "16", "-g", "TERM") as consumer:
        for number in range(5):
            bridge.streams.add("bob", f"m{number}")
        until(lambda: all(len(world.seen(lane)) == 5 for lane in lanes), "all messages")
        with server.connect() as connection:
            found = connection.execute(
                "select application_name from pg_stat_activity where application_name like 'bus-watch%'"
            ).fetchall()
        names = sorted(str(name) for (name,) in found)
        assert names == ["bus-watch", "bus-watch", "bus-watch queue", "bus-watch queue"]
        assert consumer.stop(signal.SIGTERM) == 0
    assert [world.seen(lane) for lane in lanes] == [[f"m{number}" for number in range(5)]] * 8
    assert not world.ledger.exists()


def test_the_url_s_password_is_nowhere(world: World, bridge_of: BridgeOf) -> None:
    """It goes through a worker, commands and an outage, and lies in no byte afterwards but its own file."""
    secret = canary("password")
    bridge = bridge_of("C")
    world.configure(world.agent(bridge, "bob", world.transport("wake")), log_level="DEBUG")
    said = []
    with running_server() as server:
        own = _url_file(world, f"{server.fresh('canary')}&password={quote(secret, safe='')}")
        world.change_config(ledger_url_file=str(own))
        with world.consumer("-v"):
            bridge.streams.add("bob", "one")
            until(lambda: world.seen("wake") == ["one"], "the message")
            said += [
                world.bus_watch(*command)
                for command in (
                    ("status", "--json"),
                    ("doctor", "--offline", "--json"),
                    ("hosts",),
                    ("ledger", "check"),
                )
            ]
            assert processes_with([secret]) == set()
            server.stop("immediate")
            said += [world.bus_watch(*command) for command in (("status",), ("queue",), ("doctor", "--offline"))]
            until(lambda: "away" in world.log() or "reach" in world.log(), "a word of it in the log")
            server.start()
    own.write_text(own.read_text().replace("postgresql://", "postgresq://"))  # and one that cannot be read
    said.append(world.bus_watch("status"))
    printed = "".join(one.stdout + one.stderr for one in said).encode()
    assert b"postgresql://" in printed, "the search would find something"
    assert search(printed, [secret]) == []
    found = {path: search(text, [secret]) for path, text in files(world.home).items() if path != own}
    assert {path: forms for path, forms in found.items() if forms} == {}
