"""Nothing starts after its time, however long a launcher stood still; what outlived its launcher is ended."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.launchers import WaitingLauncher
from tests.integration.transports.test_launcher import gone, pid_in, shell
from tests.world.waiting import PATIENCE, until
from worker.engine.dispatch import ending_of
from worker.steady_clock import steady
from worker.transports import recovery
from worker.transports.client import Request
from worker.transports.locks import flock_is_free
from worker.transports.receipts import RunResult, read_note, read_receipt


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[WaitingLauncher]:
    found = WaitingLauncher(tmp_path, "w1")
    found.start()
    yield found
    found.close()


def test_what_comes_too_late_is_not_started_and_its_receipt_says_so(launcher: WaitingLauncher, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    outcome = launcher.run("a1", shell(f"touch {ran}"), PATIENCE, start_by=steady() - 0.1)
    assert outcome.kind == "too_late"
    assert not ran.exists()
    said = read_receipt(tmp_path, "a1")
    assert said is not None
    assert (said.kind, ending_of(said).kind) == ("too_late", "not_started")
    assert "after the claim" in ending_of(said).detail


def test_a_launcher_that_was_stopped_starts_nothing_late(launcher: WaitingLauncher, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    launcher.on_ended = lambda _: None
    os.kill(launcher.pid, signal.SIGSTOP)
    try:
        start_by = steady() + 0.3
        launcher.ask([Request("a1", shell(f"touch {ran}"), PATIENCE, start_by)])
        until(lambda: steady() > start_by, "the time to be over")
    finally:
        os.kill(launcher.pid, signal.SIGCONT)

    def receipt() -> RunResult | None:
        return read_receipt(tmp_path, "a1")

    assert until(receipt, "its receipt").kind == "too_late"  # type: ignore[union-attr]
    assert not ran.exists()
    assert isinstance(
        recovery.inspect(
            tmp_path,
            "a1",
            same_boot=True,
            writer_alive=lambda: True,
            started_at=time.time(),
            timeout=30,
            now=time.time(),
        ),
        recovery.Finished,
    )


def test_in_time_it_starts(launcher: WaitingLauncher) -> None:
    assert launcher.run("a1", shell("exit 3"), PATIENCE, start_by=steady() + PATIENCE).code == 3


def test_what_outlived_its_launcher_and_its_time_is_ended_without_a_ledger(
    launcher: WaitingLauncher, tmp_path: Path
) -> None:
    launcher.on_ended = lambda _: None
    told = tmp_path / "pid"
    launcher.ask([Request("a1", shell(f"echo $$ > {told}; sleep {PATIENCE}"), 2.0)])
    pid = pid_in(told)
    until(lambda: (note := read_note(tmp_path, "a1")) is not None and note.pid == pid, "its note")
    os.kill(launcher.pid, signal.SIGKILL)
    until(lambda: flock_is_free(launcher.lock_path), "the launcher's end")
    assert recovery.end_overdue(tmp_path) == 0, "it has time left"
    until(lambda: recovery.end_overdue(tmp_path) == 1, "its time to be over")
    assert gone(pid)
    assert recovery.end_overdue(tmp_path) == 0
