"""What systems without `/proc` tell of processes: macOS's libproc, built here by its documented layout, and ps."""

import os
import signal
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.world.waiting import until
from worker import libproc, process_table
from worker.transports import sessions

SOURCE = Path(__file__).resolve().parents[2] / "fakes" / "libproc.c"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("libproc") / "libproc.so"
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    subprocess.run([compiler, "-shared", "-fPIC", "-o", path, SOURCE], check=True)
    return str(path)


@pytest.fixture(params=["libproc", "ps", "a ps of a second"])
def told_by(request: pytest.FixtureRequest, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Takes `/proc` away from `sessions`, and puts something else in its place."""
    monkeypatch.setattr(sessions, "HAS_PROC", False)
    if request.param == "libproc":
        monkeypatch.setattr(sessions, "HAS_LIBPROC", True)
        monkeypatch.setattr(libproc, "_LIBRARY", library)
        monkeypatch.setattr(libproc, "_loaded", None)
        monkeypatch.setattr(process_table, "ps", lambda *_: pytest.fail("no ps is needed"))
    elif request.param != "ps":
        slow = tmp_path / "ps"
        slow.write_text('#!/bin/sh\nsleep 1\nexec /bin/ps "$@"\n')
        slow.chmod(0o700)
        monkeypatch.setattr(process_table, "_PS", str(slow))
        monkeypatch.setattr(process_table, "_PS_SECONDS", 30.0)
    return str(request.param)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["/bin/sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_whose_process_it_is(told_by: str, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    starts = set()
    for zone, language in (("Asia/Tokyo", "C.UTF-8"), ("America/New_York", "de_DE.UTF-8")):
        monkeypatch.setenv("TZ", zone)
        monkeypatch.setenv("LC_ALL", language)
        time.tzset()
        starts.add(sessions.start_time(sleeper.pid))
    monkeypatch.undo()
    time.tzset()
    (start,) = starts
    assert start
    assert " " not in start


def test_a_session_is_killed_to_its_end(told_by: str, sleeper: subprocess.Popen[bytes]) -> None:
    start = sessions.start_time(sleeper.pid)
    assert start is not None
    assert sessions.members({sleeper.pid}) == {sleeper.pid: [sleeper.pid]}
    assert sessions.leads(sleeper.pid, start)
    assert not sessions.leads(sleeper.pid, f"{start}0")
    assert not sessions.kill_session(sleeper.pid, "another start")
    assert sleeper.poll() is None
    assert sessions.kill_session(sleeper.pid, start, patience=60.0)
    assert sleeper.wait(60) == -signal.SIGKILL
    assert sessions.start_time(sleeper.pid) is None


def test_one_that_waits_to_be_reaped_has_a_start_and_no_session(told_by: str, sleeper: subprocess.Popen[bytes]) -> None:
    start = sessions.start_time(sleeper.pid)
    sleeper.kill()
    until(lambda: (process_table.stat(sleeper.pid) or [b""])[0] == b"Z", "the end")
    assert sessions.start_time(sleeper.pid) == start
    assert sessions.members({sleeper.pid}) == {}
    assert os.getpid() in sessions.members({os.getsid(0)})[os.getsid(0)]


def test_a_ps_that_hangs_tells_nothing_and_nobody_is_killed(
    sleeper: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = tmp_path / "ps"
    hangs.write_text("#!/bin/sh\nexec sleep 60\n")
    hangs.chmod(0o700)
    monkeypatch.setattr(sessions, "HAS_PROC", False)
    monkeypatch.setattr(process_table, "_PS", str(hangs))
    monkeypatch.setattr(process_table, "_PS_SECONDS", 0.2)
    assert sessions.start_time(sleeper.pid) is None
    assert not sessions.kill_session(sleeper.pid, "any")
    assert sleeper.poll() is None
