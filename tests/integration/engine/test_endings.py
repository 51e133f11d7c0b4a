"""What an ending means, with real transports and a clock of our own."""

import threading
from itertools import pairwise
from pathlib import Path

import pytest

from tests.world.engine import running
from worker.ledger import operate
from worker.ledger.operate import Chosen

pytestmark = pytest.mark.usefixtures("either_ledger")

HOUR = 3600.0


def test_a_pane_that_is_closed_overnight_loses_nothing(tmp_path: Path) -> None:
    """Exit 69 breaks the circuit: only the head probes, no attempt is burnt, and the first success opens the lane."""
    with running(tmp_path, ordered=False, max_attempts=3) as rig:
        ids = rig.take(6)
        rig.answer(69)
        rig.pass_time(8 * HOUR)
        assert {run.split()[0] for run in rig.runs} == {ids[0]}
        assert 8 * HOUR / 300 <= len(rig.runs) <= 8 * HOUR / 150 + 10
        assert {row["burnt"] for row in rig.rows()} == {0}
        assert rig.states == ["retrying"] + ["waiting"] * 5
        assert rig.rows("select broken_since, broken_reason from lanes")[0]["broken_reason"] == "exit 69"
        rig.answer(0)
        probes = len(rig.runs)
        rig.pass_time(300.0)
        assert rig.states == ["succeeded"] * 6
        assert [run.split()[0] for run in rig.runs[probes:]] == ids
        assert rig.rows("select broken_since from lanes")[0]["broken_since"] is None


def test_held_back_is_looked_at_again_after_5_to_60_seconds(tmp_path: Path) -> None:
    with running(tmp_path, max_attempts=2) as rig:
        rig.take()
        rig.answer(75)
        times = []
        for _ in range(8):
            rig.run()
            times.append(rig.now)
            rig.now = rig.rows()[0]["next_at"]
        assert [round(later - sooner) for sooner, later in pairwise(times)] == [5, 10, 20, 40, 60, 60, 60]
        assert rig.rows()[0]["burnt"] == 0
        assert rig.rows("select broken_since from lanes")[0]["broken_since"] is None


def test_a_poison_message_blocks_its_lane_no_longer_than_its_attempts(tmp_path: Path) -> None:
    poison = "case $SOS_MESSAGE_STREAM_ID in *-0) exit 1;; esac; echo $SOS_MESSAGE_STREAM_ID >> {}"
    with running(tmp_path, script=poison.format(tmp_path / "record"), max_attempts=4) as rig:
        ids = rig.take(3)
        begun = rig.now
        rig.run()
        assert rig.states == ["retrying", "waiting", "waiting"]
        rig.pass_time(2 + 4 + 8 + 0.1)  # at most: the jitter makes it shorter
        assert rig.states == ["dead", "succeeded", "succeeded"]
        assert rig.runs == ids[1:]
        assert rig.rows()[0]["reason"].startswith("4 attempts failed; last: exit 1")
        assert rig.rows("select max(started_at) as last from attempts")[0]["last"] - begun >= (2 + 4 + 8) / 2
        assert {row["state"] for row in rig.rows("select state from messages")} == {"failed", "delivered"}


@pytest.mark.parametrize(("status", "codes"), [(64, None), (65, None), (77, None), (78, None), (3, [3])])
def test_permanent_is_dead_at_once(tmp_path: Path, status: int, codes: list[int] | None) -> None:
    extra = {"permanent_exit_codes": codes} if codes else {}
    with running(tmp_path, **extra) as rig:
        rig.take(2)
        rig.answer(status)
        rig.run()
        assert rig.states == ["dead", "dead"]
        assert len(rig.runs) == 2
        assert rig.rows()[0]["reason"] == f"exit {status}"


