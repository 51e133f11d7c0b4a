"""Sending over a mupot: what is said once is one message, whatever happens to the answer, and both sides find it."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.faults import Fault
from tests.fakes.mupot import FakePot
from tests.world.config import QUICK, Home
from tests.world.waiting import until
from worker.cli.main import main
from worker.cli.mcp import Tools
from worker.ledger import outbox, outcomes
from worker.ledger.sqlite import SqliteLedger


class Pair(Home):
    """Alice and bob in one configuration, whose commands run in this process."""

    def __init__(self, home: Path, pot: FakePot) -> None:
        super().__init__(home)
        self.pot = pot
        agents = []
        for name in ("alice", "bob"):
            token = self.config.with_name(f"{name}.token")
            self.write_private(token, pot.add_token(name))
            entry = self.agent(pot, name, on_unknown="hold") | {"token_file": str(token)}
            agents.append(entry)
        pot.tokens = {token: one for token, one in pot.tokens.items() if token != self.token_file.read_text().strip()}
        self.configure(*agents, **QUICK)

    def bodies(self) -> list[str]:
        return [row.body for row in self.pot.streams.rows]


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    with FakePot() as pot:
        made = Pair(tmp_path, pot)
        monkeypatch.setenv("BUS_WATCH_CONFIG", str(made.config))
        yield made


def test_there_and_back(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", "bob", "which port?", "--as", "alice"]) == 0
    assert "bob/0-1" in capsys.readouterr().out
    assert main(["run", "--once"]) == 0
    assert pair.seen("bob-wake") == ["which port?"]
    assert main(["wait", "out-1", "--for", "submitted", "--timeout", "1"]) == 0
    assert main(["wait", "out-1", "--for", "answered", "--timeout", "0.1"]) == 75
    capsys.readouterr()
    assert main(["show", "bob/0-1", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["source"] == "agent:alice"
    assert main(["reply", shown["key"], "6380"]) == 0
    asked, answer = pair.pot.streams.rows
    assert answer.in_reply_to == asked.request_id, "a pot has a field for it"
    assert main(["run", "--once"]) == 0
    assert pair.seen("alice-wake") == ["6380"]
    assert main(["wait", "out-1", "--for", "answered", "--timeout", "1"]) == 0
    assert pair.pot.consumed == 0


@pytest.mark.parametrize("kind", ["close", "html", "truncated", "status"])
def test_a_lost_answer_is_no_doubt(pair: Pair, kind: str) -> None:
    """Though `hold` is what its owner wants where nobody knows."""
    pair.pot.lost_answers = [Fault(kind, value=500)]
    assert main(["send", "bob", "once", "--as", "alice"]) == 75
    assert pair.bodies() == ["once"]
    assert main(["send", "bob", "and then", "--as", "alice"]) in {0, 75}
    until(
        lambda: main(["run", "--once"]) == 0 and main(["wait", "out-2", "--timeout", "0"]) == 0, "the second to be sent"
    )
    assert pair.bodies() == ["once", "and then"]


def test_who_asks_on_a_pot_gets_the_answer_to_it(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    """Bob is elsewhere: what he answers is told by what the pot's messages name, and not by which came first."""
    whole = json.loads(pair.config.read_text())
    pair.write_config(json.dumps(whole | {"agents": whole["agents"][:1]}))
    for text in ("which port?", "which host?", "which colour?"):
        assert main(["send", "bob", text]) == 0
    names = [str(row.request_id) for row in pair.pot.streams.rows]
    for body, name in (("here", names[1]), ("not about that", "another"), ("6380", names[0]), ("red", None)):
        pair.pot.streams.add("alice", body, source="agent:bob", in_reply_to=name)
    assert main(["run", "--once"]) == 0
    answers = []
    for number in (1, 2, 3):
        assert main(["wait", f"out-{number}", "--for", "answered", "--timeout", "0"]) == 0
        with contextlib.closing(SqliteLedger(pair.ledger)) as ledger:
            row = ledger.read(lambda db, n=number: outcomes.answer_to(db, outbox.find(db, n)))  # type: ignore[misc]
            answers.append(row["text"] if row else None)
    assert answers == ["6380", "here", "red"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"request_id": "r-1"}, "r-1"),
        ({}, "its id"),
        ({"request_id": "no name\n"}, "its id"),
        ({"request_id": 7}, "its id"),
    ],
)
def test_what_an_answer_names(pair: Pair, given: dict[str, Any], named: str) -> None:
    """The message's request_id, as the pot's own clients do; else the id that the pot gave it."""
    pair.pot.streams.add("bob", "well?", source="agent:alice", **given)
    assert main(["run", "--once"]) == 0
    (key,) = [f"bob/{row['message_id']}" for row in pair.rows("select message_id from messages where agent = 'bob'")]
    assert main(["reply", key, "yes"]) == 0
    asked, answer = pair.pot.streams.rows
    assert answer.in_reply_to == (asked.id if named == "its id" else named)


def test_nobody_of_that_name(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", "bbo", "hello", "--as", "alice"]) == 65
    assert "knows no such agent" in capsys.readouterr().err
    assert main(["test-send", "--to", "bbo", "--agent", "alice"]) == 64
    assert "so nothing was sent" in capsys.readouterr().err


def test_too_long_is_said_and_not_tried(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", "bob", "x" * 8001, "--as", "alice"]) == 65
    assert "8,000 characters on a mupot" in capsys.readouterr().err
    assert not pair.pot.seen("/mcp")


def test_dead_is_told_to_who_sent_it(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    wake = pair.transport("bob-wake", before="exit 65")
    whole = json.loads(pair.config.read_text())
    whole["agents"][1]["transports"] = [wake]
    pair.write_config(json.dumps(whole))
    assert main(["send", "bob", "hello", "--as", "alice"]) == 0
    assert main(["run", "--once"]) == 1
    assert main(["run", "--once"]) == 0
    capsys.readouterr()
    assert main(["show", "out-1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "dead"


def test_doctor_and_peers(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert {one["agent"] for one in found["checks"] if (one["check"], one["state"]) == ("bus", "ok")} == {
        "alice",
        "bob",
    }
    assert Tools(str(pair.config), "alice").peers() == {"you": "alice", "agents": ["bob"]}
