"""Inside a sandbox the message names the sandbox and the way out."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.world.processes import ROOT
from worker import sandbox


def test_where_there_is_none_nothing_is_said() -> None:
    assert not sandbox.way_out({})
    assert not sandbox.way_out({"CODEX_SANDBOX_NETWORK_DISABLED": "0"})
    assert "agent setup codex --mcp" in sandbox.way_out({"CODEX_SANDBOX_NETWORK_DISABLED": "1"})
    assert "sandbox" in sandbox.way_out({"CODEX_SANDBOX": "seatbelt"})


@pytest.mark.parametrize("command", [["send", "a", "hi"], ["reply", "1-0", "hi"], ["wait", "1-0"], ["history"]])
def test_a_command_that_fails_there(command: list[str], tmp_path: Path) -> None:
    """As in codex's: the ledger's folder cannot be written; here, because it is the kernel's."""
    config = tmp_path / "c.json"
    config.write_text('{"agent": "bob", "token_env": "T", "state_path": "/proc/bus-watch/state.json"}')
    config.chmod(0o600)
    done = subprocess.run(
        [sys.executable, "-m", "worker.cli.main", *command, "--config", str(config)],
        env={"CODEX_SANDBOX_NETWORK_DISABLED": "1", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "codex's sandbox" in done.stderr


def test_agent_send_there(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "worker.terminal.agent_send", "-s", "x", "-m", "hi", "--socket-path", f"{tmp_path}/s"],
        env={"CODEX_SANDBOX_NETWORK_DISABLED": "1", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 69
    assert "codex's sandbox" in done.stderr


def test_a_mistake_is_a_mistake_there_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "worker.cli.main", "send"],
        env={"CODEX_SANDBOX_NETWORK_DISABLED": "1", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 64
    assert "sandbox" not in done.stderr
