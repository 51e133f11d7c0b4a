"""What the system tells of a process, read from a real one whose name is a trap for readers of /proc/PID/stat."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.world.waiting import until
from worker import process_table
from worker.process_table import ENDED, PARENT, SESSION, STATE

TRAP = "a) R 1 2"


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    program = tmp_path / TRAP
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([program, "60"], env={"A": "1=2", "B": ""}, start_new_session=True, cwd=tmp_path)
    until(lambda: process_table.arguments(process.pid), "what the new program was given")
    yield process
    process.kill()
    process.wait()


def test_a_living_process(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    pid = sleeper.pid
    fields = process_table.stat(pid)
    assert fields is not None
    assert int(fields[SESSION]) == pid
    assert int(fields[PARENT]) in process_table.pids()
    assert process_table.name(pid) == TRAP
    assert process_table.arguments(pid) == [str(tmp_path / TRAP), "60"]
    assert process_table.environment(pid) == {"A": "1=2", "B": ""}
    assert process_table.link(pid, "cwd") == str(tmp_path)
    assert min(process_table.cpu_ticks(pid)) >= 0
    assert f"{pid}" in process_table.ps("-o", "pid=", "-p", str(pid))


def test_one_that_waits_to_be_reaped(sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.kill()
    until(lambda: (process_table.stat(sleeper.pid) or [b""])[STATE] in ENDED, "the end")
    assert process_table.arguments(sleeper.pid) == []


def test_one_that_is_gone(sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.kill()
    sleeper.wait()
    pid = sleeper.pid
    assert process_table.stat(pid) is None
    assert (process_table.name(pid), process_table.arguments(pid)) == ("", [])
    assert process_table.environment(pid) is None
    assert process_table.link(pid, "exe") is None
    with pytest.raises(ProcessLookupError):
        process_table.cpu_ticks(pid)
