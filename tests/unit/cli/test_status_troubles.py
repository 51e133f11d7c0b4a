"""Each line of `status` that begins with `!`: what makes it appear, that the exit status follows, and that it goes."""

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from tests.fakes.inbox import message
from tests.unit.cli.conftest import Desk, try_head
from worker import __version__
from worker.configuration import load
from worker.delivery import Ending
from worker.ledger import disk, intake, upkeep
from worker.ledger.sqlite import SqliteLedger
from worker.transports.locks import hold_lock, worker_lock

Change = Callable[[Any], object]


def timeless(sentences: Iterable[str]) -> set[str]:
    """Without the spans in them, which grow."""
    return {re.sub(r"\d+(\.\d+)? (s|min|h)\b", "a while", sentence) for sentence in sentences}


class Scene:
    """A ledger with a worker that lives, whose configuration is today's, and an inbox that is polled."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        settings = load(desk.config)
        settings.files_dir.mkdir(mode=0o700)
        self.lock = hold_lock(worker_lock(settings.files_dir, "w"))
        self.db = SqliteLedger(settings.ledger_file)
        self.names = [transport.name for transport in settings.agents[0].transports]
        self.write(self._fill)

    def _fill(self, tx: Any) -> None:
        now = time.time()
        upkeep.register_worker(tx, "w", pid=77, boot_id="b", version=__version__, kind="consumer", now=now - 900)
        upkeep.note_sweep(tx, "w", now)
        upkeep.note_health(tx, "w", "ok")
        upkeep.note_serves(tx, "w", {"bob": self.names}, (), time.time())
        intake.ensure_inbox(tx, "bob", 0)
        tx.execute("update inboxes set polled_at = ?", (now,))

    def write(self, change: Change) -> None:
        self.db.write(change)

    def sql(self, statement: str, *values: object) -> None:
        self.write(lambda tx: tx.execute(statement, values))

    def problems(self) -> list[str]:
        """What `status` finds; the exit status and the text agree with it."""
        said = self.desk.run("status", "--json")
        problems: list[str] = said.json["problems"]
        assert said.status == (1 if problems else 0)
        shown = self.desk.run("status").out
        assert shown.count("\n! ") == len(problems)
        assert all(len(line) <= 80 for line in shown.splitlines() if line.startswith(("! ", "  ")))
        checks = self.desk.run("doctor", "--offline", "--json").json["checks"]
        assert timeless(problems) <= timeless(check["text"] for check in checks), "doctor finds them, too"
        return problems

    def says(self, part: str) -> None:
        (problem,) = self.problems()
        assert part in problem

    def says_in_status(self, part: str) -> None:
        """What `doctor` says in words of its own."""
        said = self.desk.run("status", "--json")
        (problem,) = said.json["problems"]
        assert said.status == 1
        assert part in problem

    def is_healthy(self) -> None:
        assert self.problems() == []

    def close(self) -> None:
        self.db.close()
        os.close(self.lock)


@pytest.fixture
def scene(empty_desk: Desk) -> Iterator[Scene]:
    made = Scene(empty_desk)
    made.is_healthy()
    yield made
    made.close()


NOW_AND_AGAIN: list[tuple[str, str, str]] = [
    ("update workers set swept_at = started_at", "has not swept since", "update workers set swept_at = unixepoch()"),
    ("update workers set health = 'no sweep for 60 s'", "no sweep for 60 s", "update workers set health = 'ok'"),
    (
        "update workers set version = '0.9'",
        "is version 0.9, installed is",
        f"update workers set version = '{__version__}'",
    ),
    (
        "update workers set config_error = 'agents.0: no'",
        "the configuration is refused, that of before is in force: agents.0: no",
        "update workers set config_error = null",
    ),
    (
        "update workers set needs_restart = 'workers'",
        "workers changed in the configuration: restart it",
        "update workers set needs_restart = null",
    ),
    (
        "update inboxes set bus_ahead = -5.0",
        "the bus's clock is 5 s behind ours",
        "update inboxes set bus_ahead = 4.9",
    ),
    (
        "update inboxes set bus_ahead = 7200.0",
        "the bus's clock is 2 h ahead of ours",
        "update inboxes set bus_ahead = 0.0",
    ),
    (
        "update inboxes set floor_ms = (unixepoch() + 86400) * 1000",
        "its inbox begins",
        "update inboxes set floor_ms = 0",
    ),
    (
        "update inboxes set malformed = 2, malformed_at = unixepoch() - 600",
        "2 entries of its inbox skipped as no message, 10 min ago",
        "update inboxes set malformed_at = malformed_at - 3600",
    ),
    (
        "insert into unknown_screens values ('codex', '0.172.0', 3, unixepoch() - 600, unixepoch())",
        "codex 0.172.0: 3 screens since 10 min ago that its profile does not explain",
        "update unknown_screens set last_at = unixepoch() - 3601",
    ),
    (
        "insert into unknown_screens values ('codex channel', '0.172.0', 3, unixepoch() - 600, unixepoch())",
        "codex 0.172.0: its channel was not as it was measured, 3 times since 10 min ago",
        "update unknown_screens set last_at = unixepoch() - 3601",
    ),
    (
        "update inboxes set failures = 9, error = 'nobody answers', failing_since = unixepoch() - 120",
        "no mail for 2 min: nobody answers",
        "update inboxes set failures = 0, error = null, failing_since = null",
    ),
    (
        "update inboxes set polled_at = unixepoch() - 181",
        "no mail for 3 min: the bus has begun an answer and does not end it",
        "update inboxes set polled_at = unixepoch() - 170",
    ),
]


@pytest.mark.parametrize(("breaks", "says", "mends"), NOW_AND_AGAIN, ids=lambda words: words[:40])
def test_a_line_comes_and_goes(scene: Scene, breaks: str, says: str, mends: str) -> None:
    scene.sql(breaks)
    scene.says(says)
    scene.sql(mends)
    scene.is_healthy()


LANES: list[tuple[str, str, str]] = [
    (
        "update lanes set broken_since = unixepoch() - 120, broken_reason = 'exit 69'",
        "nobody there since 2 min (exit 69); messages wait",
        "update lanes set broken_since = null",
    ),
    (
        "update lanes set transport = 'gone-' || transport",
        "not configured any more, and messages wait for it: configure it again, or drop them",
        "update lanes set transport = substr(transport, 6)",
    ),
    (
        "update deliveries set state = 'held', ended_at = unixepoch()",
        "1 held: nobody knows whether they were done",
        "update deliveries set state = 'succeeded'",
    ),
    (
        "update deliveries set state = 'dead', ended_at = unixepoch()",
        "1 dead: bus-watch queue says why",
        "update deliveries set state = 'succeeded'",
    ),
]


@pytest.mark.parametrize(("breaks", "says", "mends"), LANES, ids=lambda words: words[:40])
def test_a_line_of_a_lane_comes_and_goes(scene: Scene, breaks: str, says: str, mends: str) -> None:
    _waiting(scene, 10)
    scene.is_healthy()
    scene.sql(breaks)
    scene.says(says)
    scene.sql(mends)
    scene.is_healthy()


def test_a_pause_that_was_forgotten_is_said(scene: Scene) -> None:
    _waiting(scene, 200)
    scene.sql("update lanes set paused = 1")
    scene.is_healthy()
    scene.sql("update messages set received_at = received_at - 200")
    scene.says(f"bob {scene.names[0]}: paused, and 1 message waits, 7 min: bus-watch resume {scene.names[0]}")
    scene.desk.run("resume", scene.names[0])
    scene.says("stuck for 7 min")


def test_an_agent_without_a_transport_is_said(scene: Scene) -> None:
    document = json.loads(scene.desk.config.read_text())
    scene.desk.config.write_text(json.dumps(document | {"transports": []}))
    scene.write(lambda tx: upkeep.note_serves(tx, "w", {"bob": []}, (), time.time()))
    scene.says_in_status("agent bob: no transport is configured, so it is not polled")
    scene.desk.config.write_text(json.dumps(document))
    scene.write(lambda tx: upkeep.note_serves(tx, "w", {"bob": scene.names}, (), time.time()))
    scene.is_healthy()


def test_a_disk_that_is_nearly_full_is_said(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    free = disk.free_bytes
    monkeypatch.setattr(disk, "free_bytes", lambda _: 9 * 2**20)
    scene.says_in_status("only 9 MiB free on the ledger's disk: new mail will wait on the bus")
    assert "FAIL disk" in scene.desk.run("doctor", "--offline").out
    monkeypatch.setattr(disk, "free_bytes", free)
    scene.is_healthy()


def test_a_transport_that_nobody_ends_is_said(scene: Scene) -> None:
    _waiting(scene, 10)
    scene.sql(
        "insert into attempts (id, delivery, lane, starts, worker, boot_id, source, started_at, timeout) "
        "select 'a', id, lane, 1, 'w', 'b', 'bus', unixepoch() - 35, 30 from deliveries"
    )
    scene.sql("update deliveries set state = 'running', attempt_id = 'a', starts = 1")
    scene.is_healthy()
    scene.sql("update attempts set started_at = started_at - 30")
    scene.says("longer than its time-out: its worker hangs, or is stopped")
    scene.sql("update attempts set ended_at = unixepoch(), result = 'exit 0'")
    scene.sql("update deliveries set state = 'succeeded', ended_at = unixepoch()")
    scene.is_healthy()


@pytest.mark.parametrize("code", ["bus-unauthorized", "bus-identity", "token"])
def test_a_refused_token_is_said_at_the_second_refusal(scene: Scene, code: str) -> None:
    def refuse(tx: Any) -> None:
        intake.poll_failed(tx, "bob", time.time(), "the token is refused", 1.0, code=code)

    scene.write(refuse)
    scene.is_healthy()
    scene.write(refuse)
    scene.says("the token is refused")
    later = time.time() + 3.0
    answered = {"malformed": 0, "brought": False, "next_poll_at": later, "next_request_at": later}
    scene.write(lambda tx: intake.poll_answered(tx, "bob", time.time(), **answered))  # type: ignore[arg-type]
    scene.is_healthy()


def test_what_the_running_worker_does_not_know_is_said(scene: Scene) -> None:
    document = json.loads(scene.desk.config.read_text())
    scene.write(lambda tx: upkeep.note_serves(tx, "w", {"bob": scene.names[1:], "eve": ["t"]}, (), time.time()))
    problems = scene.problems()
    assert [problem.partition(":")[0] for problem in problems] == ["eve", "bob"]
    assert scene.names[0] in problems[1]
    assert all("bus-watch reload" in problem for problem in problems)
    scene.write(lambda tx: upkeep.note_serves(tx, "w", {"bob": scene.names}, (), time.time()))
    scene.is_healthy()
    agents = [
        {"agent": name, "token_env": "NO", "transports": [{"name": n, "command": ["/bin/true"]} for n in scene.names]}
        for name in ("bob", "new")
    ]
    scene.desk.config.write_text(json.dumps({"agents": agents} | {k: document[k] for k in ("state_path", "allowlist")}))
    scene.says("new: in the configuration, but the running worker does not know it")


def _waiting(scene: Scene, age: float) -> int:
    """One message came so long ago; its lane."""
    came = time.time() - age
    scene.write(lambda tx: intake.take_in(tx, "bob", [message(5)], lambda _: (None, [scene.names[0]]), came))
    return 1


def _attempt(scene: Scene, code: int, at: float) -> None:
    def run(tx: Any) -> None:
        tx.execute("update deliveries set next_at = null")
        try_head(tx, 1, Ending("exit", code), at)

    scene.write(run)


@pytest.mark.parametrize(("code", "why"), [(75, "exit 75"), (1, "failed 1 time: exit 1"), (None, "nobody has tried")])
def test_a_head_that_does_not_move_is_said(scene: Scene, code: int | None, why: str) -> None:
    _waiting(scene, 200)
    if code is not None:
        _attempt(scene, code, time.time() - 150)
    scene.is_healthy()
    scene.sql("update messages set received_at = received_at - 101")
    scene.says(why)
    (problem,) = scene.problems()
    assert "stuck for 5 min" in problem
    assert "bus-watch show bob/5-0" in problem
    _attempt(scene, 0, time.time())
    scene.is_healthy()


def test_each_transport_says_how_long_is_too_long(scene: Scene) -> None:
    _waiting(scene, 400)
    scene.says("stuck for 7 min")
    document = json.loads(scene.desk.config.read_text())
    document["transports"][0]["stuck_after"] = "10m"
    scene.desk.config.write_text(json.dumps(document))
    scene.is_healthy()


def test_a_head_that_has_just_come_up_is_not_stuck(scene: Scene) -> None:
    """It waited behind others for an hour: they moved."""
    scene.write(
        lambda tx: intake.take_in(
            tx, "bob", [message(5), message(6)], lambda _: (None, [scene.names[0]]), time.time() - 3600
        )
    )
    scene.says("stuck for 60 min")
    _attempt(scene, 0, time.time() - 10)
    scene.is_healthy()


def test_the_oldest_that_waits_is_always_shown(scene: Scene) -> None:
    assert "oldest:" not in scene.desk.run("status").out
    _waiting(scene, 125)
    said = scene.desk.run("status")
    assert f"oldest: bob/5-0 to {scene.names[0]}, for 2 min" in said.out.splitlines()
    assert said.status == 0
    assert scene.desk.run("status", "--json").json["oldest_waiting"] == {"key": "bob/5-0", "transport": scene.names[0]}


def test_without_a_worker_the_bus_is_not_called_well(scene: Scene) -> None:
    os.close(scene.lock)
    try:
        said = scene.desk.run("status")
        assert said.status == 2
        assert "bus: unknown, no worker asks it" in said.out
        assert "bus: ok" not in said.out
    finally:
        scene.lock = hold_lock(worker_lock(load(scene.desk.config).files_dir, "w"))
