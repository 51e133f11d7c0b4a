"""Which version of an agent runs, by the files it was started from."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from worker.process_table import HAS_PROC
from worker.terminal.looking import drifted
from worker.terminal.processes import Process
from worker.terminal.versions import version_of


def running(*names: str, script: str = "") -> Process:
    return Process(os.getpid(), frozenset(names), script, 1.0)


@pytest.mark.parametrize("build", ["", "-linux-x64", "-darwin-arm64", "-linux-x64-musl"])
def test_of_an_npm_package(tmp_path: Path, build: str) -> None:
    package = tmp_path / "node_modules/@x/agent"
    (package / "dist").mkdir(parents=True)
    (package / "dist/cli.js").touch()
    (package / "package.json").write_text(f'{{"name": "@x/agent", "version": "1.2.3{build}"}}')
    (tmp_path / "package.json").write_text('{"private": true, "version": "9.9.9"}')
    link = tmp_path / "agent"
    link.symlink_to(package / "dist/cli.js")
    assert version_of(running("node", "agent", script=str(link))) == "1.2.3"


def test_of_a_folder_that_is_called_after_it(tmp_path: Path) -> None:
    program = tmp_path / "versions" / "2.1.332"
    program.parent.mkdir()
    program.touch()
    assert version_of(running("agent", script=str(program))) == "2.1.332"


@pytest.mark.parametrize("how", ["entry point", "native"])
def test_of_a_python_distribution(tmp_path: Path, how: str) -> None:
    site = tmp_path / "lib/python3.12/site-packages"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/agent").touch()
    for name in ("other-5.0", "agent_helper-7.0", "maker_agent-0.19.0"):
        (site / f"{name}.dist-info").mkdir(parents=True)
    lexer = "[pygments.lexers]\nagent = agent_helper:Lexer\n"  # as ipython_pygments_lexers has one called ipython
    (site / "agent_helper-7.0.dist-info/entry_points.txt").write_text(lexer)
    mine = site / "maker_agent-0.19.0.dist-info"
    if how == "native":
        (mine / "RECORD").write_text("../../../bin/agent,sha256=x,10\n")
    else:
        (mine / "entry_points.txt").write_text("[console_scripts]\nagent = maker:main\n")
    assert version_of(running("python3", "agent", script=str(tmp_path / "bin/agent"))) == "0.19.0"


def test_what_cannot_be_told_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"name": 3, "version": ["x"]}')
    (tmp_path / "x.js").touch()
    for process in (None, running("no-such-agent", script=str(tmp_path / "x.js")), running(script="/nowhere/x")):
        assert version_of(process) == ""


def test_an_interpreters_own_version_is_not_the_agents(tmp_path: Path) -> None:
    (tmp_path / "agent.py").touch()
    names = (Path(sys.executable).resolve().name, "python3", "agent")
    assert version_of(running(*names, script=str(tmp_path / "agent.py"))) == ""


@pytest.mark.skipif(not HAS_PROC, reason="the program of a process is known from /proc")
def test_of_a_native_program(tmp_path: Path) -> None:
    program = tmp_path / "versions/2.1.332/agent"
    program.parent.mkdir(parents=True)
    shutil.copy(shutil.which("sleep") or "", program)
    with subprocess.Popen([program, "60"]) as process:
        try:
            assert version_of(Process(process.pid, frozenset(["agent"]), "", 1.0)) == "2.1.332"
        finally:
            process.kill()


def test_it_is_said_only_if_both_are_known_and_differ() -> None:
    assert drifted("2.0", "1.0") == "version 2.0 runs, the profile was measured on 1.0"
    assert {drifted("1.0", "1.0"), drifted("", "1.0"), drifted("2.0", "")} == {""}
