"""Real REPLs: IPython, ptpython and bash. What they print back is the truth."""

import sys
from pathlib import Path

import pytest

from tests.fakes.terminals import Terminal, until

BIN = Path(sys.executable).parent


@pytest.fixture
def ipython(terminal: Terminal) -> str:
    pane = terminal.session("ipy", str(BIN / "ipython"), "--no-banner", "--no-confirm-exit")
    until(lambda: "In [1]:" in terminal.screen(pane), "IPython's prompt", 60)
    return pane


def test_ipython_gets_each_text_as_one_cell(terminal: Terminal, ipython: str) -> None:
    lines = "total = 0\nfor one in range(4):\n    total += one\n\nprint('total is', total)"
    long = f"print(len('{'z' * 3000}'))"
    for text, shows in (("print(6 * 7)", "\n42\n"), (lines, "\ntotal is 6\n"), (long, "\n3000\n")):
        outcome = terminal.submit("ipy", text, timeout=30)
        assert (outcome.verdict, outcome.agent) == ("submitted", "ipython"), outcome
        until(lambda shows=shows: shows in terminal.screen(ipython), shows)  # type: ignore[misc]  # a default binds it
    until(lambda: "In [4]:" in terminal.screen(ipython), "three cells, not more")


def test_ipython_at_work_is_waited_for(terminal: Terminal, ipython: str) -> None:
    """Its busy tty takes no brackets: lines would be cells of their own."""
    assert terminal.submit("ipy", "import time; time.sleep(3)").exit_status == 0
    held = terminal.submit("ipy", "print('a')\nprint('b')", timeout=1.5)
    assert held.verdict == "held", held
    assert terminal.submit("ipy", "print('a')\nprint('b')", timeout=30).verdict == "submitted"
    until(lambda: "\na\nb\n" in terminal.screen(ipython), "one cell with two lines")
    until(lambda: "In [3]:" in terminal.screen(ipython), "two cells in all")


def test_ipython_keeps_a_draft(terminal: Terminal, ipython: str) -> None:
    terminal.tmux("send-keys", "-t", ipython, "-l", "draft = 1")
    until(lambda: "draft = 1" in terminal.screen(ipython), "the draft")
    assert terminal.submit("ipy", "print(1)").verdict == "held"
    terminal.tmux("send-keys", "-t", ipython, "Enter")
    until(lambda: "In [2]:" in terminal.screen(ipython), "the draft was submitted by its writer")
    assert terminal.submit("ipy", "print('draft is', draft)").verdict == "submitted"
    until(lambda: "\ndraft is 1\n" in terminal.screen(ipython), "the draft ran unmixed")


def test_ptpython_gets_several_lines(terminal: Terminal) -> None:
    pane = terminal.session("pt", str(BIN / "ptpython"))
    until(lambda: ">>>" in terminal.screen(pane), "ptpython's prompt", 60)
    outcome = terminal.submit("pt", "def f():\n    return 40 + 2\n\nprint('f is', f())", timeout=30)
    assert (outcome.verdict, outcome.agent) == ("submitted", "ptpython"), outcome
    until(lambda: "\nf is 42\n" in terminal.screen(pane), "it ran")


def test_bash_gets_lines_in_brackets(terminal: Terminal) -> None:
    pane = terminal.session("sh", "bash", "--norc")
    until(lambda: "$" in terminal.screen(pane) or "#" in terminal.screen(pane), "a prompt")
    outcome = terminal.submit("sh", "for i in 1 2; do\n echo line $((i * 50))\ndone", allow_shell=True)
    assert (outcome.verdict, outcome.agent) == ("unproven", "generic"), outcome
    until(lambda: "\nline 50\nline 100\n" in terminal.screen(pane), "it ran")
