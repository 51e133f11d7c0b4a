"""Text of ours that an earlier sender left in the box: it comes once or goes, and the next message arrives."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from tests.fakes.terminals import ROOT, Agent, Terminal
from tests.world.waiting import until

TEXTS = ["short", "two\nlines", "x" * 600, "\n".join(f"row {number}" for number in range(40)), "y" * 3000]
KINDS = ["short", "two lines", "wrapped", "taller", "collapsed"]


@contextlib.contextmanager
def after_paste(terminal: Terminal, command: str) -> Iterator[None]:
    """Let tmux run a command right behind each paste, whatever its sender does."""
    terminal.tmux("set-hook", "-g", "after-paste-buffer", command)
    try:
        yield
    finally:
        terminal.tmux("set-hook", "-gu", "after-paste-buffer")


def killed(terminal: Terminal, text: str, **variables: str) -> None:
    """A sender of `text` to `a` dies between its paste and its Enter."""
    pid = terminal.home / "sender.pid"
    argv = [sys.executable, "-m", "worker.terminal.send_message", "--socket-path", terminal.socket, "-t", "a"]
    with after_paste(terminal, f"run-shell 'kill -9 $(cat {pid})'"):
        sender = subprocess.Popen(
            argv, stdin=subprocess.PIPE, env={**terminal.environment, **variables}, cwd=ROOT, start_new_session=True
        )
        pid.write_text(str(sender.pid))
        sender.communicate(text.encode(), timeout=60)
    assert sender.returncode == -9


def nothing_is_left(terminal: Terminal, agent: Agent) -> None:
    assert terminal.tmux("list-buffers") == ""
    assert "@bus_watch_pasted" not in terminal.tmux("show-options", "-p", "-t", agent.pane)


@pytest.mark.parametrize("text", TEXTS, ids=KINDS)
@pytest.mark.parametrize("record", [True, False], ids=["record", "screen"])
def test_killed_between_paste_and_enter(terminal: Terminal, text: str, record: bool) -> None:
    agent = terminal.agent("a", record=record)
    killed(terminal, text)
    outcome = terminal.submit("a", "the next one")
    assert outcome.verdict == "submitted", outcome
    assert outcome.leftover.startswith("submitted"), outcome
    assert agent.submitted() == [text, "the next one"]
    nothing_is_left(terminal, agent)


def test_the_same_delivery_again_is_submitted_once(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    killed(terminal, "once", SOS_MESSAGE_KEY="a/1-0")
    done = terminal.run("send_message", "-t", "a", text="once", SOS_MESSAGE_KEY="a/1-0")
    assert done.returncode == 0, done
    assert agent.submitted() == ["once"]
    done = terminal.run("send_message", "-t", "a", text="once", SOS_MESSAGE_KEY="a/2-0")
    assert done.returncode == 0, done
    assert agent.submitted() == ["once", "once"]  # another message that says the same
    nothing_is_left(terminal, agent)


def test_the_fate_is_told_to_whom_it_concerns(terminal: Terminal) -> None:
    """Another sender submits what was left over; the delivery's own next attempt must not do it again."""
    agent = terminal.agent("a")
    killed(terminal, "mine", SOS_MESSAGE_KEY="a/1-0")
    assert terminal.submit("a", "of another").verdict == "submitted"
    done = terminal.run("send_message", "-t", "a", text="mine", SOS_MESSAGE_KEY="a/1-0")
    assert (done.returncode, "a later sender submitted it" in done.stdout) == (0, True), done
    assert agent.submitted() == ["mine", "of another"]


