"""The consumer does its work under what the system unit forbids, and what it forbids holds for its transports."""

import subprocess
from pathlib import Path

import pytest

from tests.fakes.bridges import FakeBridge
from tests.world.processes import ROOT
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
def test_the_whole_demo_runs_in_confinement(installation: World, tmp_path: Path) -> None:
    python = str(installation.bin / "python")
    writable = tmp_path / "writable"
    writable.mkdir()
    confine = ["/usr/bin/unshare", "--map-root-user", "--mount", python, "-m", "tests.fakes.confined", str(writable)]
    demo = str(ROOT / "ops" / "demo_scenario.py")
    done = subprocess.run(
        [*confine, python, demo],
        env=installation.env | {"TMPDIR": str(writable)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all five messages were delivered by both transports, in order, each exactly once" in done.stdout
    assert list(writable.iterdir()) == [], "it cleans up"
