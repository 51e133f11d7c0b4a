"""The README's quick start, with its commands as printed there, up to a message in a real tmux pane under honcho."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.fakes.measuring import measuring
from tests.fakes.terminals import Terminal, private_terminal
from tests.world.processes import program
from tests.world.waiting import until

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(sys.executable).parent


def quick_starts() -> list[list[str]]:
    """The commands of each block of the section."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = re.search(r"^## From nothing to a message in a tmux pane$(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert section, "the README has its quick start"
    return [
        block.strip().splitlines() for block in re.findall(r"^```$(.*?)^```$", section[1], re.MULTILINE | re.DOTALL)
    ]


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with private_terminal() as made:
        yield made


@pytest.fixture
def environment(tmp_path: Path, terminal: Terminal) -> dict[str, str]:
    """What a person's shell has after the first step, which puts the commands on the PATH."""
    home = tmp_path / "home"
    home.mkdir()
    commands = Path(program("bus-watch")).parent
    return {
        "HOME": str(home),
        "PATH": f"{commands}:{HERE}:{os.environ['PATH']}",
        "LANG": "C.UTF-8",
        "USER": "nobody",
        **measuring(),
        "TMUX": f"{terminal.socket},1,0",  # a person installs from inside tmux; this is how another server is found
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_it_installs_and_then_says_one_way_with_a_bus_and_one_without() -> None:
    install, with_bus, without = quick_starts()
    assert install == [
        "pipx install --include-deps 'bus-watch[bus,procfile]'",
        "uv tool install --with-executables-from huey,honcho 'bus-watch[bus,procfile]'",
    ]
    assert (len(with_bus), len(without)) == (3, 3)


def test_what_the_install_commands_expose_is_there() -> None:
    """pipx and uv link the executables of the distributions that these commands name; each must bring its own."""
    exposed = {entry.name for name in ("bus-watch", "huey", "honcho") for entry in distribution(name).entry_points}
    assert {"bus-watch", "wake", "send-message", "agent-send", "huey_consumer", "honcho"} <= exposed
    assert any(one.startswith("honcho") and "procfile" in one for one in distribution("bus-watch").requires or [])


def test_from_nothing_to_a_message_in_a_pane(tmp_path: Path, environment: dict[str, str], terminal: Terminal) -> None:
    pane = terminal.session("codex", str(HERE / "ipython"), "--no-banner", "--no-confirm-exit")
    until(lambda: "In [1]:" in terminal.screen(pane), "an agent in session codex")
    install, start, probe = quick_starts()[2]
    assert install.endswith(" --procfile --bus")
    assert start == "honcho -d ~/.sos start &"
    port = free_port()  # another bus may run on this machine
    script = f"set -e\n{install} --bridge-url http://127.0.0.1:{port}\n{start}\necho $! > pid\n{probe}\n"
    log = tmp_path / "log"
    try:
        with log.open("wb") as output:
            done = subprocess.run(
                ["bash", "-c", script],
                env=environment,
                cwd=tmp_path,
                stdout=output,
                stderr=output,
                timeout=60,
                check=False,
            )
        assert done.returncode == 0, log.read_text()
        until(lambda: "[agent:hadi-codex -> hadi-codex] bus-watch" in terminal.screen(pane), "the message")
        until(lambda: "is delivered" in log.read_text(), "its proof")
    finally:
        stopped = tmp_path / "pid"
        if stopped.exists():
            honcho = int(stopped.read_text())
            os.kill(honcho, signal.SIGTERM)
            until(lambda: not Path(f"/proc/{honcho}").exists() and "bus-watch.1 stopped" in log.read_text(), "the end")


def test_with_a_bus_and_systemd(tmp_path: Path, environment: dict[str, str]) -> None:
    """No systemd runs in a test: the unit is written, and `install` names the commands that the README has next."""
    install, control, probe = quick_starts()[1]
    done = subprocess.run(
        shlex.split(install.replace("~", environment["HOME"])),
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (Path(environment["HOME"]) / ".config/systemd/user/bus-watch.service").is_file()
    printed = [line.strip().removesuffix(".service") for line in done.stdout.splitlines()]
    assert set(control.split(" && ")) <= set(printed)
    assert probe == "bus-watch test-send"


def test_the_embedded_bus_comes_with_a_procfile_and_a_token_file_only(environment: dict[str, str]) -> None:
    base = ["bus-watch", "install", "--agent", "bob", "--bus"]
    for more in (["--token-file", "t"], ["--procfile", "--token-env", "T"]):
        refused = subprocess.run([*base, *more], env=environment, capture_output=True, text=True, check=False)
        assert (refused.returncode, "--bus goes with" in refused.stderr) == (64, True)
    far = [*base, "--procfile", "--token-file", "t", "--bridge-url", "https://far.example"]
    refused = subprocess.run(far, env=environment, capture_output=True, text=True, check=False)
    assert (refused.returncode, "--bus serves this machine" in refused.stderr) == (64, True)
    assert not any(Path(environment["HOME"]).iterdir())