def test_a_swallowed_enter_is_made_good_by_the_next_sender(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    agent.tell("swallow 99")
    assert terminal.submit("a", "stuck\nhere", retries=1, timeout=2.5).verdict == "unproven"
    agent.tell("swallow 0")
    assert terminal.submit("a", "the next one").verdict == "submitted"
    assert agent.submitted() == ["stuck\nhere", "the next one"]
    nothing_is_left(terminal, agent)


def test_what_enter_does_not_submit_is_taken_out(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    agent.tell("swallow 1")
    assert terminal.submit("a", "will\n\nnever go", retries=0, timeout=2).verdict == "unproven"
    agent.tell("swallow 1")
    outcome = terminal.submit("a", "the next one", retries=0, timeout=20)
    assert outcome.verdict == "submitted", outcome
    assert outcome.leftover.startswith("gone"), outcome
    assert agent.submitted() == ["the next one"]
    nothing_is_left(terminal, agent)


def test_a_persons_words_behind_ours_stay(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    killed(terminal, "ours to send")
    terminal.tmux("send-keys", "-t", agent.pane, "-l", " and theirs")
    until(lambda: "and theirs" in terminal.screen(agent.pane), "the words show")
    outcome = terminal.submit("a", "must wait")
    assert (outcome.verdict, "beside it" in outcome.reason) == ("deferred", True), outcome
    assert agent.submitted() == []
    terminal.tmux("send-keys", "-t", agent.pane, "Enter")
    agent.wait("submit")
    assert terminal.submit("a", "the next one").verdict == "submitted"
    assert agent.submitted() == ["ours to send and theirs", "the next one"]
    nothing_is_left(terminal, agent)


def test_a_persons_own_draft_is_none_of_ours(terminal: Terminal) -> None:
    """The note is there still, but somebody has sent our text and types something else."""
    agent = terminal.agent("a")
    killed(terminal, "ours")
    terminal.tmux("send-keys", "-t", agent.pane, "Enter")
    agent.wait("submit")
    agent.tell("draft of a person")
    assert terminal.submit("a", "must wait").verdict == "deferred"
    assert "of a person" in terminal.screen(agent.pane)
    assert agent.submitted() == ["ours"]


def test_what_stands_in_the_note_can_be_anything(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    agent.tell("draft of a person")
    for value in ("nonsense", "0" * 16 + "." + "1" * 16 + ".5.5", "#{pane_id}|x|y"):
        terminal.tmux("set-option", "-p", "-t", agent.pane, "@bus_watch_pasted", value)
        assert terminal.submit("a", "must wait").verdict == "deferred"
    assert agent.submitted() == []


def test_what_no_sender_would_recognise_is_taken_out_again(terminal: Terminal) -> None:
    """A UI that shows a text in a way that nobody has thought of: that text is unproven, and the lane goes on."""
    agent = terminal.agent("a")
    agent.tell("scramble")
    until(lambda: terminal.server.last_activity() < int(time.time()), "the session is a second old")
    outcome = terminal.submit("a", "one\nand two", timeout=8)
    assert (outcome.verdict, "taken out" in outcome.reason) == ("unproven", True), outcome
    nothing_is_left(terminal, agent)
    assert terminal.submit("a", "racecar").verdict == "submitted"
    assert agent.submitted() == ["racecar"]


def test_it_stays_if_anybody_may_have_typed(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    agent.tell("scramble")
    pid, tty = os.forkpty()
    if pid == 0:
        os.execvpe("tmux", ["tmux", "-S", terminal.socket, "attach", "-t", "a"], terminal.environment)
    try:
        until(lambda: terminal.tmux("list-clients") != "", "a person looks")
        with after_paste(terminal, "run-shell 'sleep 1.2'"):
            typing = threading.Timer(1.0, os.write, (tty, b"x"))
            until(lambda: "Try" in terminal.screen(agent.pane), "the box is drawn")
            sender = threading.Thread(target=typing.run)
            sender.start()
            outcome = terminal.submit("a", "one two three", timeout=8)
            sender.join()
        assert (outcome.verdict, "taken out" in outcome.reason) == ("unproven", False), outcome
        assert "x" in terminal.screen(agent.pane)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(tty)
