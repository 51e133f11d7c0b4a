"""`ops/record-screen`: one pane, exactly, as a fixture that the tests of the profiles can read."""

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.trial.terminal import Server
from tests.fakes.terminals import ROOT


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(f"record-{secrets.token_hex(4)}")
    pane = server.start("agent", ["sh", "-c", "printf '\\033[2mAsk anything'; exec tail -f /dev/null"], {}, tmp_path)
    server.still(pane)
    yield server
    server.stop()


def record(server: Server, folder: Path, target: str, profile: str = "codex") -> "subprocess.CompletedProcess[str]":
    argv = ["-t", target, profile, "idle", "--socket-name", server.name, "--version", "1.2", "--about", "just started"]
    return subprocess.run(
        [sys.executable, ROOT / "ops" / "record-screen", *argv, "--folder", folder],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("target", ["agent", "agent:0.0", "%0"])
def test_it_records_what_the_pane_shows(server: Server, tmp_path: Path, target: str) -> None:
    paths = [Path(record(server, tmp_path, target).stdout.strip()) for _ in range(2)]
    assert paths == [tmp_path / "codex" / "idle-1.json", tmp_path / "codex" / "idle-2.json"]
    saved = json.loads(paths[0].read_text(encoding="utf-8"))
    assert saved["text"].splitlines()[0] == "\x1b[2mAsk anything"
    assert (saved["profile"], saved["state"], saved["version"], saved["about"]) == (
        "codex",
        "idle",
        "1.2",
        "just started",
    )
    assert (saved["pane_width"], saved["pane_height"], saved["cursor_x"]) == (200, 50, 12)


@pytest.mark.parametrize(
    ("target", "profile", "says"),
    [("agen", "codex", "no pane is called 'agen'"), ("agent", "../codex", "invalid choice")],
)
def test_mistakes_are_named(server: Server, tmp_path: Path, target: str, profile: str, says: str) -> None:
    done = record(server, tmp_path, target, profile)
    assert done.returncode != 0
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_several_panes_are_listed(server: Server, tmp_path: Path) -> None:
    server.run("split-window", "-t", "=agent:", "tail -f /dev/null")
    done = record(server, tmp_path, "agent")
    assert "%0 (agent:0.0), %1 (agent:0.1)" in done.stderr
