"""One message by Codex's own queue, and the next one typed: that goes into the turn that runs, and so must wait."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.channels import Codex, wake
from tests.fakes.terminals import Agent, Terminal


@pytest.fixture
def codex(terminal: Terminal) -> Iterator[Codex]:
    with contextlib.closing(Codex(terminal)) as world:
        yield world


def queued(codex: Codex) -> Agent:
    """A turn runs, and a message waits behind it."""
    agent = codex.open("a")
    agent.tell("busy")
    codex.mode("busy")
    outcome = wake(codex, "one", key="al/1-0")
    assert (outcome.verdict, outcome.channel) == ("queued", "codex"), outcome
    return agent


def notes(codex: Codex) -> list[Path]:
    return list((codex.terminal.home / ".local/state/bus-watch").glob("*.waits"))


@pytest.mark.parametrize("why", ["asked for", "not certain"])
def test_what_is_typed_does_not_overtake_it(codex: Codex, why: str) -> None:
    agent = queued(codex)
    if why == "not certain":
        codex.open("b")
    via = "type" if why == "asked for" else "auto"
    held = wake(codex, "two", key="al/2-0", via=via, timeout=4.0)
    assert (held.exit_status, "earlier message waits in" in held.reason, agent.submitted()) == (75, True, []), held
    codex.end_turn()
    agent.tell("idle")
    assert codex.turns() == ["one"]
    assert wake(codex, "two", key="al/2-0", via=via).verdict == "submitted"
    assert (agent.submitted(), notes(codex)) == (["two"], [])


def test_once_it_has_begun_what_is_typed_goes_into_its_turn(codex: Codex) -> None:
    agent = queued(codex)
    codex.end_turn()
    assert wake(codex, "two", key="al/2-0", via="type").verdict in {"submitted", "queued"}
    assert (len(agent.events("submit", "queue")), notes(codex)) == (1, [])


def test_what_a_person_has_taken_out_of_the_queue_holds_nothing_up(codex: Codex) -> None:
    agent = queued(codex)
    codex.daemon.queue.clear()
    codex.mode("")
    agent.tell("idle")
    assert wake(codex, "two", key="al/2-0", via="type").verdict == "submitted"


def test_what_a_person_sends_by_hand_is_not_held_up(codex: Codex) -> None:
    agent = queued(codex)
    assert wake(codex, "at once", via="type").verdict in {"submitted", "queued"}
    assert len(agent.events("submit", "queue")) == 1


def test_one_that_ended_with_its_ui_holds_nothing_up(codex: Codex) -> None:
    queued(codex)
    codex.terminal.tmux("kill-session", "-t", "a")
    again = codex.pane("b")
    again.tell("busy")
    assert wake(codex, "two", place="b", key="al/2-0", via="type").verdict in {"submitted", "queued"}
    assert len(again.events("submit", "queue")) == 1
