"""Real REPLs: IPython, ptpython and bash. What they print back is the truth."""

import sys
from pathlib import Path

import pytest

from tests.fakes.terminals import Terminal
from tests.world.waiting import until

BIN = Path(sys.executable).parent


@pytest.fixture
def ipython(terminal: Terminal) -> str:
    pane = terminal.session("ipy", str(BIN / "ipython"), "--no-banner", "--no-confirm-exit")
    until(lambda: "In [1]:" in terminal.screen(pane), "IPython's prompt", 60)
    return pane


def test_ipython(terminal: Terminal, ipython: str) -> None:
    """Each text is one cell; while it works it is waited for; a draft stays its writer's."""
    lines = "total = 0\nfor one in range(4):\n    total += one\n\nprint('total is', total)"
    for text, shows in ((lines, "\ntotal is 6\n"), (f"print(len('{'z' * 3000}'))", "\n3000\n")):
        outcome = terminal.submit("ipy", text, timeout=30)
        assert (outcome.verdict, outcome.agent) == ("submitted", "ipython"), outcome
        _shows(terminal, ipython, shows)

    # Its busy tty takes no brackets: lines would be cells of their own.
    assert terminal.submit("ipy", "import time; time.sleep(2.5)").exit_status == 0
    deferred = terminal.submit("ipy", "print('a')\nprint('b')", timeout=1)
    assert deferred.verdict == "deferred", deferred
    assert terminal.submit("ipy", "print('a')\nprint('b')", timeout=30).verdict == "submitted"
    _shows(terminal, ipython, "\na\nb\n")

    terminal.tmux("send-keys", "-t", ipython, "-l", "draft = 1")
    _shows(terminal, ipython, "draft = 1")
    assert terminal.submit("ipy", "print(1)").verdict == "deferred"
    terminal.tmux("send-keys", "-t", ipython, "Enter")
    _shows(terminal, ipython, "In [6]:")
    assert terminal.submit("ipy", "print('draft is', draft)").verdict == "submitted"
    _shows(terminal, ipython, "\ndraft is 1\n")
    _shows(terminal, ipython, "In [7]:")


def _shows(terminal: Terminal, pane: str, text: str) -> None:
    until(lambda: text in terminal.screen(pane), text)


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
