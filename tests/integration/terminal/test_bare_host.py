"""A far host with tmux, a shell and `cat`: no `ps`, no `sed`, no `date`, whatever busybox has left out."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.fakes.terminals import Terminal
from tests.world.waiting import until
from worker.terminal import processes
from worker.terminal.runner import LocalRunner, Result
from worker.terminal.submit import Options, submit
from worker.terminal.tmux import Server


class Bare:
    """Runs commands as on a far host that has nothing else."""

    host = "far"
    deadline = 0.0

    def __init__(self, programs: Path) -> None:
        self.environment = {"PATH": str(programs)}
        self.ran: list[str] = []

    def run(self, argv: Sequence[str], stdin: bytes = b"", *, timeout: float = 5.0) -> Result:
        self.ran.append(argv[0])
        program = shutil.which(argv[0], path=self.environment["PATH"])
        if program is None:
            return Result(127, b"not found")
        done = subprocess.run(
            [program, *argv[1:]],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment,
            timeout=timeout + 10,
            check=False,
        )
        return Result(done.returncode, done.stdout)

    def close(self) -> None:
        """Nothing to end."""


@pytest.fixture(params=["dash", "bash"])
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> Bare:
    for name, real in (("tmux", "tmux"), ("cat", "cat"), ("sh", request.param)):
        program = shutil.which(real)
        assert program, real
        (tmp_path / name).symlink_to(program)
    return Bare(tmp_path)


def test_a_message_arrives(terminal: Terminal, bare: Bare) -> None:
    agent = terminal.agent("a")
    server = Server(bare, socket_path=terminal.socket)
    outcome = submit(server, "a", "hello", Options(timeout=30), terminal.profiles())
    assert (outcome.verdict, outcome.agent) == ("submitted", "standin"), outcome
    assert agent.submitted() == ["hello"]
    assert set(bare.ran) == {"tmux", "sh"}
    terminal.session("sh", "bash", "--norc")
    assert "runs a shell (bash)" in submit(server, "sh", "hello", Options(), terminal.profiles()).reason


def test_its_processes_are_those_that_we_see(terminal: Terminal, bare: Bare) -> None:
    script = terminal.home / "a) (b.py"
    script.write_text("import time; time.sleep(60)")
    pane = terminal.session("odd", sys.executable, str(script), "", "two words", "*")
    tty = terminal.tmux("display-message", "-p", "-t", pane, "#{pane_tty}").strip()
    until(lambda: [one.script for one in processes.foreground(LocalRunner(), tty)] == [str(script)], "it runs")
    (here,), (there,) = processes.foreground(LocalRunner(), tty), processes.foreground(bare, tty)
    assert (here.pid, here.script) == (there.pid, there.script)
    assert there.names <= here.names
    assert abs(here.age - there.age) < 1
