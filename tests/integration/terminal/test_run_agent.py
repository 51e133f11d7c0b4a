"""`bus-watch run-agent codex`: a server of its own beside the UI, which ends with it, whatever ends it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.world.processes import ROOT
from tests.world.waiting import until

CODEX = f"""#!{sys.executable}
import os, signal, socket, sys, time
home = os.environ["HOME"]
what = sys.argv[1:]
if what[0] == "app-server":
    if os.path.exists(home + "/broken"):
        sys.exit("no such model")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(home + "/socket-" + str(os.getpid()))
    os.symlink(home + "/socket-" + str(os.getpid()), what[2].removeprefix("unix://"))  # as codex 0.171.0 does
    open(home + "/server", "w").write(str(os.getpid()))
    time.sleep(600)
assert os.path.exists(what[1].removeprefix("unix://"))
open(home + "/ui.new", "w").write(" ".join([str(os.getpid()), *what]))
os.rename(home + "/ui.new", home + "/ui")
time.sleep(600 if os.path.exists(home + "/stays") else 0)
sys.exit(3)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    program = tmp_path / "codex"
    program.write_text(CODEX)
    program.chmod(0o755)
    return tmp_path


def start(home: Path, *arguments: str) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-c", "import sys; from worker.cli.main import main; sys.exit(main())"]
    environment = {"HOME": str(home), "PATH": f"{home}:/usr/bin:/bin", "TMPDIR": str(home), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*argv, "run-agent", *arguments], env=environment, cwd=home, text=True, stderr=subprocess.PIPE
    )


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_ui_gets_its_arguments_and_gives_its_exit_status(home: Path) -> None:
    with start(home, "codex", "--", "resume", "--last") as process:
        assert process.wait(60) == 3
    words = (home / "ui").read_text().split()
    assert words[1:2] + words[3:] == ["--remote", "resume", "--last"]
    assert words[2].startswith(f"unix://{home}/")
    until(lambda: not lives(int((home / "server").read_text())), "the server has ended")
    assert list(home.glob("bus-watch-codex-*")) == []


@pytest.mark.parametrize("where", [("--program", "codex", "codex"), ("codex", "--program", "codex")])
def test_options_may_stand_on_both_sides_of_the_name(home: Path, where: tuple[str, ...]) -> None:
    with start(home, *where, "--", "--no-alt-screen") as process:
        assert process.wait(60) == 3
    assert (home / "ui").read_text().split()[3:] == ["--no-alt-screen"]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_pane_that_is_closed_ends_the_server(home: Path, number: signal.Signals) -> None:
    (home / "stays").touch()
    with start(home, "codex") as process:
        until((home / "ui").exists, "the UI runs")
        process.send_signal(number)
        assert process.wait(60) == 128 + number
    until(lambda: not lives(int((home / "ui").read_text().split()[0])), "the UI has ended")
    until(lambda: not lives(int((home / "server").read_text())), "the server has ended")


def test_a_server_that_does_not_start_is_said(home: Path) -> None:
    (home / "broken").touch()
    with start(home, "codex") as process:
        assert process.stderr is not None
        assert "no such model" in process.stderr.read()
        assert process.wait(60) == 69


def test_without_the_program_it_says_so(home: Path) -> None:
    with start(home, "codex", "--program", "none-such") as process:
        assert process.stderr is not None
        assert "--program" in process.stderr.read()
        assert process.wait(60) == 69
