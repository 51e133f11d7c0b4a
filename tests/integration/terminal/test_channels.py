"""What every channel of an agent's own must do, whatever it speaks: exactly once and whole, or an honest verdict.

Each runs against its stand-in in `tests/fakes`, with the agent's terminal UI in a real pane beside it, so that what was
typed is known as well as what the channel was given.
"""

import contextlib
import json
import threading
from pathlib import Path

import pytest

from tests.fakes.channels import Codex, World, wake
from tests.fakes.terminals import Terminal
from tests.world.waiting import until
from worker.cli.main import main
from worker.doctor.transports import _way as way
from worker.settings import AgentSettings
from worker.terminal.channels.names import NOT_MEASURED
from worker.terminal.submit import Outcome

TEXTS = {
    "short": "hello",
    "five lines": "one\ntwo\n\n\tfour\nfive",
    "8 KB": "word " * 1639 + "end",
    "100 KB": "word " * 20000 + "end",
    "command": "/clear",
    "shell": "!touch stolen",
    "mention": "@notes.txt",
    "quotes": "$(id) `id` 'q' \"q\" \\",
    "frames": 'x\n{"type":"auth","token":"y"}\n{"op":"send","text":"z"}',
    "other alphabets": "ü ∑ 漢字 🙂",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_exactly_once_and_whole(world: World, text: str) -> None:
    agent = world.open("a")
    outcome = wake(world, text)
    assert (outcome.verdict, outcome.channel, outcome.passed) == ("submitted", world.name, ()), outcome
    assert outcome.proof
    assert world.turns() == [text]
    assert agent.events("submit", "queue", "stray", "approve") == []


def test_it_waits_behind_a_turn_that_runs(world: World) -> None:
    agent = world.open("a")
    world.mode("busy")
    outcomes = [wake(world, text) for text in ("one", "two", "three")]
    assert [one.verdict for one in outcomes] == ["queued"] * 3, outcomes
    assert world.turns() == []
    world.end_turn()
    assert world.turns() == ["one", "two", "three"]
    assert agent.events("submit", "queue") == []


def test_it_is_held_back_while_a_turn_runs_if_it_shall_be(world: World) -> None:
    agent = world.open("a")
    world.mode("busy")
    assert wake(world, "later", when_idle=True).exit_status == 75
    world.end_turn()
    assert (world.turns(), agent.submitted()) == ([], [])


def test_a_persons_draft_stays(world: World) -> None:
    agent = world.open("a")
    agent.tell("draft half a line")
    before = world.terminal.screen(agent.pane)
    outcome = wake(world, "hello")
    assert outcome.verdict == "submitted", outcome
    assert world.turns() == ["hello"]
    assert world.terminal.screen(agent.pane) == before
    assert agent.submitted() == []


def test_a_dialog_is_not_answered(world: World) -> None:
    agent = world.open("a")
    agent.tell("dialog")
    assert wake(world, "hello").exit_status == 0
    assert world.turns() == ["hello"]
    assert agent.events("approve", "stray", "submit") == []


def test_of_two_sessions_that_cannot_be_told_apart_none_is_guessed(world: World) -> None:
    first, second = world.open("a"), world.open("b", alike=True)
    for place, text in (("a", "for a"), ("b", "for b")):
        outcome = wake(world, text, place=place)
        if world.tells_apart:
            assert (outcome.verdict, outcome.channel) == ("submitted", world.name), outcome
            continue
        assert (outcome.verdict, outcome.channel) == ("submitted", "type"), outcome
        assert "certain" in outcome.passed[0]
    assert world.turns() == (["for a", "for b"] if world.tells_apart else [])
    assert (first.submitted(), second.submitted()) == (([], []) if world.tells_apart else (["for a"], ["for b"]))


@pytest.mark.parametrize("mode", ["gone", "refuses", "drifted", "exposed", "stranger"])
def test_what_is_not_sure_to_arrive_is_typed_and_says_why(world: World, mode: str) -> None:
    agent = world.open("a")
    world.mode(mode)
    outcome = wake(world, "hello")
    assert (outcome.verdict, outcome.channel) == ("submitted", "type"), outcome
    assert outcome.passed[0].startswith(f"{world.name}: "), outcome
    assert outcome.passed[0].startswith(f"{world.name}: {NOT_MEASURED}") is (mode == "drifted"), outcome
    assert (world.turns(), agent.submitted()) == ([], ["hello"])


@pytest.mark.parametrize("mode", ["gone", "refuses", "drifted", "exposed", "stranger"])
def test_without_typing_nothing_is_typed(world: World, mode: str) -> None:
    agent = world.open("a")
    world.mode(mode)
    outcome = wake(world, "hello", via="native")
    assert (outcome.exit_status, world.turns(), agent.submitted()) == (69, [], []), outcome


def test_typing_if_that_is_asked_for(world: World) -> None:
    agent = world.open("a")
    assert wake(world, "hello", via="type").channel == "type"
    assert (world.turns(), agent.submitted()) == ([], ["hello"])


def test_a_channel_of_another_agent_is_none(world: World) -> None:
    agent = world.terminal.agent("other")
    outcome = wake(world, "hello", place="other", via=world.name)
    assert (outcome.exit_status, agent.submitted()) == (69, [])


def test_the_same_words_again_are_another_message(world: World) -> None:
    world.open("a")
    assert [wake(world, "hello", key=f"al/{number}-0").verdict for number in range(3)] == ["submitted"] * 3
    assert world.turns() == ["hello"] * 3


def test_two_senders_each_once(world: World) -> None:
    agent = world.open("a")
    texts = [f"hello {number}" for number in range(8)]
    found: list[Outcome] = []
    threads = [threading.Thread(target=lambda one=text: found.append(wake(world, one, timeout=30.0))) for text in texts]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [one.exit_status for one in found] == [0] * 8, found
    until(lambda: sorted(world.turns()) == texts, "all are turns")
    assert agent.submitted() == []


def test_json_names_channel_and_proof(world: World) -> None:
    world.open("a")
    done = world.terminal.run(
        "wake", "-t", "a", "--json", "--via", world.name, text="hello", SOS_MESSAGE_SOURCE="bob", SOS_AGENT="al"
    )
    assert f'"channel": "{world.name}"' in done.stdout, done
    assert world.turns() == ["[bob -> al] hello"]


def test_a_look_and_doctor_say_which_way_a_message_would_go(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.open("a")
    monkeypatch.setenv("HOME", str(world.terminal.home))
    command = ["/opt/wake", "-t", "a", "--socket-path", world.terminal.socket, "--authority", "peer"]
    agent = AgentSettings(agent="al", token_file="~/none")
    said = [one.text for one in way("transport tmux", agent, command)]
    assert f"by the channel {world.name}" in said[0]
    look = json.loads(world.terminal.run("send_message", "--look", "-t", "a", "--json").stdout)
    assert look["channels"] == {world.name: ""}
    config = world.terminal.home / "bus-watch.json"
    transports = [{"name": "wake", "command": command, "stdin": True}]
    settings = {"agent": "al", "token_env": "T", "bridge_url": "http://127.0.0.1:9", "transports": transports}
    config.write_text(json.dumps({**settings, "allowlist": ["/opt/wake"], "state_path": f"{config}.state"}))
    assert main(["doctor", "--channels", "--config", str(config)]) == 0
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["AGENT", "WHO", "IS", "THERE", "PANE", "BY"]
    assert row.split()[0] == "al"
    assert row.split()[-1] == world.name
    world.mode("gone")
    assert main(["doctor", "--channels", "--json", "--config", str(config)]) == 0
    (said,) = json.loads(capsys.readouterr().out)
    assert (said["by"], said["why_not"][0].partition(":")[0]) == ("type", world.name)
    look = json.loads(world.terminal.run("send_message", "--look", "-t", "a", "--json").stdout)
    assert look["channels"][world.name]
    (found,) = way("transport tmux", agent, command)
    assert (found.state, "typed (not by " in found.text) == ("ok", True), found
    assert (world.turns(), world.terminal.agents[0].submitted()) == ([], [])


def test_a_record_that_names_no_turn_is_not_trusted(terminal: Terminal) -> None:
    with contextlib.closing(Codex(terminal)) as world:
        agent = world.open("a")
        said = {"type": "event_msg", "payload": {"type": "task_complete"}}
        Path(world.daemon.threads[0]["path"]).write_text(json.dumps(said) + "\n")
        outcome = wake(world, "hello")
        assert NOT_MEASURED in outcome.passed[0]
        assert (world.turns(), agent.submitted()) == ([], ["hello"])
