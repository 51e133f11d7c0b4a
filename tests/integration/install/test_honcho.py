"""honcho runs the Procfile that install wrote; stopped or killed amid 50 deliveries, nothing is lost or doubled."""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.bridges import FakeBridge
from tests.world.processes import Process, descendants
from tests.world.waiting import until
from tests.world.world import World
from worker import process_table

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

    def __init__(self, place: World, folder: Path, bus_url: str, *token: str) -> None:
        self.place = place
        self.done = folder / "done"
        self.done.touch()
        wake = folder / "wake"
        wake.write_text(APPEND)
        wake.chmod(0o755)
        install = ("install", "--agent", "bob", "--bridge-url", bus_url, "--procfile")
        installed = self.place.bus_watch(*install, *token, "--transport", f"log={wake} {self.done}")
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
def fleet_of(installation: World, tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    made: list[Fleet] = []

    def make(bus_url: str, *token: str) -> Fleet:
        made.append(Fleet(installation, tmp_path, bus_url, *token))
        return made[-1]

    yield make
    for fleet in made:
        if fleet.honcho is not None and fleet.honcho.poll() is None:
            fleet.honcho.terminate()
            fleet.honcho.wait(LONG)


@pytest.fixture
def fleet(fleet_of: Callable[..., Fleet], tmp_path: Path, bridge: FakeBridge) -> Fleet:
    token = tmp_path / "token"
    World.write_private(token, bridge.add_token("bob"))
    return fleet_of(bridge.url, "--token-file", str(token))


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


def test_a_bus_that_dies_takes_no_worker_along(
    fleet_of: Callable[..., Fleet], installation: World, tmp_path: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    fleet = fleet_of(url, "--token-file", str(tmp_path / "token"), "--bus")
    fleet.start()
    worker = fleet.worker()
    assert installation.bus_watch("test-send").returncode == 0
    fleet.until(lambda: len(fleet.lines()) == 1)
    assert fleet.honcho is not None
    (bus,) = [pid for pid in descendants(fleet.honcho.pid) if "bus" in process_table.arguments(pid)]
    os.kill(bus, signal.SIGKILL)
    until(lambda: installation.bus_watch("test-send").returncode == 0, "a bus again")
    fleet.until(lambda: len(fleet.lines()) == 2)
    assert [entry["pid"] for entry in fleet.status()["workers"]] == [worker]
