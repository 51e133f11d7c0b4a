"""`bus-watch profile new`: from a stranger's UI to proven submissions."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.fakes.terminals import ROOT, Agent, Terminal
from tests.world.waiting import until


def bus_watch(terminal: Terminal, *argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "worker.cli.main", *argv],
        env=terminal.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )


def stranger(terminal: Terminal) -> tuple[Agent, Path]:
    """The stand-in, which no profile knows any more; where its own would lie."""
    path = terminal.home / ".config/bus-watch/profiles/standin.toml"
    path.unlink()
    return terminal.agent("a"), path


def pasted(agent: Agent) -> None:
    """As a person pastes with prefix ]: the walk has put the text into tmux's buffer."""
    agent.terminal.tmux("paste-buffer", "-p", "-t", agent.pane)
    until(
        lambda: "irst of five" in agent.terminal.screen(agent.pane) or "[Past" in agent.terminal.screen(agent.pane),
        "it is pasted",
    )


def walk(terminal: Terminal, agent: Agent, *more: str, steps: int = 6) -> tuple[int, str]:
    def paste() -> None:
        agent.tell("draft ")
        pasted(agent)

    by_a_person: list[Callable[[], None]] = [
        lambda: None,
        lambda: agent.tell("draft please look at"),
        paste,
        paste,
        lambda: agent.tell("draft ", "busy"),
        lambda: agent.tell("idle", "dialog"),
    ]
    with bus_watch(terminal, "profile", "new", "mine", "-t", "a", "--socket-path", terminal.socket, *more) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said = ""
        for number, done in enumerate(by_a_person):
            while not said.endswith("leave it out. "):
                letter = process.stdout.read(1)
                assert letter, said
                said += letter
            said += "\n"
            if number < steps:
                done()
            process.stdin.write("\n" if number < steps else "s\n")
            process.stdin.flush()
        said += process.stdout.read()
        return process.wait(60), said


def test_a_stranger_is_walked_through_and_then_sent_to(terminal: Terminal) -> None:
    agent, old = stranger(terminal)
    assert terminal.submit("a", "x").verdict == "refused"
    status, said = walk(terminal, agent)
    assert status == 0, said
    assert agent.events("submit", "queue", "approve", "stray") == [], "the walk types nothing"
    path = old.with_name("mine.toml")
    text = path.read_text()
    for line in ('commands = ["standin"]', "start = '^❯ '", "line = '^  '", "ruled = true"):
        assert line in text, text
    assert r"collapsed = ['\[Pasted text #\d+ \+(?P<lines>\d+) lines\]']" in text, text
    assert "left to decide" in said
    recordings = sorted((path.parents[1] / "screens/mine").glob("*.json"))
    assert [one.stem for one in recordings] == ["busy-1", "dialog-1", "draft-1", "draft-2", "draft-3", "idle-1"]
    assert {one.stat().st_mode & 0o777 for one in recordings} == {0o600}
    agent.tell("idle")
    for number in range(10):
        outcome = terminal.submit("a", f"message {number}")
        assert (outcome.verdict, outcome.agent) == ("submitted", "mine"), outcome
    assert agent.submitted() == [f"message {number}" for number in range(10)]


def test_an_edit_is_tried_on_the_recordings(terminal: Terminal) -> None:
    agent, old = stranger(terminal)
    assert walk(terminal, agent, steps=2)[0] == 0
    path = old.with_name("mine.toml")
    with bus_watch(terminal, "profile", "new", "mine", "-t", "a", "--socket-path", terminal.socket) as process:
        assert "is there already" in process.communicate()[0]
        assert process.returncode == 64
    for text, status in ((path.read_text(), 0), (path.read_text().replace("❯", "»"), 1)):
        path.write_text(text)
        with bus_watch(terminal, "profile", "try", "mine", "--json") as process:
            found = json.loads(process.communicate()[0])
            assert (process.returncode, found["ok"]) == (status, not status), found
        assert len(found["recordings"]) == 2


def test_one_more_screen_and_what_cannot_be_done(terminal: Terminal) -> None:
    agent, _ = stranger(terminal)
    agent.tell("dialog")
    where = ("-t", "a", "--socket-path", terminal.socket)
    for argv, status, part in (
        (("record", "mine", "dialog", *where, "--about", "asks"), 0, "screens/mine/dialog-1.json"),
        (("record", "mine", "tired", *where), 64, "which state is it?"),
        (("new", "../x", *where), 64, "no name for a profile"),
        (("new", "mine"), 64, "needs the agent's pane"),
        (("try", "nobody"), 64, "no profile is called"),
        (("new", "mine", "-t", "nobody", "--socket-path", terminal.socket), 69, "no pane is called"),
        (("new", "mine", "-t", "keep", "--socket-path", terminal.socket), 64, "standard input ended"),
    ):
        with bus_watch(terminal, "profile", *argv) as process:
            said = process.communicate(input="", timeout=60)[0]
            assert (process.returncode, part in said) == (status, True), said


def test_it_records_what_the_pane_shows_and_numbers_it(terminal: Terminal, tmp_path: Path) -> None:
    pane = terminal.session("b", "sh", "-c", "printf '\\033[2mAsk anything'; exec tail -f /dev/null")
    until(lambda: "Ask anything" in terminal.screen(pane), "it shows something")
    for target, number in (("b", 1), ("b:0.0", 2), (pane, 3)):
        where = ("-t", target, "--socket-path", terminal.socket, "--folder", str(tmp_path), "--about", "just started")
        with bus_watch(terminal, "profile", "record", "mine", "idle", *where) as process:
            assert process.communicate()[0].strip() == str(tmp_path / f"idle-{number}.json")
    saved = json.loads((tmp_path / "idle-1.json").read_text())
    assert saved["text"].splitlines()[0] == "\x1b[2mAsk anything"
    assert (saved["profile"], saved["state"], saved["about"]) == ("mine", "idle", "just started")
    assert (saved["pane_width"], saved["cursor_x"]) == (100, 12)
    terminal.tmux("split-window", "-d", "-t", "=b:", "--", "tail", "-f", "/dev/null")
    with bus_watch(
        terminal, "profile", "record", "mine", "idle", "-t", "b", "--socket-path", terminal.socket
    ) as process:
        assert f"{pane} (b:0.0), " in process.communicate()[0]
