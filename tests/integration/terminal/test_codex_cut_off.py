"""Codex's server was killed right behind a message, as was its sender: the record ends with it, and no model has it."""

import contextlib
import subprocess
from collections.abc import Iterator

import pytest

from tests.fakes.channels import Codex
from tests.fakes.terminals import Agent, Terminal
from tests.world.waiting import until

KEY = "al/1-0"
TEXT = "[unknown -> unknown] hello"


@pytest.fixture
def codex(terminal: Terminal) -> Iterator[Codex]:
    with contextlib.closing(Codex(terminal)) as world:
        yield world


def send(codex: Codex, *more: str, key: str = KEY, **variables: str) -> subprocess.CompletedProcess[str]:
    words = ("wake", "-t", "a", "--timeout", "6", *more)
    return codex.terminal.run(*words, text="hello", SOS_MESSAGE_KEY=key, **variables)


def cut_off(codex: Codex, how: str = "cut") -> Agent:
    """Its turn had begun, and the sender does not know it; all is started again."""
    agent = codex.open("a")
    codex.mode(how)
    assert send(codex, BUS_WATCH_FAULT_STEP="worker.channel.sent").returncode == -9
    until(lambda: len(codex.turns()) == 1, "the record has it")
    codex.mode("")
    return agent


def begun(codex: Codex) -> int:
    """How many turns began without a message."""
    return codex.daemon.calls.count("turn/start")


@pytest.mark.parametrize("how", ["cut", "nameless"])
def test_its_turn_begins_once_more(codex: Codex, how: str) -> None:
    agent = cut_off(codex, how)
    said = send(codex)
    assert (said.returncode, "has begun again" in said.stdout) == (0, True), said
    assert (begun(codex), codex.turns(), agent.submitted()) == (1, [TEXT], [])
    assert codex.daemon.calls.count("thread/queue/add") == 1


def test_once_is_enough(codex: Codex) -> None:
    cut_off(codex)
    assert [send(codex).returncode for _ in range(3)] == [0, 0, 0]
    assert begun(codex) == 1


@pytest.mark.parametrize("how", ["", "ended"])
def test_one_that_was_answered_or_ended_by_a_person_is_left(codex: Codex, how: str) -> None:
    cut_off(codex, how)
    said = send(codex)
    assert (said.returncode, "began earlier" in said.stdout) == (0, True), said
    assert (begun(codex), codex.turns()) == (0, [TEXT])


def test_one_that_runs_is_left(codex: Codex) -> None:
    cut_off(codex)
    codex.mode("busy")
    said = send(codex)
    assert (said.returncode, "began earlier" in said.stdout) == (0, True), said
    assert begun(codex) == 0


@pytest.mark.parametrize("how", ["cut", "nameless"])
def test_one_that_does_not_begin_again_is_unproven(codex: Codex, how: str) -> None:
    agent = cut_off(codex, how)
    codex.mode("stays cut")
    said = send(codex)
    assert (said.returncode, "internal error" in said.stderr) == (76, True), said
    assert (codex.turns(), agent.submitted()) == ([TEXT], [])


def test_in_another_conversation_it_is_unproven(codex: Codex) -> None:
    agent = cut_off(codex)
    codex.leave()
    said = send(codex)
    assert (said.returncode, "cut off before anything was answered" in said.stderr) == (76, True), said
    assert (begun(codex), codex.turns(), agent.submitted()) == (0, [TEXT], [])


def test_the_same_words_without_a_name_are_not_taken_for_it(codex: Codex) -> None:
    cut_off(codex, "nameless")
    codex.mode("silent")
    assert send(codex, key="al/2-0", BUS_WATCH_FAULT_STEP="worker.channel.noted").returncode == -9
    thread = codex.daemon.threads[0]
    codex.daemon.record(thread, "event_msg", {"type": "task_started"})
    said = send(codex, key="al/2-0")
    assert (said.returncode, "does not say whose it is" in said.stderr) == (76, True), said
    assert begun(codex) == 0


def test_the_same_words_that_another_message_has_are_not_it(codex: Codex) -> None:
    cut_off(codex, "")
    said = send(codex, key="al/2-0")
    assert (said.returncode, codex.turns()) == (0, [TEXT, TEXT])
    assert begun(codex) == 0
