"""honcho runs the Procfile that install wrote; stopped or killed amid 50 deliveries, nothing is lost or doubled."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.bridges import FakeBridge
from tests.world.processes import Process
from tests.world.waiting import until
from tests.world.world import World

MESSAGES = 50
LONG = 60.0
HONCHO_KILLS_AFTER = 5.0  # honcho/manager.py, KILL_WAIT

APPEND = """#!/bin/sh
# Takes its time, so that a signal finds it at work; one short write, which O_APPEND makes atomic.
sleep 0.07
echo "$SOS_MESSAGE_STREAM_ID" >> "$1"
"""


class Fleet:
    """An installation whose Procfile honcho runs."""

    def __init__(self, place: World, folder: Path, bridge: FakeBridge) -> None:
        self.place = place
        self.done = folder / "done"
        self.done.touch()
        wake = folder / "wake"
        wake.write_text(APPEND)
        wake.chmod(0o755)
        install = ("install", "--agent", "bob", "--token-stdin", "--bridge-url", bridge.url, "--procfile")
        installed = self.place.bus_watch(
            *install, "--transport", f"log={wake} {self.done}", stdin=bridge.add_token("bob")
        )
        assert installed.returncode == 0, installed.stderr
        self.honcho: Process | None = None
        self.known = 0  # the pid of the last worker

    def start(self) -> None:
        procfile = self.place.config.with_name("Procfile")
        self.honcho = self.place.start(sys.executable, "-m", "honcho.command", "-f", str(procfile), "start")

    def wait(self) -> float:
        """Until honcho has ended; how long that took."""
        assert self.honcho is not None
        began = time.monotonic()
        self.honcho.wait(LONG)
        return time.monotonic() - began

    def lines(self) -> list[str]:
        return self.done.read_text().splitlines()

    def until(self, reached: Callable[[], bool]) -> None:
        honcho = self.honcho
        assert honcho is not None
        until(lambda: honcho.poll() is not None or reached(), "the fleet to get there")
        assert honcho.poll() is None, honcho.log()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.place.bus_watch("status", "--json").stdout)
        return found

    def worker(self) -> int:
        """The pid of the worker, as soon as another than the last one is up."""

        def fresh() -> list[int]:
            return [int(worker["pid"]) for worker in self.status()["workers"] if worker["pid"] != self.known]

        self.known = until(fresh, "another worker")[0]
        return self.known

    def finished(self) -> bool:
        return len(self.lines()) >= MESSAGES and self.status()["backlog"] == 0


@pytest.fixture
def bridge() -> Iterator[FakeBridge]:
    with FakeBridge("C") as bridge:
        yield bridge


@pytest.fixture
def fleet(installation: World, tmp_path: Path, bridge: FakeBridge) -> Iterator[Fleet]:
    fleet = Fleet(installation, tmp_path, bridge)
    yield fleet
    if fleet.honcho is not None and fleet.honcho.poll() is None:
        fleet.honcho.terminate()
        fleet.honcho.wait(LONG)


def send(bridge: FakeBridge, count: int) -> list[str]:
    ids = [bridge.streams.add("bob", f"message {number}") for number in range(count)]
    return [f"{ms}-{seq}" for ms, seq in ids]


def test_sigterm_to_honcho_in_the_middle(fleet: Fleet, bridge: FakeBridge) -> None:
    fleet.start()
    ids = send(bridge, MESSAGES)
    fleet.until(lambda: len(fleet.lines()) >= 10)
    assert fleet.honcho is not None
    fleet.honcho.terminate()
    took = fleet.wait()
    assert took < HONCHO_KILLS_AFTER, f"honcho had to kill it after {took:.1f} s: {fleet.place.log()}"
    assert len(fleet.lines()) < MESSAGES, "too fast to be interrupted"
    fleet.start()
    fleet.until(fleet.finished)
    assert fleet.lines() == ids, "nothing lost, nothing twice, in order"


def test_kill_9_of_the_worker_in_the_middle(fleet: Fleet, bridge: FakeBridge) -> None:
    fleet.start()
    ids: list[str] = []
    for half in (1, 2):
        worker = fleet.worker()  # a command, which takes its time: so before there is something to interrupt
        ids += send(bridge, MESSAGES // 2)
        fleet.until(lambda half=half: len(fleet.lines()) >= (half - 1) * MESSAGES // 2 + 5)  # type: ignore[misc]
        os.kill(worker, signal.SIGKILL)
        assert len(fleet.lines()) < len(ids), "too fast to be interrupted"
        fleet.wait()  # honcho ends with the first of its processes; whoever runs honcho starts it again
        fleet.start()
    fleet.until(fleet.finished)
    assert fleet.lines() == ids, "nothing lost, nothing twice, in order"
