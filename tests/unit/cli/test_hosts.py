"""The commands of a fleet: what hosts there are, what each has, and how an agent moves from one to another."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.unit.cli.conftest import Desk
from tests.world.postgres import Server
from worker import __version__
from worker.bus.wire import InboxMessage
from worker.configuration import load
from worker.ledger import claims, hosts, intake, upkeep
from worker.ledger.configured import open_ledger
from worker.ledger.groups import LaneSettings
from worker.ledger.port import Ledger, Tx
from worker.ledger.this_host import Host

MS = 1795300087770
HERE = "as here"


@pytest.fixture
def desk(empty_desk: Desk, postgres: Callable[[], Server]) -> Desk:
    """bob is configured here, by the transport `does`; a message waits for him."""
    empty_desk.join(postgres().fresh("hosts"), transports=[{"name": "does", "command": ["/bin/true"]}])
    return empty_desk


@pytest.fixture
def ledger(desk: Desk) -> Iterator[Ledger]:
    with closing(open_ledger(load(desk.config))) as opened:
        yield opened


def come(tx: Tx, agent: str, transport: str, host: str | None) -> None:
    """A message for a lane that this host has."""
    message = InboxMessage("s", f"{MS}-0", MS, 0, "agent:alice", "text", None, None, None)
    intake.take_in(tx, agent, [message], lambda _: (None, [transport]), time.time())
    tx.execute("update lanes set host = ? where agent = ? and transport = ?", (host, agent, transport))


def live(tx: Tx, name: str, serves: dict[str, list[str]], *, configuration: str, ago: float = 0.0) -> None:
    """A host with a worker, that was seen so long ago."""
    now = tx.now() - ago
    hosts.register(
        tx, Host(name, f"id of {name}"), boot_id="b", version=__version__, fingerprint=configuration, now=now
    )
    upkeep.register_worker(
        tx, f"worker on {name}", pid=1, boot_id="b", version=__version__, kind="consumer", now=now, host=name
    )
    tx.execute("update workers set serves = ?, swept_at = ? where host = ?", (json.dumps(serves), now, name))


@pytest.fixture
def fleet(desk: Desk, ledger: Ledger) -> Desk:
    """north has bob; south has carol, and could have bob; west has not been seen for 20 min, and has dora."""
    here = hosts.fingerprint(load(desk.config))

    def fill(tx: Tx) -> None:
        come(tx, "bob", "does", "north")
        come(tx, "carol", "tmux", "south")
        come(tx, "dora", "tmux", "west")
        live(tx, "north", {"bob": ["does"]}, configuration=here)
        live(tx, "south", {"bob": ["does"], "carol": ["tmux"]}, configuration="another")
        live(tx, "west", {"dora": ["tmux"], "bob": ["does"]}, configuration=here, ago=1200.0)

    ledger.write(fill)
    return desk


def test_the_hosts(fleet: Desk) -> None:
    found = {one["host"]: one for one in fleet.run("hosts", "--json").json}
    assert {
        name: (one["state"], one["same_configuration"], one["lanes"], one["waiting"]) for name, one in found.items()
    } == {
        "north": ("alive", True, 1, 1),
        "south": ("alive", False, 1, 1),
        "west": ("lost", True, 1, 1),
    }
    lines = fleet.run("hosts").out.splitlines()
    assert [line.split()[0] for line in lines] == ["HOST", "north", "south", "west"]
    assert max(map(len, lines)) <= 80


def test_status_is_the_whole_fleet_s(fleet: Desk) -> None:
    status = fleet.run("status", "--json").json
    assert (status["running"], status["waiting"]) == (True, 3)
    assert {one["host"] for one in status["hosts"]} == {"north", "south", "west"}
    assert {(one["agent"], one["host"]) for one in status["elsewhere"]} == {("carol", "south"), ("dora", "west")}
    assert status["orphaned"] == ["dora tmux"], "carol's transport is south's; no host that lives has dora's"
    told = " ".join(status["problems"])
    assert "host west has given no sign for 20 min" in told
    assert "south: another configuration than here" in told
    alone = fleet.run("status", "--json", "--host", "west").json
    assert (alone["running"], alone["waiting"], alone["exit_status"]) == (False, 1, 2)


def test_only_one_host_s(fleet: Desk) -> None:
    assert fleet.run("queue", "--json").json["counts"]["waiting"] == 3
    found = fleet.run("queue", "--json", "--host", "south").json
    assert [(one["agent"], one["host"]) for one in found["deliveries"]] == [("carol", "south")]
    assert "waits for its host west, which has given no sign" in fleet.run("queue", "--host", "west").out
    assert [one["agent"] for one in fleet.run("history", "--json", "--host", "north").json] == ["bob"]
    assert len(fleet.run("show", f"carol/{MS}-0", "--json", "--host", "south").json["deliveries"]) == 1
    assert fleet.run("show", f"carol/{MS}-0", "--json", "--host", "north").json["deliveries"] == []
    assert "nothing to do" in fleet.run("drop", f"carol/{MS}-0", "--host", "north").out
    assert fleet.run("pause", "tmux", "--host", "south", "--json").json == [
        {"agent": "carol", "transport": "tmux", "paused": True}
    ]
    assert fleet.run("resume", "tmux", "--host", "south").status == 0
    said = fleet.run("queue", "--host", "soth")
    assert (said.status, "did you mean south" in said.err) == (64, True)


def test_an_agent_moves(fleet: Desk, ledger: Ledger) -> None:
    for arguments, status, words in (
        (("nobody", "--to", "south"), 64, "no agent 'nobody'"),
        (("bob", "--to", "soth"), 64, "did you mean south"),
        (("bob", "--to", "west"), 1, "no sign of life"),
        (("carol", "--to", "north"), 1, "north has no tmux for carol"),
        (("bob", "--transport", "do", "--to", "south"), 64, "did you mean does"),
    ):
        said = fleet.run("move", *arguments)
        assert (said.status, words in said.err) == (status, True), said.err
    assert fleet.run("move", "bob", "--to", "south", "--json").json == [
        {"agent": "bob", "transport": "does", "from": "north", "to": "south", "moves": True}
    ]
    row = ledger.read(lambda db: db.execute("select host, moving_to from lanes where agent = 'bob'").fetchone())
    assert tuple(row) == ("north", "south")
    assert "moves to south" in fleet.run("queue").out
    assert fleet.run("move", "bob", "--to", "north").out == "bob does: north has it already\n"
    assert ledger.read(lambda db: db.execute("select moving_to from lanes where agent = 'bob'").fetchone())[0] is None


def test_a_host_is_forgotten_once_nothing_of_it_can_run(fleet: Desk, ledger: Ledger) -> None:
    assert "alive" in fleet.run("hosts", "forget", "north").err
    assert fleet.run("hosts", "forget", "wst").status == 64
    assert fleet.run("hosts", "forget").status == 64

    def claim(tx: Tx) -> Any:
        lane = tx.execute("select id from lanes where agent = 'dora'").fetchone()["id"]
        return claims.claim(
            tx, claims.head_of(lane), attempt_id="a", worker="worker on west", boot_id="b",
            settings=lambda *_: LaneSettings(), now=tx.now(), host="west",
        )  # fmt: skip

    assert isinstance(ledger.write(claim), claims.Claim)
    said = fleet.run("hosts", "forget", "west")
    assert (said.status, "may still be running on west" in said.err) == (1, True)
    ledger.write(lambda tx: tx.execute("update attempts set start_by = 1, timeout = 0"))
    assert "is forgotten" in fleet.run("hosts", "forget", "west").out
    assert {one["host"]: one["state"] for one in fleet.run("hosts", "--json").json}["west"] == "forgotten"


def test_without_a_fleet_there_are_no_hosts(empty_desk: Desk) -> None:
    for arguments in (("hosts",), ("move", "bob", "--to", "x"), ("queue", "--host", "x")):
        said = empty_desk.run(*arguments)
        assert (said.status, "ledger" in said.err) == (64, True)


def test_doctor_demands_a_server_that_keeps_what_it_was_told(fleet: Desk) -> None:
    checks = fleet.run("doctor", "--offline", "--json").json["checks"]
    of_server = [one for one in checks if one["check"] == "ledger server"]
    assert all(one["state"] == "FAIL" for one in of_server), "the tests' server is in a hurry"
    assert any("fsync is off" in json.dumps(one) for one in of_server)
