"""What every channel of an agent's own must do, whatever it speaks: exactly once and whole, or an honest verdict.

Each runs against its stand-in in `tests/fakes`, with the agent's terminal UI in a real pane beside it, so that what was
typed is known as well as what the channel was given.
"""

import contextlib
import errno
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.channels import WORLDS, Claude, Codex, Copilot, Opencode, Pi, Qwen, World
from tests.fakes.terminals import ROOT, Agent, Terminal
from tests.world.waiting import until
from worker import process_table
from worker.cli.main import main
from worker.doctor.transports import _way as way
from worker.settings import AgentSettings
from worker.terminal.channels import chain, handed
from worker.terminal.channels.chain import deliver
from worker.terminal.channels.names import NOT_MEASURED
from worker.terminal.submit import Options, Outcome

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


@pytest.fixture(params=WORLDS, ids=lambda one: one.name)
def world(request: pytest.FixtureRequest, terminal: Terminal) -> Iterator[World]:
    made: World = request.param(terminal)
    yield made
    made.close()


def wake(world: World, text: str, *, place: str = "a", via: str = "auto", **options: object) -> Outcome:
    chosen = Options(**{"timeout": 8.0, **options})  # type: ignore[arg-type]  # tests name them
    return deliver(world.terminal.server, place, text, chosen, world.terminal.profiles(), via, "peer")


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


def test_sent_again_it_is_not_sent_twice(world: World) -> None:
    agent = world.open("a")
    outcomes = [wake(world, "hello", key="al/1-0") for _ in range(3)]
    assert [one.verdict for one in outcomes] == ["submitted"] * 3, outcomes
    assert (world.turns(), agent.submitted()) == (["hello"], [])


def test_one_message_for_two_panes_reaches_both(world: World) -> None:
    """As two transports of one agent have it, whose sessions keep their records in one folder."""
    if not world.tells_apart:
        world.open("a")
        assert wake(world, "hello", key="al/1-0").verdict == "submitted"
        return
    world.open("a"), world.open("b")
    for place in ("a", "b"):
        outcome = wake(world, "hello", place=place, key="al/1-0")
        assert (outcome.verdict, outcome.channel) == ("submitted", world.name), outcome
    assert world.turns() == ["hello", "hello"]


def test_the_same_words_again_are_another_message(world: World) -> None:
    world.open("a")
    assert [wake(world, "hello", key=f"al/{number}-0").verdict for number in range(3)] == ["submitted"] * 3
    assert world.turns() == ["hello"] * 3


def test_handed_over_without_an_answer_it_is_unproven_and_never_typed(world: World) -> None:
    agent = world.open("a")
    world.mode("silent")
    outcome = wake(world, "hello", key="al/1-0", timeout=3.0)
    assert (outcome.exit_status, outcome.channel) == (76, world.name), outcome
    world.mode("gone")
    again = wake(world, "hello", key="al/1-0", timeout=3.0)
    assert (again.exit_status, again.channel) == (76, world.name), again
    assert "cannot be known" in again.reason
    assert agent.submitted() == []
    assert len(world.turns()) <= 1


@pytest.mark.parametrize("mode", ["garbles", "dies", "halves"])
def test_whatever_is_met_behind_the_hand_over_nothing_is_typed(world: World, mode: str) -> None:
    agent = world.open("a")
    world.mode(mode)
    outcome = wake(world, "hello", key="al/1-0", timeout=3.0)
    assert (outcome.exit_status, outcome.channel) in {(76, world.name), (0, world.name)}, outcome
    assert (len(handed_over(world)), agent.submitted()) == (1, [])
    assert outcome.verdict == "submitted" or len(world.turns()) <= 1


def test_handed_over_without_an_answer_it_is_found_again(world: World) -> None:
    agent = world.open("a")
    world.mode("silent")
    wake(world, "hello", key="al/1-0", timeout=3.0)
    world.mode("")
    outcome = wake(world, "hello", key="al/1-0")
    assert (outcome.verdict, outcome.channel) == ("submitted", world.name), outcome
    assert (world.turns(), agent.submitted()) == (["hello"], [])


