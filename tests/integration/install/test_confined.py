"""The consumer does its work under what the system unit forbids, and what it forbids holds for its transports."""

import subprocess
import time
from pathlib import Path

from tests.fakes.bridges import FakeBridge
from tests.fakes.installations import PROJECT, Installation

LONG = 60.0
MESSAGES = 20

WAKE = """#!/bin/sh
echo "$SOS_MESSAGE_STREAM_ID" >> "$1/done"
touch "$2/outside" 2>> "$1/refused"
grep -E '^(CapEff|CapBnd|NoNewPrivs):' /proc/self/status > "$1/rights"
"""


def test_messages_are_delivered_in_confinement(tmp_path: Path) -> None:
    with FakeBridge("C") as bridge:
        place = Installation(tmp_path)
        wake = tmp_path / "wake"
        wake.write_text(WAKE)
        wake.chmod(0o755)
        inside, outside = place.config.parent, tmp_path / "outside"
        outside.mkdir()
        options = ("--agent", "bob", "--token-stdin", "--bridge-url", bridge.url)
        transport = f"log={wake} {inside} {outside}"
        token = bridge.add_token("bob")
        assert place.run("install", *options, "--transport", transport, stdin=token).returncode == 0
        ids = ["{}-{}".format(*bridge.streams.add("bob", f"message {number}")) for number in range(MESSAGES)]
        python = str(place.bin / "python")
        confine = ["unshare", "--map-root-user", "--mount", python, "-m", "tests.fakes.confined", str(inside)]
        consumer = [str(place.bin / "huey_consumer"), "worker.app.huey", "-g", "TERM", "-t", "5"]
        process = place.start([*confine, python, *consumer], BUS_WATCH_CONFIG=str(place.config))
        try:
            wait_for_lines(process, place, inside / "done")
        finally:
            process.terminate()  # and the last transport ends first
            assert process.wait(LONG) == 0
    assert (inside / "done").read_text().split() == ids
    assert (inside / "refused").read_text().count("Read-only file system") == MESSAGES
    assert list(outside.iterdir()) == []
    rights = dict(line.split() for line in (inside / "rights").read_text().splitlines())
    assert rights == {"CapEff:": "0" * 16, "CapBnd:": "0" * 16, "NoNewPrivs:": "1"}


def wait_for_lines(process: "subprocess.Popen[bytes]", place: Installation, done: Path) -> None:
    end = time.monotonic() + LONG
    while not done.exists() or len(done.read_text().split()) < MESSAGES:
        assert time.monotonic() < end, place.log.read_text()
        assert process.poll() is None, place.log.read_text()
        time.sleep(0.05)


def test_the_whole_demo_runs_in_confinement(tmp_path: Path) -> None:
    place = Installation(tmp_path)
    python = str(place.bin / "python")
    writable = tmp_path / "writable"
    writable.mkdir()
    confine = ["unshare", "--map-root-user", "--mount", python, "-m", "tests.fakes.confined", str(writable)]
    demo = str(PROJECT / "ops" / "demo_scenario.py")
    done = subprocess.run(
        [*confine, python, demo],
        env={  # coverage would write where it must not
            name: value
            for name, value in place.environment(TMPDIR=str(writable)).items()
            if not name.startswith("COVERAGE_")
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all five messages were delivered by both transports, in order, each exactly once" in done.stdout
    assert list(writable.iterdir()) == [], "it cleans up"
