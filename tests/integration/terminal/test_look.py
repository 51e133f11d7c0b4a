"""`send-message --look`: says what a message would go by, and leaves the pane as it is."""

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.fakes.terminals import ROOT, Terminal
from tests.world.waiting import until


def looked(terminal: Terminal, target: str, *more: str) -> dict[str, Any]:
    done = terminal.run("send_message", "--look", "--json", "-t", target, *more)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_an_idle_agent(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    assert terminal.submit("a", "hello").verdict == "submitted"
    before = terminal.screen(agent.pane)
    found = looked(terminal, "a")
    assert (found["agent"], found["state"], found["would"], found["draft"]) == ("standin", "idle", "submitted", "")
    assert "standin" in {name for one in found["processes"] for name in one["names"]}
    assert any(one["script"].endswith("standin.py") for one in found["processes"])
    assert found["box"]["empty"]
    assert found["box"]["rows"][0].startswith("\u276f ")
    assert found["cursor"]["x"] == 2
    assert [one["path"] for one in found["records"]] == [str(terminal.home / "record/a.jsonl")]
    assert "no process is called codex" in found["others"]["codex"]
    assert terminal.screen(agent.pane) == before
    assert agent.submitted() == ["hello"]
    options = terminal.tmux("show-options", "-p", "-t", agent.pane)
    assert "@bus_watch_lock" not in options, "it takes no lock"


def test_a_reader_that_has_seen_enough_is_no_failure_of_ours(terminal: Terminal) -> None:
    terminal.agent("a")
    read, write = os.pipe()
    os.close(read)
    argv = [sys.executable, "-m", "worker.terminal.send_message", "--socket-path", terminal.socket, "--look", "-t", "a"]
    done = subprocess.run(argv, stdout=write, stderr=subprocess.PIPE, env=terminal.environment, cwd=ROOT, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("command", "state", "would", "why"),
    [
        ("draft rm -rf important", "draft", "deferred", "text in the input box"),
        ("dialog", "dialog", "deferred", "Esc to cancel"),
        ("busy", "busy", "submitted", "esc to interrupt"),
    ],
)
def test_the_state_and_the_sign_that_decided(
    terminal: Terminal, command: str, state: str, would: str, why: str
) -> None:
    agent = terminal.agent("a")
    agent.tell(command)
    found = looked(terminal, "a")
    assert (found["state"], found["would"]) == (state, would)
    assert why in found["why"]
    assert found["draft"] == {"draft": "rm -rf important", "dialog": None, "busy": ""}[state]
    said = terminal.run("send_message", "--look", "-t", "a").stdout
    assert f"state    {state}: " in said
    assert max(map(len, said.splitlines())) <= 80
    assert agent.events("stray", "approve", "submit") == []


def test_a_shell_and_a_stranger(terminal: Terminal) -> None:
    terminal.session("shell", "sh")
    found = looked(terminal, "shell")
    assert (found["agent"], found["would"]) == ("", "refused")
    assert "a shell" in found["why"]
    pane = terminal.session("other", sys.executable, "-c", "print('\\n> ', end='', flush=True); input()")
    until(lambda: ">" in terminal.screen(pane), "it shows a prompt")
    found = looked(terminal, "other")
    assert found["agent"] == ""
    assert "no profile knows" in found["why"]
    assert "pastes into dialogs" in found["why"], "generic is not recommended without a warning"
    assert "aider" in found["alike"]


def test_a_hostile_screen_reaches_no_terminal_as_it_came(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    agent.tell("title a\u202eb\u200e\u009b2J", "draft x\u202ey\u2066z")
    for more in ((), ("--json",)):
        done = terminal.run("send_message", "--look", "-t", "a", *more)
        assert done.returncode == 0
        assert [c for c in done.stdout if not c.isprintable() and c != "\n"] == []
    assert looked(terminal, "a")["draft"] == "x\u202ey\u2066z", "a script gets what is there"


def test_every_pane_of_a_session_is_looked_at_and_nobody_is_69(terminal: Terminal) -> None:
    terminal.agent("a")
    terminal.tmux("split-window", "-d", "-t", "=a:", "--", "sh")
    said = terminal.run("send_message", "--look", "--json", "-t", "a").stdout
    assert [json.loads(line)["agent"] for line in said.splitlines()] == ["standin", ""]
    done = terminal.run("send_message", "--look", "-t", "nobody")
    assert done.returncode == 69
    assert "no pane is called 'nobody'" in done.stderr
    assert terminal.run("send_message", "--look", "-t", "a", "--agent", "clude").returncode == 64


def test_a_profile_with_a_mistake_is_named(terminal: Terminal) -> None:
    terminal.agent("a")
    path = terminal.home / ".config/bus-watch/profiles/standin.toml"
    path.write_text(path.read_text().replace("ruled", "rulde"))
    found = looked(terminal, "a")
    assert (found["agent"], found["would"]) == ("", "deferred")
    assert re.search(r"standin\.toml:\d+: unknown key `rulde`", found["why"])
