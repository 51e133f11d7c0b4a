"""A message that is sent again: what an earlier attempt handed to a channel is found, or nothing more is done."""

import contextlib
import errno
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.channels import (
    Claude,
    Codex,
    Copilot,
    Opencode,
    Pi,
    Qwen,
    World,
    handed_over,
    transcript_of,
    wake,
)
from tests.fakes.terminals import ROOT, Agent, Terminal
from tests.world.waiting import until
from worker import process_table
from worker.terminal.channels import chain, handed
from worker.terminal.channels.chain import deliver
from worker.terminal.channels.sites import site_of
from worker.terminal.submit import Options, Outcome


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
        assert wake(world, "before").verdict == "submitted"
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
            assert (world.turns(), first.submitted(), second.submitted()) == (["before"], [], [])
            return
        channel, typed = ("type", [text]) if authority == "any" else (world.name, [])
        assert (outcome.verdict, outcome.channel) == ("submitted", channel), outcome
        assert (first.submitted(), second.submitted()) == ([], typed)
        assert world.turns() + typed == ["before", text]


@pytest.mark.parametrize("make", [Claude, Opencode, Pi, Copilot, Qwen])
def test_what_an_agent_that_ended_had_not_read_is_sent(terminal: Terminal, make: type[World]) -> None:
    with contextlib.closing(make(terminal)) as world:
        agent = world.open("a")
        world.mode("deaf")
        outcome = wake(world, "hello", key="al/1-0")
        assert (outcome.verdict, outcome.channel) == ("submitted", "type"), outcome
        assert "had not read it" in outcome.passed[0]
        assert (handed_over(world), world.turns(), agent.submitted()) == ([], [], ["hello"])


def test_what_an_agent_had_not_taken_whole_is_sent(world: World) -> None:
    """Of 300 KB, a socket's buffer holds two thirds: its sender still writes when the agent ends."""
    agent = world.open("a")
    world.mode("deaf")
    text = "д" * 50_000
    outcome = wake(world, text, key="al/1-0")
    assert (outcome.verdict, outcome.channel) == ("submitted", "type"), outcome
    assert "did not take it" in outcome.passed[0]
    assert (handed_over(world), world.turns(), agent.submitted()) == ([], [], [text])


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


def test_handed_over_without_an_answer_it_is_not_typed_either_when_only_typing_is_left(world: World) -> None:
    agent = world.open("a")
    world.mode("silent")
    assert wake(world, "hello", key="al/1-0", timeout=3.0).exit_status == 76
    world.mode("gone")
    outcome = wake(world, "hello", key="al/1-0", via="type", timeout=3.0)
    assert (outcome.exit_status, agent.submitted()) == (76, []), outcome
    assert wake(world, "another", key="al/2-0", via="type").exit_status == 0


def test_an_agent_that_was_there_before_was_not_started_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the look at its pane takes: on a busy machine, as long as the agent is old."""
    world.open("a")
    world.mode("silent")
    assert wake(world, "hello", key="al/1-0", timeout=3.0).exit_status == 76
    world.mode("gone")
    ahead, now = [0.0], time.time

    def slowly(*of: Any) -> Any:
        ahead[0] += 20.0
        return site_of(*of)

    monkeypatch.setattr(chain, "site_of", slowly)
    monkeypatch.setattr("time.time", lambda: now() + ahead[0])
    assert wake(world, "hello", key="al/1-0", timeout=3.0).exit_status == 76