def test_sent_again_while_its_session_is_slow_it_is_not_typed(world: World) -> None:
    agent = world.open("a")
    world.mode("silent")
    for _ in range(2):  # Claude Code says of the second one that it is a duplicate
        outcome = wake(world, "hello", key="al/1-0", timeout=3.0)
        assert (outcome.exit_status in {0, 76}, outcome.channel) == (True, world.name), outcome
    assert agent.submitted() == []
    world.mode("")
    assert wake(world, "hello", key="al/1-0").verdict == "submitted"
    assert (world.turns(), agent.submitted()) == (["hello"], [])


def test_a_text_that_was_typed_and_not_proven_does_not_go_by_the_channel_as_well(world: World) -> None:
    agent = world.open("a")
    agent.tell("swallow 99")
    assert wake(world, "hello", key="al/1-0", via="type", timeout=4.0).exit_status == 76
    agent.tell("swallow 0")
    outcome = wake(world, "hello", key="al/1-0")
    assert (outcome.verdict, outcome.channel) == ("submitted", "type"), outcome
    assert (world.turns(), agent.submitted()) == ([], ["hello"])


@pytest.mark.parametrize("step", ["channel.found", "channel.noted", "channel.sent"])
def test_a_sender_that_dies_leaves_it_to_the_next(world: World, step: str) -> None:
    agent = world.open("a")
    key = {"SOS_MESSAGE_KEY": f"al/{uuid.uuid4().int % 10**9}-0"}
    argv = [
        sys.executable,
        "-m",
        "worker.terminal.wake",
        "--socket-path",
        world.terminal.socket,
        "-t",
        "a",
        "--via",
        world.name,
    ]
    environment = {**world.terminal.environment, **key, "BUS_WATCH_FAULT_STEP": f"worker.{step}"}
    died = subprocess.run(argv, input="hello", text=True, env=environment, cwd=ROOT, check=False, timeout=60)
    assert died.returncode == -9
    done = subprocess.run(
        argv, input="hello", text=True, env={**world.terminal.environment, **key}, cwd=ROOT, check=False, timeout=60
    )
    assert done.returncode == 0
    assert (world.turns(), agent.submitted()) == (["[unknown -> unknown] hello"], [])


def resumed(world: World, agent: Agent) -> Agent:
    """The agent's session ends with its pane; another of the same name, whose channel is not there (yet)."""
    world.mode("gone")
    world.terminal.tmux("kill-session", "-t", agent.name)
    new = world.terminal.agent("new", program=world.program)
    new.tell(f"title OC | work of {agent.name}")
    world.terminal.tmux("rename-session", "-t", "new", agent.name)
    return new


def killed(world: World, step: str, key: str) -> None:
    """A sender that dies at that step."""
    words = ("wake", "-t", "a", "--via", world.name)
    died = world.terminal.run(*words, text="hello", SOS_MESSAGE_KEY=key, BUS_WATCH_FAULT_STEP=f"worker.{step}")
    assert died.returncode == -9