@pytest.mark.parametrize(("policy", "state", "runs"), [("hold", "held", 1), ("redeliver", "succeeded", 2)])
def test_unknown_is_asked_about_or_done_again(tmp_path: Path, policy: str, state: str, runs: int) -> None:
    with running(tmp_path, on_unknown=policy) as rig:
        ids = rig.take(2)
        rig.answer(76)
        rig.run()
        rig.answer(0)
        rig.pass_time(60.0)
        assert rig.runs[0] == f"{ids[0]} 1"
        if policy == "hold":  # a held head frees its lane: the second one had its own doubt
            assert rig.states == ["held", "held"]
            assert rig.runs == [f"{ids[0]} 1", f"{ids[1]} 1"]
        else:
            assert rig.states == [state, state]
            assert rig.runs == [f"{ids[0]} 1", f"{ids[0]} {runs}", f"{ids[1]} 1"]


def test_a_time_out_is_unknown(tmp_path: Path) -> None:
    with running(tmp_path, script="sleep 60", timeout=0.3, on_unknown="hold") as rig:
        rig.take()
        rig.run()
        assert rig.states == ["held"]
        assert rig.rows()[0]["reason"] == "timed out and was killed; retry it or drop it"


def test_given_up_after_days_whatever_the_reason(tmp_path: Path) -> None:
    with running(tmp_path, give_up_after=21600.0) as rig:
        rig.take(2)
        rig.answer(69)
        rig.pass_time(21600.0 + 600)
        assert rig.states == ["dead", "dead"]
        assert rig.rows()[0]["reason"] == "given up after 0.25 days; last: exit 69"
        assert {row["burnt"] for row in rig.rows()} == {0}


def test_a_clock_that_was_behind_does_not_make_messages_old(tmp_path: Path) -> None:
    """The machine came up in 1970, took a message that the bus had stamped today, and then its clock was set."""
    with running(tmp_path, give_up_after=86400.0, expires_after=3600.0) as rig:
        today, rig.now = rig.now, 1000.0
        rig.take(ms=int(today * 1000))
        rig.now = today + 1
        rig.answer(1)
        rig.due.clear()
        rig.sweep()
        rig.run()
        assert rig.states == ["retrying"]


def test_expired_is_dropped_before_it_starts_and_the_lane_goes_on(tmp_path: Path) -> None:
    with running(tmp_path, expires_after=60.0) as rig:
        rig.take(2)
        rig.due.clear()
        rig.now += 61
        late = rig.take()
        rig.sweep()
        rig.run()
        assert rig.states == ["dead", "dead", "succeeded"]
        assert rig.rows()[0]["reason"].startswith("expired")
        assert [run.split()[0] for run in rig.runs] == late
        assert {row["state"] for row in rig.rows("select state from messages")} == {"failed", "delivered"}


def test_a_head_that_met_nobody_all_night_expires_like_those_behind_it(tmp_path: Path) -> None:
    """Age decides, whatever was tried; and a backoff of an hour does not hold up the lane for longer than that."""
    with running(tmp_path, expires_after=3600.0, retry_delay=2000.0, retry_max_delay=36000.0) as rig:
        rig.take(2)
        rig.answer(69)
        rig.pass_time(3601.0)
        assert rig.states == ["dead", "dead"]
        first, second = (row["reason"] for row in rig.rows())
        assert first == "expired: too old when its turn came; last: exit 69"
        assert second == "expired: too old when its turn came"
        rig.answer(0)
        late = rig.take()
        rig.pass_time(9 * 3600.0)
        assert [run.split()[0] for run in rig.runs if run.endswith(" 1")][1:] == late
        assert rig.states == ["dead", "dead", "succeeded"]


@pytest.mark.parametrize("settings", [{"expires_after": 60.0}, {"give_up_after": 60.0}])
def test_what_a_person_asks_for_again_is_young_again(tmp_path: Path, settings: dict[str, float]) -> None:
    with running(tmp_path, **settings) as rig:
        rig.take()
        rig.answer(1)
        rig.pass_time(600.0)
        assert rig.states == ["dead"]
        message = rig.rows("select id from messages")[0]["id"]
        rig.engine.db.write(lambda tx: operate.retry(tx, message, Chosen(), rig.now))
        rig.sweep()
        rig.pass_time(1.0)
        assert rig.states == ["retrying"]
        rig.answer(0)
        rig.pass_time(30.0)
        assert rig.states == ["succeeded"]


