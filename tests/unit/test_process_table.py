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


def test_times_of_ps_are_the_same_in_every_time_zone_and_language(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = set()
    for zone, language in (("UTC0", "C"), ("Asia/Tokyo", "C.UTF-8"), ("America/New_York", "de_DE.UTF-8")):
        monkeypatch.setenv("TZ", zone)
        monkeypatch.setenv("LC_ALL", language)
        said.add(process_table.ps("-o", "lstart=", "-p", str(sleeper.pid)))
    assert len(said) == 1
    assert said.pop().strip()


def test_a_ps_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ps"
    program.write_text("#!/bin/sh\necho half an answer\nexec sleep 60\n")
    program.chmod(0o700)
    monkeypatch.setattr(process_table, "_PS", str(program))
    monkeypatch.setattr(process_table, "_PS_SECONDS", 0.2)
    assert process_table.ps("-o", "lstart=") == ""


def test_without_proc_ps_tells_the_environment(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_table, "HAS_PROC", False)
    found = process_table.environment(sleeper.pid)
    assert found is not None
    assert found["A"] == "1=2"
    assert process_table.stat(sleeper.pid) is None
    assert process_table.pids() == []
