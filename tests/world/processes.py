"""Commands that a test has started, and the programs that it starts."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.world.waiting import PATIENCE, until
from worker import process_table

ROOT = Path(__file__).resolve().parents[2]

HERE = Path(sys.executable).parent
"""The programs of this environment, which run the source."""

INSTALLED = Path(os.environ.get("BUS_WATCH_TEST_BIN") or HERE)
"""The programs that `ops/test` installed from the wheel, if it runs the tests."""

CONSUMER = ("huey_consumer", "worker.app.huey")
RUN = ("bus-watch", "run")


def program(name: str, folder: Path = INSTALLED) -> str:
    """The path of an installed command."""
    path = folder / name
    assert path.exists(), f"{path} is missing: install the project, as ops/setup does"
    return str(path)


class Process(subprocess.Popen[bytes]):
    """A command that goes on; what it prints lands in a file."""

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log_path: Path) -> None:
        self.log_path = log_path
        with log_path.open("ab") as log:
            super().__init__(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def log(self) -> str:
        """What it has printed so far."""
        return self.log_path.read_text("utf-8", "replace")

    def lines(self) -> list[str]:
        return self.log().splitlines()

    def wait_for_line(self, part: str, patience: float = PATIENCE) -> str:
        """The first line that has this in it."""

        def look() -> str | None:
            whole, _, _ = self.log().rpartition("\n")
            return next((line for line in whole.splitlines() if part in line), None)

        return until(look, f"a line with {part!r} in {self.log_path}", patience) or ""

    def peak_memory(self) -> int:
        """Bytes: the most that was ever resident."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal, if it still runs; its exit status."""
        self.send_signal(number)
        return self.wait(PATIENCE)

    def end(self) -> None:
        """Kill it, if it still runs."""
        self.kill()
        self.wait(PATIENCE)


def children(pid: int) -> list[int]:
    """The processes that this one has started itself."""
    return _children().get(pid, [])


def descendants(pid: int) -> list[int]:
    """The processes below this one, itself not included."""
    known = _children()
    found: list[int] = []
    wanted = [pid]
    while wanted:
        below = known.get(wanted.pop(), [])
        found += below
        wanted += below
    return found


def kill_everybody(pid: int) -> None:
    """Kill a process and all below it at one moment, as when the machine loses its power."""
    everybody: set[int] = set()
    while fresh := {pid, *descendants(pid)} - everybody:
        for one in fresh:  # the parents stop first, so that the loop ends
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGSTOP)
        everybody |= fresh
    for one in everybody:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for pid in process_table.pids():
        if fields := process_table.stat(pid):
            found.setdefault(int(fields[process_table.PARENT]), []).append(pid)
    return found