def test_a_missing_command_is_a_bad_moment_and_a_forbidden_one_is_not(tmp_path: Path) -> None:
    program = tmp_path / "program"
    with running(tmp_path) as rig:
        transport = rig.settings.agents[0].transports[0].model_copy(update={"command": (str(program),)})
        agent = rig.settings.agents[0].model_copy(update={"transports": (transport,)})
        allowed = (*rig.settings.allowlist, str(program))
        rig.engine.lanes.settings = rig.settings.model_copy(update={"agents": (agent,), "allowlist": allowed})
        rig.take()
        rig.run()
        assert rig.states == ["retrying"]
        assert "is not a file" in rig.rows()[0]["reason"]
        program.write_text("#!/bin/sh\n")
        program.chmod(0o700)
        rig.pass_time(5.0)
        assert rig.states == ["succeeded"]
        rig.engine.lanes.settings = rig.settings.model_copy(update={"agents": (agent,)})
        rig.take()
        rig.run()
        assert rig.states == ["succeeded", "dead"]
        assert "allowlist" in rig.rows()[1]["reason"]


@pytest.mark.parametrize("ordered", [True, False])
def test_wakes_per_minute_are_limited_and_nothing_is_lost(tmp_path: Path, *, ordered: bool) -> None:
    with running(tmp_path, max_wakes_per_minute=3, ordered=ordered) as rig:
        ids = rig.take(8)
        rig.run()
        assert len(rig.runs) == 3
        assert rig.states == ["succeeded"] * 3 + ["waiting"] * 5
        assert "has had its wakes" in rig.rows()[3]["reason"]
        rig.pass_time(61.0)
        assert len(rig.runs) == 6
        rig.pass_time(61.0)
        assert [run.split()[0] for run in rig.runs] == ids
        starts = [row["started_at"] for row in rig.rows("select started_at from attempts order by started_at")]
        assert all(later - sooner >= 60 for sooner, later in zip(starts, starts[3:], strict=False))


def test_one_source_over_its_limit_holds_back_nobody_else_of_an_unordered_transport(tmp_path: Path) -> None:
    with running(tmp_path, max_wakes_per_source=2, ordered=False) as rig:
        rig.take(5, source="agent:loud")
        quiet = rig.take(2, source="agent:quiet")
        rig.run()
        assert [run.split()[0] for run in rig.runs][2:] == quiet
        rig.pass_time(130.0)
        assert rig.states == ["succeeded"] * 7


@pytest.mark.parametrize(("status", "expected"), [(1, "cancelled"), (0, "succeeded")])
def test_drop_while_it_runs_and_a_success_that_wins(tmp_path: Path, status: int, expected: str) -> None:
    script = f"touch {tmp_path}/started; while ! [ -e {tmp_path}/go ]; do sleep 0.02; done; exit {status}"
    with running(tmp_path, script=script) as rig:
        rig.take()
        message = rig.rows("select id from messages")[0]["id"]
        write = rig.engine.db.write
        assert write(lambda tx: operate.drop(tx, message, Chosen(), rig.now))[0].done
        assert rig.states == ["cancelled"]
        assert write(lambda tx: operate.retry(tx, message, Chosen(), rig.now))[0].done
        rig.due.clear()
        rig.sweep()
        thread = threading.Thread(target=rig.run)
        thread.start()
        while not (tmp_path / "started").exists():
            thread.join(0.02)
        assert not write(lambda tx: operate.retry(tx, message, Chosen(), rig.now))[0].done
        assert write(lambda tx: operate.drop(tx, message, Chosen(), rig.now))[0].done
        (tmp_path / "go").touch()
        thread.join()
        assert rig.states == [expected]
