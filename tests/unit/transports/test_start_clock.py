"""The start time of what was just started, by the clock instead of by `/proc`."""

import os
import subprocess
import sys

import pytest

from worker.transports import sessions
from worker.transports.sessions import StartClock

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the clock is Linux's")


def start(clock: StartClock) -> tuple[str | None, str | None, bool]:
    """What the clock says and what `/proc` says of one more process; and whether no tick passed while it started."""
    before = clock.now()
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        after = clock.now()
        said, told = clock.start_time(process.pid, before, after), sessions.start_time(process.pid)
        process.kill()
    return said, told, before == after


def test_it_says_what_proc_says_and_then_stops_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = StartClock()
    within = 0
    while within < StartClock.AGREES + 5:
        said, told, same_tick = start(clock)
        assert said == told
        within += same_tick
    monkeypatch.setattr(sessions, "start_time", lambda _: pytest.fail("it looks, though the clock was right each time"))
    assert clock.start_time(os.getpid(), 7, 7) == "7"


def test_a_start_across_a_tick_is_looked_up() -> None:
    clock = StartClock()
    assert clock.start_time(os.getpid(), 7, 8) == sessions.start_time(os.getpid())


def test_a_clock_that_was_wrong_once_is_never_believed() -> None:
    clock = StartClock()
    mine = sessions.start_time(os.getpid())
    for _ in range(StartClock.AGREES + 2):
        assert clock.start_time(os.getpid(), 7, 7) == mine
    assert clock.now() == 0


def test_without_proc_there_is_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "HAS_PROC", False)
    assert StartClock().now() == 0
