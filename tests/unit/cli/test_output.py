"""What a person sees: columns that fit, colours only where they belong, and a live view that stays in its place."""

import os
import pty
import signal
import subprocess
import sys
import termios

import pytest

from tests.unit.cli.conftest import MS, Desk
from tests.world.waiting import until
from worker.cli import output
from worker.cli.color import coloured, paint

WHY = "attempt 3 in 20 s: exit 1: " + "can't find pane: codex-main; " * 6


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("key", ["bob/1795300087770-0", "an-agent-with-a-long-name/1795300087770-0"])
def test_on_a_terminal_the_reason_is_wrapped_and_nothing_of_it_is_lost(key: str) -> None:
    shown = output.table([(key, "codex", "retrying", WHY)], ("MESSAGE", "TRANSPORT", "STATE", "WHY"))
    assert max(map(len, shown.splitlines())) <= 80
    assert " ".join(" ".join(line.split()) for line in shown.splitlines()[1:]).endswith(" ".join(WHY.split()))


def test_elsewhere_a_row_is_a_line() -> None:
    shown = output.table([("bob/1", WHY)], ("MESSAGE", "WHY"), [["| first line", "why"]])
    assert shown.splitlines()[1:] == [f"bob/1    {WHY}".rstrip(), "    | first line", "    why"]


@pytest.mark.usefixtures("terminal")
def test_color_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert coloured("auto")
    assert not coloured("never")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured("auto")
    assert coloured("always")
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not coloured("auto")


def test_paint_adds_nothing_but_colours() -> None:
    text = "bob/1  codex  dead  exit 65\n      dead words\n! one trouble\n  goes on\nrunning: no\nx=succeeded y=held\n"
    painted = paint(text)
    for code in ("\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"):
        assert code in painted
        painted = painted.replace(code, "")
    assert painted == text
    assert "\x1b" not in paint("      dead words\nI was dead = failed\n")


def test_color_is_an_option_and_nothing_hostile_gets_through(desk: Desk) -> None:
    assert "\x1b[" not in desk.run("queue").out
    assert "\x1b[31mdead\x1b[0m" in desk.run("queue", "--color", "always").out
    assert "does=\x1b[32msucceeded" in desk.run("history", "--color=always").out
    assert "\x1b[31m! " in desk.run("status", "--color", "always").out


def watched(desk: Desk, command: str, term: str) -> tuple[int, subprocess.Popen[bytes]]:
    """A command that is watched on a terminal of 8 lines, and the terminal's other end."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(leader, (8, 80))
    argv = [sys.executable, "-m", "worker.cli.main", command, "--watch", "--config", str(desk.config)]
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(argv, stdout=follower, stderr=follower, env=env | {"TERM": term})
    os.close(follower)
    return leader, process


def test_watch_on_a_terminal_that_can_nothing_prints_lines(desk: Desk) -> None:
    leader, process = watched(desk, "status", "dumb")
    seen = b""
    while b"dead: " not in seen:
        seen += os.read(leader, 65536)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert b"\x1b" not in seen
    os.close(leader)


def test_watch_stays_in_place_and_gives_the_screen_back(desk: Desk) -> None:
    leader, process = watched(desk, "queue", "xterm")
    seen = b""

    def shows(wanted: bytes) -> bool:
        nonlocal seen
        seen += os.read(leader, 65536)
        return wanted in seen

    until(lambda: shows(b"more lines"), "a frame")
    assert seen.startswith(b"\x1b[?1049h\x1b[?25l\x1b[?7l"), "a line that is too long scrolls nothing"
    frame = seen.split(b"\x1b[H")[1]
    assert frame.count(b"\r\n") < 8  # the last line ends without one, so that nothing scrolls
    assert f"bob/{MS}-0".encode() in frame
    process.send_signal(signal.SIGTERM)
    until(lambda: shows(b"\x1b[?7h\x1b[?25h\x1b[?1049l"), "the screen of before")
    assert process.wait(20) == 0
    os.close(leader)
