"""`doctor --probe`: is the screen of each configured pane one that the agent's profile explains? Types nothing."""

from pathlib import Path

from tests.fakes.terminals import Terminal
from worker.doctor.finding import Finding
from worker.doctor.panes import check
from worker.settings import AgentSettings, Settings, TransportSettings


def probed(terminal: Terminal, target: str, *more: str, probe: bool = True) -> list[Finding]:
    command = ("/usr/bin/send-message", "--from-bus", "-t", target, "--socket-path", terminal.socket, *more)
    agent = AgentSettings(agent="bob", transports=(TransportSettings(name="tmux", command=command),))
    settings = Settings(agents=(agent,), state_path="x.db", allowlist=(command[0],), config_path=Path("/x"))
    return list(check(settings, terminal.environment, probe=probe))


def test_a_state_that_is_explained(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    for change, state in (("title x", "idle"), ("draft half", "draft"), ("dialog", "dialog")):
        agent.tell(change)
        (one,) = probed(terminal, "a")
        assert (one.state, one.agent) == ("ok", "bob"), one
        assert f": {state}" in one.text
    assert agent.events("submit", "stray", "approve") == []


def test_a_screen_that_no_profile_explains_fails_and_says_where_to_look(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    path = terminal.home / ".config/bus-watch/profiles/standin.toml"
    path.write_text(path.read_text().replace("start = '^❯ '", "start = '^» '"))
    (one,) = probed(terminal, "a")
    assert one.state == "FAIL"
    assert "no state that its profile explains" in one.text
    assert f"send-message --look -t {agent.pane}" in one.text
    (one,) = probed(terminal, "a", probe=False)
    assert one.state == "ok", "without --probe no screen is judged"


def test_another_version_than_was_measured_is_said(terminal: Terminal) -> None:
    folder = terminal.home / "node_modules/standin"
    folder.mkdir(parents=True)
    (folder / "package.json").write_text('{"name": "standin", "version": "2.0.0"}')
    program = folder / "standin.py"
    program.write_text(
        "import sys\nprint('\\u2500' * 40, '\\u276f ', '\\u2500' * 40, sep='\\n', flush=True)\ninput()\n"
    )
    path = terminal.home / ".config/bus-watch/profiles/standin.toml"
    path.write_text(path.read_text().replace('measured = "this one"', 'measured = "1.0.0"'))
    terminal.session("a", "python3", str(program))
    (one,) = probed(terminal, "a", probe=False)
    assert (one.state, "runs standin 2.0.0" in one.text) == ("note", True), one
    assert "version 2.0.0 runs, the profile was measured on 1.0.0" in one.text
    said = terminal.submit("a", "x", timeout=3.0)
    assert (said.version, said.measured) == ("2.0.0", "1.0.0")


def test_a_pane_that_is_not_there_and_a_shell(terminal: Terminal) -> None:
    (one,) = probed(terminal, "nobody")
    assert (one.state, "nothing to look at" in one.text) == ("note", True)
    assert probed(terminal, "nobody", probe=False) == []
    terminal.session("shell", "sh")
    (one,) = probed(terminal, "shell")
    assert (one.state, "shell" in one.text) == ("FAIL", True)
    assert probed(terminal, "shell", "-H", "far") == [], "another host's panes are not looked at"
