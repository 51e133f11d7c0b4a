"""One message by an agent's own queue, and the next one typed: that goes into the turn that runs, and so must wait."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.channels import Codex, Copilot, Pi, World, wake
from tests.fakes.terminals import Agent, Terminal


@pytest.fixture
def codex(terminal: Terminal) -> Iterator[Codex]:
    with contextlib.closing(Codex(terminal)) as world:
        yield world


def queued(world: World) -> Agent:
    """A turn runs, and a message waits behind it."""
    agent = world.open("a")
    agent.tell("busy")
    world.mode("busy")
    outcome = wake(world, "one", key="al/1-0")
    assert (outcome.verdict, outcome.channel) == ("queued", world.name), outcome
    return agent


def notes(world: World) -> list[Path]:
    return list((world.terminal.home / ".local/state/bus-watch").glob("*.waits"))


@pytest.mark.parametrize("make", [Codex, Copilot, Pi])
def test_what_is_typed_does_not_overtake_it(terminal: Terminal, make: type[World]) -> None:
    with contextlib.closing(make(terminal)) as world:
        agent = queued(world)
        held = wake(world, "two", key="al/2-0", via="type", timeout=4.0)
        assert (held.exit_status, "earlier message waits in" in held.reason, agent.submitted()) == (75, True, []), held
        world.end_turn()
        agent.tell("idle")
        assert world.turns() == ["one"]
        assert wake(world, "two", key="al/2-0", via="type").verdict == "submitted"
        assert (agent.submitted(), notes(world)) == (["two"], [])


def test_nor_where_the_queue_is_not_certain_any_more(codex: Codex) -> None:
    agent = queued(codex)
    codex.open("b")
    held = wake(codex, "two", key="al/2-0", timeout=4.0)
    assert (held.exit_status, "earlier message waits in" in held.reason, agent.submitted()) == (75, True, []), held
    codex.end_turn()
    agent.tell("idle")
    assert wake(codex, "two", key="al/2-0").verdict == "submitted"
    assert (codex.turns(), agent.submitted()) == (["one"], ["two"])


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