@pytest.mark.parametrize("via", ["auto", "type"])
def test_a_sender_that_dies_leaves_nothing_to_type_into_a_new_pane(
    world: World, via: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.open("a")
    killed(world, "channel.sent", "al/1-0")
    until(lambda: len(world.turns()) == 1, "it has arrived")
    second = resumed(world, first)
    (noted,) = handed_over(world)

    def again() -> Outcome:
        return wake(world, "[unknown -> unknown] hello", via=via, key="al/1-0", timeout=4.0)

    if "gone" in world.proves:
        assert (again().verdict, noted.exists()) == ("submitted", True)
    else:
        outcome = again()  # it may not be ready yet
        assert (outcome.exit_status, outcome.channel) == (75, world.name), outcome
        monkeypatch.setattr(chain, "_STARTS", 0.0)  # a minute later
        outcome = again()
        assert (outcome.exit_status, outcome.channel) == (76, world.name), outcome
        assert f"rm {noted}," in outcome.reason
    assert (len(world.turns()), first.submitted(), second.events("submit", "queue", "stray")) == (1, [], [])
    noted.unlink()  # a person has looked: the agent has not got it
    assert (again().verdict, len(second.submitted())) == ("submitted", 1)


@pytest.mark.parametrize("mode", ["gone", "drifted", "exposed", "stranger"])
def test_what_a_turn_took_is_proven_where_nothing_can_be_sent(world: World, mode: str) -> None:
    agent = world.open("a")
    killed(world, "channel.sent", "al/1-0")
    until(lambda: len(world.turns()) == 1, "it has arrived")
    world.mode(mode)
    outcome = wake(world, "[unknown -> unknown] hello", key="al/1-0", timeout=4.0)
    expected = (0, "submitted") if mode in world.proves else (76, "unproven")
    assert (outcome.exit_status, outcome.verdict, outcome.channel) == (*expected, world.name), outcome
    assert (len(world.turns()), agent.submitted()) == (1, [])


def test_what_another_conversation_has_is_not_sent_to_the_new_one(world: World) -> None:
    agent = world.open("a")
    killed(world, "channel.sent", "al/1-0")
    until(lambda: len(world.turns()) == 1, "it has arrived")
    world.leave()
    said = world.terminal.run("wake", "-t", "a", "--via", world.name, text="hello", SOS_MESSAGE_KEY="al/1-0")
    assert (said.returncode, "submitted" in said.stdout) == (0, True), said
    assert (len(world.turns()), agent.submitted()) == (1, [])


@pytest.mark.parametrize("make", [Claude, Qwen])
@pytest.mark.parametrize(
    ("record", "status"),
    [("is old", 0), ("lies in another folder", 0), ("is gone", 76)],
)
def test_the_session_that_was_handed_it_is_asked_wherever_its_record_is(
    terminal: Terminal, make: type[Claude], record: str, status: int
) -> None:
    with contextlib.closing(make(terminal)) as world:
        agent = world.open("a")
        killed(world, "channel.sent", "al/1-0")
        until(lambda: len(world.turns()) == 1, "it has arrived")
        path = world.inboxes[0].transcript
        world.leave()
        if record == "is old":
            os.utime(path, (1e9, 1e9))
        elif record == "lies in another folder":
            other = Path(str(path).replace("/projects/", "/projects/-other"))
            other.parent.mkdir(parents=True)
            path.rename(other)
        else:
            path.unlink()
        said = terminal.run("wake", "-t", "a", "--via", world.name, text="hello", SOS_MESSAGE_KEY="al/1-0")
        assert said.returncode == status, said
        assert (len(world.turns()), agent.submitted()) == (1, [])


def test_what_may_wait_in_another_conversations_queue_is_unproven(terminal: Terminal) -> None:
    with contextlib.closing(Codex(terminal)) as world:
        agent = world.open("a")
        world.mode("busy")
        killed(world, "channel.sent", "al/1-0")
        until(lambda: len(world.daemon.queue) == 1, "it waits")
        world.leave()
        said = terminal.run("wake", "-t", "a", "--timeout", "4", text="hello", SOS_MESSAGE_KEY="al/1-0")
        assert (said.returncode, "handed to another thread" in said.stderr) == (76, True), said
        assert (len(world.daemon.queue), agent.events("submit", "queue")) == (1, [])


def test_what_waits_in_a_threads_queue_is_known_beside_another_in_its_directory(terminal: Terminal) -> None:
    with contextlib.closing(Codex(terminal)) as world:
        first = world.open("a")
        world.mode("busy")
        killed(world, "channel.sent", "al/1-0")
        until(lambda: len(world.daemon.queue) == 1, "it waits")
        second = world.open("b")
        outcome = wake(world, "[unknown -> unknown] hello", key="al/1-0", timeout=4.0)
        assert (outcome.verdict, outcome.channel) == ("queued", "codex"), outcome
        assert (len(world.daemon.queue), first.submitted(), second.submitted()) == (1, [], [])


def test_an_error_behind_what_was_done_is_no_refusal(terminal: Terminal) -> None:
    with contextlib.closing(Codex(terminal)) as world:
        agent = world.open("a")
        world.mode("complains")
        outcome = wake(world, "hello", key="al/1-0")
        assert (outcome.verdict, outcome.channel) == ("submitted", "codex"), outcome
        assert (world.turns(), agent.submitted()) == (["hello"], [])


def test_an_error_and_then_silence_is_no_refusal_either(terminal: Terminal) -> None:
    with contextlib.closing(Codex(terminal)) as world:
        agent = world.open("a")
        world.mode("fails")
        outcome = wake(world, "hello", key="al/1-0")
        assert (outcome.exit_status, outcome.channel) == (76, "codex"), outcome
        assert "was refused: internal error; then: " in outcome.reason
        assert (len(handed_over(world)), len(world.daemon.queue), agent.submitted()) == (1, 1, [])


@pytest.mark.parametrize("authority", ["any", "peer"])
def test_a_sender_that_dies_while_a_turn_runs_leaves_nothing_to_type(world: World, authority: str) -> None:
    agent = world.open("a")
    world.mode("busy")
    killed(world, "channel.sent", "al/1-0")
    words = ("wake", "-t", "a", "--authority", authority, "--timeout", "4")
    said = world.terminal.run(*words, text="hello", SOS_MESSAGE_KEY="al/1-0")
    assert said.returncode in {0, 76}, said
    assert (world.turns(), agent.events("submit", "queue")) == ([], [])
    world.end_turn()
    until(lambda: len(world.turns()) == 1, "its turn comes")
    said = world.terminal.run(*words, text="hello", SOS_MESSAGE_KEY="al/1-0")
    assert (said.returncode, "submitted" in said.stdout) == (0, True), said
    assert (len(world.turns()), agent.submitted()) == (1, [])


@pytest.mark.parametrize("make", [Claude, Qwen])
@pytest.mark.parametrize("authority", ["any", "peer"])
def test_what_a_stopped_agent_has_not_read_is_not_sent_again(
    terminal: Terminal, make: type[Claude], authority: str
) -> None:
    with contextlib.closing(make(terminal)) as world:
        agent = world.open("a")
        world.inboxes[0].stop()
        killed(world, "channel.sent", "al/1-0")
        words = ("wake", "-t", "a", "--authority", authority, "--timeout", "6")
        said = terminal.run(*words, text="hello", SOS_MESSAGE_KEY="al/1-0")
        assert (said.returncode, "may still be unread" in said.stderr) == (76, True), said
        assert (world.turns(), agent.events("submit", "queue", "stray")) == ([], [])
        world.inboxes[0].go_on()
        said = terminal.run(*words, text="hello", SOS_MESSAGE_KEY="al/1-0")
        assert (said.returncode, "submitted" in said.stdout) == (0, True), said
        assert (len(world.turns()), agent.submitted()) == (1, [])


@pytest.mark.parametrize("make", [Claude, Qwen])
def test_what_a_live_session_has_certainly_not_got_is_sent(terminal: Terminal, make: type[Claude]) -> None:
    with contextlib.closing(make(terminal)) as world:
        agent = world.open("a")
        killed(world, "channel.noted", "al/1-0")
        said = terminal.run("wake", "-t", "a", "--authority", "any", text="hello", SOS_MESSAGE_KEY="al/1-0")
        assert (said.returncode, len(world.turns()), len(agent.submitted())) == (0, 0, 1), said


@pytest.mark.parametrize("make", [Claude, Qwen])
@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("authority", ["any", "peer"])
def test_what_waited_in_an_agent_that_has_ended_is_sent_to_the_one_that_was_resumed(
    terminal: Terminal, make: type[Claude], taken: bool, authority: str
) -> None:
    with contextlib.closing(make(terminal)) as world:
        first = world.open("a")
        world.mode("busy")
        killed(world, "channel.sent", "al/1-0")
        until(lambda: len(world.inboxes[0].waiting) == 1, "it waits")
        world.inboxes[0].close()
        terminal.tmux("kill-session", "-t", "a")
        until(lambda: not process_table.born(world.inboxes[0].pid), "it has ended")
        if taken:  # and then it ended: a turn may have begun
            with transcript_of(world).open("a") as file:
                file.write('{"type":"queue-operation","operation":"dequeue"}\n')
        second = world.open("new")
        terminal.tmux("rename-session", "-t", "new", "a")
        world.inboxes[1].resume(world.inboxes[0])
        options, text = Options(key="al/1-0", timeout=4.0), "[unknown -> unknown] hello"
        outcome = deliver(terminal.server, "a", text, options, terminal.profiles(), "auto", authority)
        if taken and make is Claude:  # Qwen Code writes down no queue
            assert (outcome.verdict, outcome.channel, "has ended" in outcome.reason) == ("deferred", "claude", True)
            assert (world.turns(), first.submitted(), second.submitted()) == ([], [], [])
            return
        channel, typed = ("type", [text]) if authority == "any" else (world.name, [])
        assert (outcome.verdict, outcome.channel) == ("submitted", channel), outcome
        assert (first.submitted(), second.submitted()) == ([], typed)
        assert world.turns() + typed == [text]


@pytest.mark.parametrize("make", [Claude, Opencode, Pi, Copilot, Qwen])
def test_what_an_agent_that_ended_had_not_read_is_sent(terminal: Terminal, make: type[World]) -> None:
    with contextlib.closing(make(terminal)) as world:
        agent = world.open("a")
        world.mode("deaf")
        outcome = wake(world, "hello", key="al/1-0")
        assert (outcome.verdict, outcome.channel) == ("submitted", "type"), outcome
        assert "had not read it" in outcome.passed[0]
        assert (handed_over(world), world.turns(), agent.submitted()) == ([], [], ["hello"])


@pytest.mark.parametrize("make", [Codex, Claude, Qwen])
def test_a_record_that_cannot_be_read_disproves_nothing(terminal: Terminal, make: type[World]) -> None:
    with contextlib.closing(make(terminal)) as world:
        agent = world.open("a")
        killed(world, "channel.sent", "al/1-0")
        until(lambda: len(world.turns()) == 1, "it has arrived")
        record = Path(world.daemon.threads[0]["path"]) if isinstance(world, Codex) else transcript_of(world)
        record.rename(record.with_suffix(".away"))
        record.mkdir()  # as root, no mode keeps anybody from reading
        said = terminal.run("wake", "-t", "a", "--timeout", "4", text="hello", SOS_MESSAGE_KEY="al/1-0")
        assert (said.returncode, str(record) in said.stderr) == (76, True), said
        assert (len(world.turns()), agent.events("submit", "queue")) == (1, [])


def transcript_of(world: World) -> Path:
    assert isinstance(world, Claude)
    return world.inboxes[0].transcript


def test_what_opencode_was_handed_and_does_not_show_yet_is_not_sent_again(terminal: Terminal) -> None:
    with contextlib.closing(Opencode(terminal)) as world:
        agent = world.open("a")
        world.mode("slow")
        killed(world, "channel.sent", "al/1-0")
        said = terminal.run("wake", "-t", "a", "--timeout", "4", text="hello", SOS_MESSAGE_KEY="al/1-0")
        assert (said.returncode, "has it not yet" in said.stderr) == (76, True), said
        assert (world.turns(), agent.submitted()) == ([], [])
        world.mode("")
        said = terminal.run("wake", "-t", "a", text="hello", SOS_MESSAGE_KEY="al/1-0")
        assert (said.returncode, "submitted" in said.stdout) == (0, True), said
        assert (len(world.turns()), agent.submitted()) == (1, [])


def handed_over(world: World) -> list[Path]:
    return list((world.terminal.home / ".local/state/bus-watch/handed").glob("*"))


def test_what_was_refused_is_typed_into_a_new_pane_too(world: World) -> None:
    first = world.open("a")
    world.mode("refuses")
    assert wake(world, "hello", key="al/1-0", via="native").exit_status == 69
    assert (handed_over(world), world.turns()) == ([], [])
    second = resumed(world, first)
    outcome = wake(world, "hello", key="al/1-0")
    assert (outcome.verdict, outcome.channel) == ("submitted", "type"), outcome
    assert (world.turns(), first.submitted(), second.submitted()) == ([], [], ["hello"])


def test_where_no_note_can_be_made_it_is_typed_and_says_why(world: World) -> None:
    agent = world.open("a")
    folder = world.terminal.home / ".local/state/bus-watch"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "handed").touch()
    outcome = wake(world, "hello", key="al/1-0")
    assert (outcome.verdict, outcome.channel) == ("submitted", "type"), outcome
    assert "no note of it can be made" in outcome.passed[0]
    assert (world.turns(), agent.submitted()) == ([], ["hello"])


