"""Waiting for a state, following every change, and being told by the recipient's worker."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.bridges import FakeBridge
from tests.fakes.streams import Generation
from tests.world.config import QUICK, Home
from worker import notices
from worker.cli.main import main


class Here(Home):
    """A home whose commands run in this process."""

    def __init__(self, home: Path, bridge: FakeBridge, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(home)
        self.bridge = bridge
        self.configure(self.agent(bridge, "bob"), **QUICK)
        monkeypatch.setenv("BUS_WATCH_CONFIG", str(self.config))

    def take_in(self, text: str, source: str = "agent:alice") -> str:
        ms, seq = self.bridge.streams.add("bob", text, source=source)
        main(["run", "--once"])
        return f"{ms}-{seq}"


@pytest.fixture
def here(tmp_path: Path, bridge_of: Callable[[Generation], FakeBridge], monkeypatch: pytest.MonkeyPatch) -> Here:
    return Here(tmp_path, bridge_of("C"), monkeypatch)


def test_for_messages_that_came(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    message = here.take_in("hello")
    assert main(["wait", f"bob/{message}"]) == 0
    assert main(["wait", f"bob/{message}", "--for", "submitted"]) == 0
    assert main(["wait", f"bob/{message}", "--for", "failed"]) == 1
    capsys.readouterr()
    assert main(["wait", f"bob/{message}", "--for", "delivered", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"key": f"bob/{message}", "state": "delivered", "reached": True}
    assert main(["wait", f"bob/{message}", "--for", "delivred"]) == 64
    assert "did you mean delivered?" in capsys.readouterr().err


def test_what_was_sent_is_of_the_agents_that_were_asked_for(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    here.configure(here.agent(here.bridge, "dave"), here.agent(here.bridge, "bob"), **QUICK)
    here.bridge.fault("unauthorized", path="/")
    for agent in ("bob", "dave"):
        assert main(["send", "carol", "hello", "--as", agent]) == 75
    for command in ("queue", "history"):
        capsys.readouterr()
        assert main([command, "--sent", "--agent", "bob", "--json"]) == 0
        assert [one["from"] for one in json.loads(capsys.readouterr().out)] == ["bob"]
    for words in (["queue", "--watch"], ["history", "--state", "dead"], ["history", "--since", "1h"]):
        assert main([*words, "--sent"]) == 64


def test_for_messages_that_were_sent(here: Here) -> None:
    assert main(["send", "carol", "hello"]) == 0
    assert main(["wait", "out-1"]) == 0
    assert main(["wait", "out-1", "--for", "answered", "--timeout", "0.2"]) == 75
    here.take_in("an answer", "agent:carol")
    assert main(["wait", "out-1", "--for", "answered", "--timeout", "5"]) == 0
    assert main(["wait", "out-9"]) == 1


def later(what: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=what)
    thread.start()
    return thread


def test_send_waits_for_the_answer_and_prints_it(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    def answer() -> None:
        deadline = time.monotonic() + 60
        while not here.bridge.seen("/send") and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        here.take_in("8080", "agent:carol")

    thread = later(answer)
    status = main(["send", "carol", "which port?", "--wait", "answered", "--timeout", "60"])
    thread.join()
    assert status == 0
    assert "8080\n" in capsys.readouterr().out


@pytest.mark.parametrize(("state", "status"), [("submitted", 0), ("dead", 1)])
def test_send_waits_until_the_recipients_worker_says_so(here: Here, state: str, status: int) -> None:
    found: list[dict[str, Any]] = []

    def tell() -> None:
        deadline = time.monotonic() + 60
        while len(here.bridge.seen("/send")) < 1 and time.monotonic() < deadline:
            time.sleep(0.02)
        while not here.count("select count(*) from outbox where kind = 'receipt'") and time.monotonic() < deadline:
            time.sleep(0.02)
        row = here.rows("select stream, message_id from outbox where id = 1")[0]
        found.append({"stream": row["stream"], "id": row["message_id"]})
        here.take_in(notices.report("carol", "bob", row["stream"], row["message_id"], state, ""), "agent:carol")
        main(["run", "--once"])  # its sweep reads what came

    thread = later(tell)
    ended = main(["send", "carol", "do it", "--wait", "submitted", "--timeout", "60"])
    thread.join()
    assert ended == status
    asked = [json.loads(request.body)["text"] for request in here.bridge.seen("/send")][-1]
    assert asked == notices.wish("bob", "carol", found[0]["stream"], found[0]["id"])


def test_events_are_every_change_and_go_on_from_a_cursor(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    message = here.take_in("hello")
    capsys.readouterr()

    def events(*arguments: str) -> list[dict[str, Any]]:
        assert main(["events", "--json", *arguments]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    first = events("--after", "0")
    key = f"bob/sos:stream:global:agent:bob/{message}"
    assert [(one["kind"], one["state"], one["key"]) for one in first] == [
        ("message", "came", key),
        ("delivery", "running", key),
        ("delivery", "succeeded", key),
        ("message", "delivered", key),
    ]
    assert events("--after", str(first[1]["cursor"])) == first[2:]
    assert main(["send", "carol", "hi"]) == 0
    capsys.readouterr()
    after = events("--after", str(first[-1]["cursor"]))
    assert [(one["kind"], one["state"], one["key"]) for one in after] == [
        ("sent", state, "out-1") for state in ("waiting", "sending", "sent")
    ]
    assert main(["events"]) == 0
    assert f"{key} bob-wake succeeded" in capsys.readouterr().out
    assert main(["events", "--after", "99999"]) == 1
