"""An interrupted trial leaves nothing behind: no process, no tmux server, no home. A script stands in for the UI."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from ops.trial import installing
from ops.trial.uis import UIS
from tests.fakes.terminals import ROOT
from tests.world.waiting import until

UI = """#!/bin/sh
[ "$1" = --version ] && echo {version} && exit
touch "$HOME/started"
tail -f "$HOME/started" &
(trap '' HUP; tail -f "$HOME/started" &)  # nobody's child, as codex's daemons are once it has ended
echo started
while :; do sleep 0.1; done
"""


def pretend(cache: Path, name: str, version: str) -> None:
    """A program that calls itself the UI `name` in `version`, where the trial's pinned one belongs."""
    program = cache / UIS[name].package.path.relative_to(installing.cache())
    program.parent.mkdir(parents=True)
    program.write_text(UI.replace("{version}", version))
    program.chmod(0o755)
    node = (
        cache / "node" / "node_modules" / "pretended" / "bin" / "node"
    )  # where the machine has none, it would be fetched
    node.parent.mkdir(parents=True)
    node.write_text(f"#!/bin/sh\necho v{'.'.join(map(str, installing.NODE))}\n")
    node.chmod(0o755)


def running(part: str) -> list[str]:
    """The commands of this machine that contain `part`."""
    shown = subprocess.run(["ps", "-ww", "-e", "-o", "args="], capture_output=True, text=True, check=True).stdout
    return [line for line in shown.splitlines() if part in line]


@pytest.mark.parametrize(
    ("number", "what", "shows"),
    [
        (signal.SIGINT, ["--case", "short"], "send_message --socket-name trial-{tag}"),
        (signal.SIGTERM, ["--case", "over ssh"], "{temporary}/bw-sshd-"),
        (signal.SIGTERM, ["--record", "--folder", "screens"], "{home}/started"),
    ],
    ids=["sending", "sshd", "recording"],
)
def test_nothing_is_left(tmp_path: Path, number: signal.Signals, what: list[str], shows: str) -> None:
    pretend(tmp_path, "opencode", UIS["opencode"].package.version)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    trial = subprocess.Popen(
        [ROOT / "ops" / "trial" / "run", "--ui", "opencode", *what],
        env={**os.environ, "BUS_WATCH_TRIAL": str(tmp_path), "TMPDIR": str(temporary)},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        (started,) = until(lambda: list(tmp_path.glob("homes/*/started")), "the UI runs", 30)
        home = started.parent
        shown = shows.format(tag=home.name, temporary=temporary, home=home)
        until(lambda: running(shown), f"{shown} runs", 30)
        trial.send_signal(number)
        said = trial.communicate(timeout=40)[1]
    finally:
        trial.kill()
        trial.wait()
    assert (trial.returncode, said) == (130, f"interrupted ({number.name}); ending what was started\n")
    assert running(str(tmp_path)) + running(home.name) == []
    assert [*(tmp_path / "homes").iterdir(), *temporary.iterdir()] == []


def test_a_ui_of_another_version_is_refused(tmp_path: Path) -> None:
    pretend(tmp_path, "opencode", "1.0.0")
    done = subprocess.run(
        [ROOT / "ops" / "trial" / "run", "--ui", "opencode", "--case", "short"],
        env={**os.environ, "BUS_WATCH_TRIAL": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert f"opencode-ai@{UIS['opencode'].package.version} was asked for, but" in done.stderr
    assert "says it is 1.0.0" in done.stderr