def test_a_note_that_was_not_made_whole_is_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = world.open("a")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(handed, "sync", full)
    outcome = wake(world, "hello", key="al/1-0")
    assert (outcome.verdict, outcome.channel) == ("submitted", "type"), outcome
    assert "No space left" in outcome.passed[0]
    assert (handed_over(world), world.turns(), agent.submitted()) == ([], [], ["hello"])


@pytest.mark.parametrize("via", ["auto", "native", "type"])
def test_where_the_notes_cannot_be_read_it_waits_and_says_why(world: World, via: str) -> None:
    agent = world.open("a")
    folder = world.terminal.home / ".local/state/bus-watch"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "handed").symlink_to("handed")  # Linux and macOS: too many levels of symbolic links
    outcome = wake(world, "hello", key="al/1-0", via=via)
    assert (outcome.exit_status, str(folder) in outcome.reason) == (75, True), outcome
    assert (world.turns(), agent.submitted()) == ([], [])
    (folder / "handed").unlink()
    assert wake(world, "hello", key="al/1-0", via=via).verdict == "submitted"
    assert len(world.turns()) + len(agent.submitted()) == 1


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


@pytest.mark.parametrize(("authority", "said"), [("any", ("claude", "submitted")), ("user", ("type", "deferred"))])
def test_what_has_not_the_users_authority_is_taken_when_nothing_could_be_typed(
    terminal: Terminal, authority: str, said: tuple[str, str]
) -> None:
    with contextlib.closing(Claude(terminal)) as world:
        agent = world.open("a")
        profiles, options = terminal.profiles(), Options(timeout=8.0)
        outcome = deliver(terminal.server, "a", "first", options, profiles, "auto", authority)
        assert (outcome.channel, agent.submitted(), world.turns()) == ("type", ["first"], []), outcome
        agent.tell("draft half a line")
        outcome = deliver(terminal.server, "a", "second", options, profiles, "auto", authority)
        assert (outcome.channel, outcome.verdict) == said, outcome
        assert world.turns() == (["second"] if authority == "any" else [])
        assert agent.submitted() == ["first"]


