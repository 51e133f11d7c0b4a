"""The real consumer under a supervisor that listens: what feeds the watchdog, and what does not."""

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.bridges import FakeBridge
from tests.world.processes import Process
from tests.world.world import World

LONG = 40.0  # seconds, on a machine that is busy with other things

# A small disk of its own, seen by the consumer alone.
MOUNT = 'mount -t tmpfs -o size=4m,mode=700 small "$0" && exec "$@"'
ON_A_SMALL_DISK = ("/usr/bin/unshare", "--map-root-user", "--mount", "/bin/sh", "-c", MOUNT)


class Supervisor:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.channel.bind(self.address)
        self.heard: list[str] = []

    def listen(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.channel.settimeout(left)
            try:
                self.heard += self.channel.recv(4096).decode().splitlines()
            except TimeoutError:
                return

    def wait_for(self, what: str) -> str:
        """Whether it came before or comes now; what was heard until then is forgotten."""
        end = time.monotonic() + LONG
        while time.monotonic() < end:
            for number, line in enumerate(self.heard):
                if re.match(what, line):
                    del self.heard[: number + 1]
                    return line
            self.heard = []
            self.listen(0.2)
        raise AssertionError(f"{what} never came")


@pytest.fixture
def place(installation: World) -> World:
    installation.bus_watch(
        "install", "--agent", "bob", "--token-stdin", "--transport", "log=/bin/echo {text}", stdin="secret"
    )
    return installation


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path)
    yield supervisor
    supervisor.channel.close()


Start = Callable[..., Process]


@pytest.fixture
def start(place: World, supervisor: Supervisor, tmp_path: Path) -> Iterator[Start]:
    started: list[Process] = []

    def start(sickness: str, bridge_url: str, *before: str) -> Process:
        state = tmp_path / "state"
        state.mkdir(mode=0o700)
        argv = [*before, str(state)] if before else []
        argv += [str(place.bin / "python"), "-m", "tests.fakes.sick_consumer", sickness, str(tmp_path / "trigger")]
        process = place.start(
            *argv,
            NOTIFY_SOCKET=supervisor.address,
            WATCHDOG_USEC="900000",
            BUS_WATCH_BRIDGE_URL=bridge_url,
            BUS_WATCH_STATE_PATH=str(state / "state.json"),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def status(place: World, tmp_path: Path, bridge_url: str, *before: str) -> tuple[int, dict[str, object]]:
    environment = {"BUS_WATCH_STATE_PATH": str(tmp_path / "state" / "state.json"), "BUS_WATCH_BRIDGE_URL": bridge_url}
    done = subprocess.run(
        [*before, str(place.bin / "bus-watch"), "status", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=place.env | environment,
    )
    return done.returncode, json.loads(done.stdout)


def test_a_dead_bus_is_no_dead_worker(place: World, supervisor: Supervisor, start: Start, tmp_path: Path) -> None:
    process = start("none", "http://127.0.0.1:1")
    supervisor.wait_for("READY=1")
    for _ in range(4):  # one a second, longer than any patience there is
        supervisor.wait_for("WATCHDOG=1")
    assert not [line for line in supervisor.heard if "unhealthy" in line], place.log()
    process.terminate()
    supervisor.wait_for("STOPPING=1")
    assert process.wait(LONG) == 0


@pytest.mark.parametrize(
    ("sickness", "reason"),
    [
        ("poll", r"the poll of bob has hung"),
        ("scheduler", r"the scheduler has stood still"),
        ("disk", r"no sweep has gone through"),
    ],
)
def test_what_makes_status_red_and_stops_the_watchdog(
    place: World, supervisor: Supervisor, start: Start, tmp_path: Path, sickness: str, reason: str
) -> None:
    with FakeBridge("C") as bridge:
        bridge.add_token("bob", token="secret")
        process = start(sickness, bridge.url, *(ON_A_SMALL_DISK if sickness == "disk" else ()))
        inside = ("nsenter", "-t", str(process.pid), "-m") if sickness == "disk" else ()
        supervisor.wait_for("READY=1")
        supervisor.wait_for("WATCHDOG=1")
        code, said = status(place, tmp_path, bridge.url, *inside)
        assert said["running"], place.log()
        if sickness != "disk":  # so small a disk is never green
            assert (code, said["problems"]) == (0, [])

        (tmp_path / "trigger").touch()
        assert re.search(reason, supervisor.wait_for("STATUS=unhealthy")), place.log()
        supervisor.listen(2.0)
        assert "WATCHDOG=1" not in supervisor.heard
        code, said = status(place, tmp_path, bridge.url, *inside)
        assert (code, bool(said["problems"])) == (1, True)
        if sickness != "disk":  # a full disk takes no note of its own fullness
            assert re.search(reason, str(said["problems"]))
