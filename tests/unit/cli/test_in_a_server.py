"""The commands on a ledger in PostgreSQL: each finds it by the one configuration."""

import time
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.unit.cli.conftest import Desk
from tests.world.postgres import Server
from worker.bus.wire import InboxMessage
from worker.configuration import load
from worker.ledger import intake
from worker.ledger.configured import open_ledger

KEY = "bob/1795300087770-0"


@pytest.fixture
def fleet(empty_desk: Desk, postgres: Callable[[], Server]) -> Desk:
    """Message `KEY` waits for each transport."""
    settings = empty_desk.join(postgres().fresh("commands"))
    one = InboxMessage("s", "1795300087770-0", 1795300087770, 0, "agent:alice", "text", None, None, None)
    with closing(open_ledger(settings)) as ledger:
        names = [transport.name for transport in settings.agents[0].transports]
        ledger.write(lambda tx: intake.take_in(tx, "bob", [one], lambda _: (None, names), time.time()))
    return empty_desk


def test_what_they_show(fleet: Desk) -> None:
    status = fleet.run("status", "--json").json
    assert (status["running"], status["waiting"]) == (False, 8)
    assert status["ledger"].startswith("postgresql://")
    assert fleet.run("queue", "--json").json["counts"]["waiting"] == 8
    assert "text" in fleet.run("show", KEY).out
    assert KEY in fleet.run("history").out
    assert "OK ledger sound" in fleet.run("ledger", "check").out
    assert fleet.run("reload").status == 2
    assert not load(fleet.config).ledger_file.exists()


def test_what_they_change(fleet: Desk) -> None:
    assert fleet.run("pause", "does").status == 0
    assert fleet.run("drop", KEY, "--transport", "does").status == 0
    assert fleet.run("retry", KEY, "--transport", "does").status == 0
    assert fleet.run("drop", KEY).status == 0
    assert fleet.run("purge", KEY).status == 0
    assert fleet.run("history", "--json").json == []


def test_a_backup_is_the_server_s(fleet: Desk) -> None:
    said = fleet.run("ledger", "backup", "x.db")
    assert (said.status, "pg_dump" in said.err) == (64, True)


def test_what_is_sent_is_kept_there(fleet: Desk) -> None:
    assert "kept" in fleet.run("send", "--as", "bob", "alice", "hello").err
    assert [row["to"] for row in fleet.run("history", "--sent", "--json").json] == ["alice"]


def test_doctor_says_whether_it_can_be_reached(fleet: Desk) -> None:
    def ledger_of(out: str) -> list[str]:
        return [line for line in out.splitlines() if " ledger: " in line]

    assert "ok ledger: postgresql://" in fleet.run("doctor", "--offline").out
    fleet.config.with_name("url").write_text("postgresql://u:hunter2-canary@127.0.0.1:9/x")
    (line,) = ledger_of(fleet.run("doctor", "--offline").out)
    assert line.startswith("FAIL ledger: postgresql://127.0.0.1:9/x: ledger: its server cannot be reached")
    assert "hunter2" not in line