def test_a_message_of_class_human_is_never_anothers(terminal: Terminal) -> None:
    with contextlib.closing(Claude(terminal)) as world:
        agent = world.open("a")
        agent.tell("draft half a line")
        done = terminal.run("wake", "-t", "a", "--timeout", "5", text="hello", SOS_MESSAGE_CLASS="human")
        assert (done.returncode, world.turns(), agent.submitted()) == (75, [], [])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--via", "claude"), "submitted"),  # who names the channel means it
        (("--via", "native"), "has not the user's authority"),
        (("--via", "claude", "--authority", "user"), "has not the user's authority"),
        (("--via", "codex"), "the pane runs claude, not codex"),
    ],
)
def test_a_message_of_class_human_that_may_not_be_typed(
    terminal: Terminal, options: tuple[str, ...], said: str
) -> None:
    with contextlib.closing(Claude(terminal)) as world:
        agent = world.open("a")
        done = terminal.run("wake", "-t", "a", "--timeout", "8", *options, text="hello", SOS_MESSAGE_CLASS="human")
        assert said in done.stdout + done.stderr
        assert (done.returncode, len(world.turns())) == ((0, 1) if said == "submitted" else (69, 0))
        assert agent.submitted() == []


@pytest.mark.parametrize(
    ("settings", "typed"),
    [
        ({"permissions": {"defaultMode": "bypassPermissions"}}, True),
        ({"permissions": {"defaultMode": "bypassPermissions"}, "crossSessionInbound": "accept"}, False),
        ({"crossSessionInbound": "ask"}, True),
    ],
)
def test_a_session_that_would_ask_about_the_message_gets_none(
    terminal: Terminal, settings: dict[str, object], typed: bool
) -> None:
    with contextlib.closing(Claude(terminal)) as world:
        agent = world.open("a")
        (terminal.home / ".claude" / "settings.json").write_text(json.dumps(settings))
        outcome = wake(world, "hello")
        assert outcome.channel == ("type" if typed else "claude"), outcome
        assert (world.turns(), agent.submitted()) == (([], ["hello"]) if typed else (["hello"], []))


