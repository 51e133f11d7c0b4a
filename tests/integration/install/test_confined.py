"""The consumer does its work under what the system unit forbids, and what it forbids holds for its transports."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.fakes.bridges import FakeBridge
from tests.world.waiting import until
from tests.world.world import World

LONG = 60.0
MESSAGES = 20

WAKE = """#!/bin/sh
echo "$SOS_MESSAGE_STREAM_ID" >> "$1/done"
touch "$2/outside" 2>> "$1/refused"
grep -E '^(CapEff|CapBnd|NoNewPrivs):' /proc/self/status > "$1/rights"
"""


def test_messages_are_delivered_in_confinement(installation: World, tmp_path: Path) -> None:
    with FakeBridge("C") as bridge:
        place = installation
        wake = tmp_path / "wake"
        wake.write_text(WAKE)
        wake.chmod(0o755)
        inside, outside = place.config.parent, tmp_path / "outside"
        outside.mkdir()
        options = ("--agent", "bob", "--token-stdin", "--bridge-url", bridge.url)
        transport = f"log={wake} {inside} {outside}"
        token = bridge.add_token("bob")
        assert place.bus_watch("install", *options, "--transport", transport, stdin=token).returncode == 0
        ids = ["{}-{}".format(*bridge.streams.add("bob", f"message {number}")) for number in range(MESSAGES)]
        python = str(place.bin / "python")
        confine = ["/usr/bin/unshare", "--map-root-user", "--mount", python, "-m", "tests.fakes.confined", str(inside)]
        consumer = [str(place.bin / "huey_consumer"), "worker.app.huey", "-g", "TERM", "-t", "5"]
        process = place.start(*confine, python, *consumer)
        try:
            until(lambda: process.poll() is not None or lines(inside / "done") >= MESSAGES, "all messages")
            assert process.poll() is None, process.log()
        finally:
            process.terminate()  # and the last transport ends first
            assert process.wait(LONG) == 0
    assert (inside / "done").read_text().split() == ids
    assert (inside / "refused").read_text().count("Read-only file system") == MESSAGES
    assert list(outside.iterdir()) == []
    rights = dict(line.split() for line in (inside / "rights").read_text().splitlines())
    assert rights == {"CapEff:": "0" * 16, "CapBnd:": "0" * 16, "NoNewPrivs:": "1"}


def lines(path: Path) -> int:
    return len(path.read_text().split()) if path.exists() else 0


@pytest.mark.usefixtures("unmeasured")  # coverage would write where it must not
def test_the_whole_demo_runs_in_confinement(installation: World) -> None:
    python = str(installation.bin / "python")
    with tempfile.TemporaryDirectory(prefix="bw-") as writable:  # short, for the path of a socket
        confine = ["/usr/bin/unshare", "--map-root-user", "--mount", python, "-m", "tests.fakes.confined", writable]
        story = demo(installation, *confine, TMPDIR=writable)
        assert "tmux session bob ---" in story
        assert "* ran bus-watch reply bob/" in story
        assert list(Path(writable).iterdir()) == [], "it cleans up"


def test_the_demo_without_tmux(installation: World, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "tr"):
        (programs / name).symlink_to(str(shutil.which(name)))
    story = demo(installation, PATH=str(programs), TMPDIR=str(tmp_path))
    assert "There is no tmux here" in story
    assert list(tmp_path.glob("bw-demo-*")) == [], "it cleans up"


def demo(place: World, *confine: str, **variables: str) -> str:
    """The story that it tells, in 80 columns."""
    done = subprocess.run(
        [*confine, str(place.bin / "python"), "-m", "ops.demo_scenario"],
        env=place.env | variables,
        cwd=place.home,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nobody there since" in done.stdout
    assert "bob got 4 messages, alice 2 answers: in order, each exactly once" in done.stdout
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []
    return done.stdout
