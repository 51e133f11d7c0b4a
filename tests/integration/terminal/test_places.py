"""Where a pane is: odd names, several names, and modes of tmux's that hide it."""

import pytest

from tests.fakes.terminals import Terminal


@pytest.mark.parametrize(
    "modes",
    [
        ["copy-mode"],
        ["clock-mode"],
        ["choose-tree"],
        ["choose-tree -Zw"],
        ["choose-buffer"],
        ["customize-mode"],
        ["copy-mode", "clock-mode", "choose-tree"],
        ["clock-mode", "copy-mode"],
        ["run-shell"],
    ],
    ids=" ".join,
)
def test_every_mode_is_left(terminal: Terminal, modes: list[str]) -> None:
    agent = terminal.agent("a")
    terminal.tmux("split-window", "-t", agent.pane, "cat")
    terminal.tmux("set-buffer", "so that there is one to choose")
    for mode in modes:
        words = ["seq 100"] if mode == "run-shell" else []  # its output is shown in view-mode
        terminal.tmux(*mode.split(), "-t", agent.pane, *words)
    assert terminal.tmux("display-message", "-p", "-t", agent.pane, "#{pane_in_mode}").strip() != "0"
    outcome = terminal.submit(agent.pane, "two\nlines")
    assert outcome.verdict == "submitted", outcome
    assert agent.submitted() == ["two\nlines"]


@pytest.mark.parametrize("program", ["/no/such/tmux", "no-such-tmux"])
def test_a_tmux_that_is_not_there_is_named(terminal: Terminal, program: str) -> None:
    """Also where PATH is long, of which a sentence has room for the end only."""
    path = f"{terminal.environment['PATH']}:{':/long' * 100}"
    said = terminal.run("send_message", "--tmux", program, "-t", "a", "-m", "hello", PATH=path)
    assert said.returncode == 69, said
    assert f": {program} (--tmux or --remote-tmux names its path)" in said.stderr
    assert ("/opt/homebrew/bin" in said.stderr) == ("/" not in program)


def test_each_name_of_a_pane(terminal: Terminal) -> None:
    agent = terminal.agent("work")
    terminal.tmux("new-session", "-d", "-t", "work", "-s", "a viewer")
    terminal.tmux("link-window", "-s", agent.pane, "-t", "keep:5")
    for target in ("work", "a viewer", "a viewer:0.0", "keep:5"):
        assert terminal.submit(target, f"to {target}").verdict == "submitted", target
    assert len(agent.submitted()) == 4
    listed = terminal.run("agent_send", "--list").stdout
    assert [line.split(":")[0] for line in listed.splitlines() if "standin" in line] == ["a viewer", "keep", "work"]


@pytest.mark.parametrize("name", ["-dash", "=agent", "@1", "$1", "with space", "ag*", "[a]gent", "{last}", "!", "-t"])
def test_an_odd_name_is_that_session_and_no_other(terminal: Terminal, name: str) -> None:
    other = terminal.agent("agent")
    for command, option in (("send_message", "-t"), ("agent_send", "-s")):
        gone = terminal.run(command, option, name, "-m", "x")
        assert (gone.returncode, "no pane is called" in gone.stderr) == (69, True), gone
    agent = terminal.agent(name)
    for command, option in (("send_message", "-t"), ("agent_send", "-s")):
        done = terminal.run(command, option, name, "-m", "x")
        assert done.returncode == 0, done
    assert len(agent.submitted()) == 2
    assert other.submitted() == []


def test_a_session_that_is_called_like_a_panes_id(terminal: Terminal) -> None:
    other = terminal.agent("agent")
    agent = terminal.agent(other.pane)
    outcome = terminal.submit(other.pane, "to whom?")
    assert (outcome.verdict, "and a session's name" in outcome.reason) == ("refused", True), outcome
    assert terminal.submit(f"{other.pane}:", "to the session").verdict == "submitted"
    assert terminal.submit("agent", "to the pane").verdict == "submitted"
    assert (agent.submitted(), other.submitted()) == (["to the session"], ["to the pane"])


@pytest.mark.parametrize(("asked", "made"), [("my.app", "my_app"), ("a:b", "a_b")])
def test_a_name_that_tmux_changed_is_said(terminal: Terminal, asked: str, made: str) -> None:
    terminal.session(asked, "cat")
    for command, option in (("send_message", "-t"), ("agent_send", "-s")):
        done = terminal.run(command, option, asked, "-m", "x")
        assert (done.returncode, f"that session is called '{made}'" in done.stderr) == (69, True), done