@pytest.mark.parametrize("how", ["a link", "its group may write it"])
def test_settings_that_lie_elsewhere_or_are_shared_count(terminal: Terminal, how: str) -> None:
    for make, settings, channel in (
        (Claude, {"permissions": {"defaultMode": "bypassPermissions"}}, "type"),
        (Claude, {"permissions": {"defaultMode": "bypassPermissions"}, "crossSessionInbound": "accept"}, "claude"),
        (Qwen, {"agents": {"crossSessionInbound": "accept"}}, "qwen"),
        (Qwen, {}, "type"),
    ):
        with contextlib.closing(make(terminal)) as world:
            name = f"{make.name}-{channel}"
            agent = world.open(name)
            path = terminal.home / f".{make.name}" / "settings.json"
            path.unlink(missing_ok=True)
            if how == "a link":
                path.symlink_to(terminal.home / f"{name}.json")
            path.write_text(json.dumps(settings))
            path.chmod(0o664)
            outcome = wake(world, "hello", place=name)
            assert outcome.channel == channel, outcome
            assert (world.turns(), agent.submitted()) == (([], ["hello"]) if channel == "type" else (["hello"], []))


def test_settings_that_cannot_be_read_are_no_leave(terminal: Terminal) -> None:
    with contextlib.closing(Claude(terminal)) as world:
        agent = world.open("a")
        (terminal.home / ".claude" / "settings.json").mkdir()
        outcome = wake(world, "hello")
        assert "settings.json is not a file" in outcome.passed[0]
        assert (world.turns(), agent.submitted()) == ([], ["hello"])


def test_a_key_that_others_can_read_is_not_used(terminal: Terminal) -> None:
    with contextlib.closing(Claude(terminal)) as world:
        agent = world.open("a")
        (key,) = (terminal.home / ".claude" / "sessions").glob("*.key")
        key.chmod(0o644)
        outcome = wake(world, "hello")
        assert "chmod 600" in outcome.passed[0]
        assert (world.turns(), agent.submitted()) == ([], ["hello"])


def test_handed_over_without_an_answer_it_is_not_typed_either_when_only_typing_is_left(world: World) -> None:
    agent = world.open("a")
    world.mode("silent")
    assert wake(world, "hello", key="al/1-0", timeout=3.0).exit_status == 76
    world.mode("gone")
    outcome = wake(world, "hello", key="al/1-0", via="type", timeout=3.0)
    assert (outcome.exit_status, agent.submitted()) == (76, []), outcome
    assert wake(world, "another", key="al/2-0", via="type").exit_status == 0


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
