"""The task that polls: each inbox that is due is handed out once, and one poll that fails ends no thread."""

from pathlib import Path
from typing import cast

import pytest

from tasks import poll
from worker.engine.polling import Poller
from worker.ledger.sweep_signal import stamp
from worker.runtime.due import PollsDue, SweepDue
from worker.runtime.huey import WatchHuey
from worker.runtime.storage import WakeupStorage
from worker.telemetry.observer import Observer


class Broken:
    def clock(self) -> float:
        return 0.0

    def poll(self, _agent: str, **_how: object) -> None:
        raise ZeroDivisionError


class Noted(Observer):
    def __init__(self) -> None:
        self.crashes: list[Exception] = []

    def crashed(self, error: Exception) -> None:
        self.crashes.append(error)


def test_a_poll_that_fails_as_nobody_foresaw_is_told_and_comes_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    polls, noted = PollsDue(["a"]), Noted()
    file = str(tmp_path / "queue.db")
    huey = WatchHuey(lambda: WakeupStorage(filename=file), polls=polls, sweeps=SweepDue(lambda: stamp(tmp_path)))
    hand_out = poll.register(huey, polls, cast("Poller", Broken()), noted, lambda: None)
    hand_out()
    hand_out()
    assert huey.polls_to_make.get(0.0) == "a"
    assert not huey.polls_to_make
    huey.poll_inbox("a")
    assert [type(error) for error in noted.crashes] == [ZeroDivisionError]
    assert "the poll of a failed" in caplog.text
    assert 0 < polls.seconds_until() < 600
