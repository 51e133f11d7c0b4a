"""Channels by which a message is another session's: when one is taken, and when none may be."""

import contextlib
import json

import pytest

from tests.fakes.channels import Claude, Qwen, wake
from tests.fakes.terminals import Terminal
from worker.terminal.channels.chain import deliver
from worker.terminal.submit import Options


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
