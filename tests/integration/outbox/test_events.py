"""`events --follow --json`: every change once, through restarts, and no gap that is not said."""

import contextlib
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.bridges import FakeBridge
from tests.fakes.streams import Generation
from tests.world.config import QUICK
from tests.world.processes import Process
from tests.world.waiting import PATIENCE, until
from tests.world.world import World
from worker.cli import events as command
from worker.cli.main import main
from worker.ledger import events
from worker.ledger.sqlite import SqliteLedger


@pytest.fixture
def bridge(bridge_of: Callable[[Generation], FakeBridge]) -> FakeBridge:
    return bridge_of("C")


def told(follower: Process) -> list[dict[str, Any]]:
    """What it has printed; of a follower that was killed the last line may be cut."""
    return [json.loads(line) for line in follower.log().rpartition("\n")[0].splitlines()]


def test_a_follower_goes_on_through_restarts_of_the_worker_and_its_own(world: World, bridge: FakeBridge) -> None:
    world.configure(world.agent(bridge, "bob"), **QUICK)
    every: list[dict[str, Any]] = []
    worker = world.start_consumer()
    until(lambda: bridge.seen("/inbox") and world.count("select count(*) from inboxes where polled_at"), "the ledger")
    for part in range(3):
        follower = world.start(
            "bus-watch", "events", "--follow", "--json", "--after", str(every[-1]["cursor"] if every else 0)
        )
        for number in range(5):
            bridge.streams.add("bob", f"{part}-{number}")
        worker.kill()
        worker.wait()
        worker = world.start_consumer()
        key = f"bob/sos:stream:global:agent:bob/{bridge.streams.add('bob', 'last')[0]}-"

        def arrived(follower: Process = follower, key: str = key) -> bool:
            return any(one["key"].startswith(key) and one["state"] == "delivered" for one in told(follower))

        until(arrived, "the end of this part")
        assert follower.stop(signal.SIGKILL if part == 1 else signal.SIGINT) in {130, -signal.SIGKILL}
        every += told(follower)
    cursors = [one["cursor"] for one in every]
    assert cursors == list(range(1, len(cursors) + 1)), "each once, in order"
    delivered = [one["key"] for one in every if (one["kind"], one["state"]) == ("message", "delivered")]
    assert len(delivered) == len(set(delivered)) == 18
    rest = json.loads("[" + ",".join(world.bus_watch("events", "--json", "--after", "0").stdout.splitlines()) + "]")
    assert rest[: len(every)] == every


def test_nobody_who_reads_ends_it(world: World, bridge: FakeBridge) -> None:
    """`events --follow --json | head -1` does not wait for one event more."""
    world.configure(world.agent(bridge, "bob"), **QUICK)
    assert world.bus_watch("run", "--once").returncode == 0
    argv = world.argv("bus-watch", "events", "--follow", "--json")
    process = subprocess.Popen(argv, env=world.env, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(PATIENCE) == 0


@pytest.fixture
def here(world: World, bridge: FakeBridge, monkeypatch: pytest.MonkeyPatch) -> World:
    """Commands in this process; the newest five events are kept."""
    world.configure(world.agent(bridge, "bob"), **QUICK)
    monkeypatch.setenv("BUS_WATCH_CONFIG", str(world.config))
    monkeypatch.setattr(events, "KEPT", 5)
    assert main(["run", "--once"]) == 0
    return world


def happen(world: World, count: int) -> None:
    """So many messages are written, and what is too old is forgotten."""
    with contextlib.closing(SqliteLedger(world.ledger)) as ledger:
        for _ in range(count):
            ledger.write(lambda tx: tx.execute("insert into events (at, sent, state) values (0, 1, 'waiting')"))
        ledger.write(lambda tx: events.forget(tx, 1000))


def said(capsys: pytest.CaptureFixture[str]) -> tuple[list[tuple[str, int]], str]:
    out, err = capsys.readouterr()
    return [(one["kind"], one["cursor"]) for one in map(json.loads, out.splitlines())], err


def test_a_cursor_older_than_what_is_kept(here: World, capsys: pytest.CaptureFixture[str]) -> None:
    happen(here, 12)
    capsys.readouterr()
    assert main(["events", "--json", "--after", "3"]) == 0
    lines, err = said(capsys)
    assert lines == [("gap", 7), *(("sent", number) for number in range(8, 13))]
    assert err == "events 4 to 7 are forgotten\n"
    assert main(["events", "--json", "--after", "7"]) == 0
    assert said(capsys) == ([("sent", number) for number in range(8, 13)], "")
    assert main(["events", "--after", "0"]) == 0
    assert "events 1 to 7 are forgotten" in capsys.readouterr().err
    assert main(["events", "--json"]) == 0
    assert said(capsys)[1] == "", "nobody had asked for older ones"
    for cursor, status in (("-1", 64), ("13", 1)):
        assert main(["events", "--json", f"--after={cursor}"]) == status


def test_a_follower_that_was_too_slow(
    here: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    happen(here, 3)
    meanwhile = iter([2, 9, 1, 0])

    def pause() -> None:
        if not (count := next(meanwhile)):
            raise KeyboardInterrupt
        happen(here, count)

    monkeypatch.setattr(command, "_pause", pause)
    capsys.readouterr()
    assert main(["events", "--follow", "--json"]) == 130
    lines, err = said(capsys)
    assert lines == [("sent", 4), ("sent", 5), ("gap", 9), *(("sent", number) for number in range(10, 16))]
    assert err == "events 6 to 9 are forgotten\n"


def test_a_ledger_that_was_put_back_ends_it(
    here: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    older = tmp_path / "older.db"
    with contextlib.closing(SqliteLedger(older)):
        pass
    happen(here, 3)
    monkeypatch.setattr(command, "_pause", lambda: older.replace(here.ledger))
    assert main(["events", "--follow", "--json"]) == 1
    assert "3 is no cursor of this ledger" in capsys.readouterr().err
