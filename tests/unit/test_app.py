"""The composition root: importing it does nothing, and what huey_consumer asks it for is there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def _python(code: str, config: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"BUS_WATCH_CONFIG": str(config)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    agent = {"agent": "bob", "token_env": "HOME", "transports": [{"name": "t", "command": ["/bin/true"]}]}
    path.write_text(json.dumps(agent | {"state_path": str(tmp_path / "state.json"), "allowlist": ["/bin/true"]}))
    return path


def test_importing_it_reads_and_opens_nothing(tmp_path: Path) -> None:
    done = _python("import worker.app", tmp_path / "there is none.json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())


def test_asking_for_huey_builds_the_program_once(tmp_path: Path, config: Path) -> None:
    code = """
from huey.utils import load_class
huey = load_class("worker.app.huey")
import worker.app
assert worker.app.huey is huey
print(sorted(huey._registry._registry))
"""
    done = _python(code, config)
    assert done.stderr == ""
    # Their names stand in the queue: a task that an older worker has stored must still be known.
    names = ["tasks.deliver.deliver", "tasks.finalize.finalize", "tasks.poll.poll", "tasks.poll.poll_inbox"]
    assert done.stdout == f"{[*names, 'tasks.sweep.sweep']}\n"
    assert (tmp_path / "state.db").exists()


def test_a_hang_up_ends_it_at_no_moment_of_its_start(config: Path) -> None:
    """From the first import of ours on: one at each import and each opened file, until the program is there."""
    code = """
import os, signal, sys

def hang_up(event, args):
    if event in ("import", "open") and signal.getsignal(signal.SIGHUP) != signal.SIG_DFL:
        os.kill(os.getpid(), signal.SIGHUP)
        sent.append(event)

sent = []
sys.addaudithook(hang_up)
import worker.app
assert sent.count("import") > 100, sent
worker.app.huey
assert sent.count("open") > 0
"""
    done = _python(code, config)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_hang_up_that_somebody_ignores_stays_ignored(config: Path) -> None:
    """As nohup(1) does."""
    code = """
import signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
import worker.app
assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
"""
    assert _python(code, config).returncode == 0


def test_it_has_nothing_else() -> None:
    import worker.app

    with pytest.raises(AttributeError, match="has no attribute 'hue'"):
        worker.app.hue  # noqa: B018 - looking is what is tested
