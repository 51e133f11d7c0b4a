"""Events as a real ingest would get them: from the real consumer, each trouble once, and nothing of a message."""

import json
import logging
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk
from huey.registry import Message

from tests.fakes.bridges import FakeBridge
from tests.fakes.sentry import FakeSentry, NoEnvelopeError, parse
from tests.world.config import QUICK
from tests.world.waiting import until
from tests.world.world import World
from worker import __version__
from worker.bus.errors import UnauthorizedError
from worker.delivery import Meaning, State
from worker.errors import ConfigError
from worker.ledger.errors import LedgerFullError
from worker.secret import Secret
from worker.telemetry.observer import Ended
from worker.telemetry.sentry import DEAD_LETTERS_AN_HOUR, FAULTS_AN_HOUR, SentryReporter

TOKEN = "sentry-canary/token+88=="
ENDED = "select id from attempts where ended_at is not null"
TEXT = "what the message says 4711"


@pytest.fixture
def ingest() -> Iterator[FakeSentry]:
    with FakeSentry() as sentry:
        yield sentry
        assert sentry.problems == []


@pytest.fixture
def reporter(ingest: FakeSentry) -> Iterator[SentryReporter]:
    Secret(TOKEN)
    yield SentryReporter(Secret(ingest.dsn), "test")
    sentry_sdk.get_client().close(timeout=5)
    sentry_sdk.get_global_scope().set_client(None)


def configure(world: World, bridge: FakeBridge, command: str, **more: Any) -> None:
    world.env["TOK"] = bridge.add_token("bob", token=TOKEN)
    retries = {"retry_delay": 0.1, "retry_max_delay": 0.2, "max_attempts": 3}
    transports = [{"name": "wake", "command": [command], **retries}]
    agent = {"agent": "bob", "token_env": "TOK", "bridge_url": bridge.url, "transports": transports}
    world.configure(agent, **QUICK, **more)


def states(world: World) -> list[str]:
    return [state for (state,) in world.rows("select state from messages order by id")]


def test_an_episode_is_reported_once_and_a_dead_letter_once(world: World, tmp_path: Path, ingest: FakeSentry) -> None:
    with FakeBridge("B") as bridge:
        works = tmp_path / "works"
        script = world.script("wake", f'echo "{TOKEN}: $SOS_MESSAGE_TEXT"; test -e {works}')
        configure(world, bridge, script, sentry_dsn=ingest.dsn, sentry_environment="proof")
        consumer = world.start_consumer("-g", "TERM")
        try:
            for n in range(2):
                bridge.streams.add("bob", f"{TEXT} {n}")
            until(lambda: states(world) == ["failed"] * 2, "both dead")
            works.touch()
            bridge.streams.add("bob", TEXT)
            until(lambda: states(world)[2:] == ["delivered"], "one done")
            works.unlink()
            bridge.streams.add("bob", TEXT)
            ingest.wait_for(5)
        finally:
            consumer.stop(signal.SIGTERM)
    events = ingest.events()
    assert [e["message"] for e in events] == [
        "wake for bob began to fail: exit 1",
        "dead letter: wake for bob: exit 1",
        "dead letter: wake for bob: exit 1",
        "wake for bob began to fail: exit 1",
        "dead letter: wake for bob: exit 1",
    ]
    assert {e["release"] for e in events} == {f"bus-watch@{__version__}"}
    assert {e["environment"] for e in events} == {"proof"}
    assert {e["tags"]["transport"] for e in events} == {"wake"}
    assert events[0]["fingerprint"] == ["failing", "bob", "wake"]
    written = b"".join(ingest.raw).decode()
    assert TEXT not in written
    assert TOKEN not in written
    assert "Traceback" not in consumer.log()


def test_what_a_worker_with_sentry_stored_runs_without_it(world: World, tmp_path: Path, ingest: FakeSentry) -> None:
    with FakeBridge("B") as bridge:
        script = world.script("wake", f"test -e {tmp_path}/works")
        configure(world, bridge, script, sentry_dsn=ingest.dsn)
        consumer = world.start_consumer("-g", "TERM")
        bridge.streams.add("bob", TEXT)
        ingest.wait_for(1)
        consumer.stop(signal.SIGTERM)
        with closing(sqlite3.connect(f"file:{tmp_path}/.sos/state-queue.db?mode=ro", uri=True)) as queue:
            stored = [
                bytes(row[0]) for table in ("task", "schedule") for row in queue.execute(f"select data from {table}")
            ]
        assert not any(b"sentry" in data for data in stored)
        (tmp_path / "works").touch()
        configure(world, bridge, script)
        consumer = world.start_consumer("-g", "TERM")
        try:
            until(lambda: states(world) == ["delivered"] or states(world) == ["failed"], "an end")
        finally:
            consumer.stop(signal.SIGTERM)
    assert "Traceback" not in consumer.log()


def test_a_restart_in_the_middle_of_an_episode_reports_nothing_again(
    world: World, tmp_path: Path, ingest: FakeSentry
) -> None:
    with FakeBridge("B") as bridge:
        configure(world, bridge, world.script("wake", "exit 69"), sentry_dsn=ingest.dsn)
        bridge.streams.add("bob", TEXT)
        for wanted in (2, 4):
            consumer = world.start_consumer("-g", "TERM")
            try:
                until(lambda: len(world.rows(ENDED)) >= wanted, "more attempts")  # noqa: B023 - called at once
            finally:
                consumer.stop(signal.SIGTERM)
    assert [e["message"] for e in ingest.events()] == ["wake for bob began to fail: exit 69"]


def test_the_death_of_the_launcher_is_reported(world: World, tmp_path: Path, ingest: FakeSentry) -> None:
    with FakeBridge("B") as bridge:
        configure(world, bridge, "/bin/true", sentry_dsn=ingest.dsn)
        world.env["BUS_WATCH_FAULT_STEP"] = "launcher.before_receipt_write:kill"
        consumer = world.start_consumer("-g", "TERM")
        bridge.streams.add("bob", TEXT)
        try:
            [event, *_] = ingest.wait_for(1)
            status = consumer.wait(30)  # by itself
        finally:
            consumer.stop(signal.SIGTERM)
    assert event["level"] == "fatal"
    assert event["fingerprint"] == ["launcher-died"]
    assert status == 1


def test_trouble_with_the_ledger_is_reported(world: World, tmp_path: Path, ingest: FakeSentry) -> None:
    with FakeBridge("B") as bridge:
        configure(world, bridge, "/bin/true", sentry_dsn=ingest.dsn)
        consumer = world.start_consumer("-g", "TERM")
        try:
            until(lambda: bridge.seen("/inbox"), "a poll")
            with closing(sqlite3.connect(world.ledger, timeout=30)) as db, db:
                db.execute("drop table imported")
            bridge.streams.add("bob", TEXT)
            ingest.wait_for(1)
        finally:
            consumer.stop(signal.SIGTERM)
    events = ingest.events()
    assert {e["tags"]["code"] for e in events} == {"ledger"}
    assert TEXT not in b"".join(ingest.raw).decode()


def test_a_fault_of_a_task_is_reported_without_its_arguments(world: World, tmp_path: Path, ingest: FakeSentry) -> None:
    with FakeBridge("B") as bridge:
        configure(world, bridge, "/bin/true", sentry_dsn=ingest.dsn)
        consumer = world.start_consumer("-g", "TERM")
        try:
            until(lambda: bridge.seen("/inbox"), "a poll")
            fields = dict.fromkeys(Message._fields) | {
                "name": "tasks.finalize.finalize",
                "retries": 0,
                "retry_delay": 0,
            }
            with closing(sqlite3.connect(world.queue, timeout=30)) as queue, queue:
                for number in range(FAULTS_AN_HOUR + 2):
                    task = fields | {
                        "id": str(number),
                        "args": [1, TEXT],
                        "kwargs": {"sentry_headers": {}},
                        "priority": 200,
                    }
                    row = ("bus-watch", json.dumps({"task": task}).encode(), 200)
                    queue.execute("insert into task (queue, data, priority) values (?, ?, ?)", row)
            until(lambda: consumer.log().count("TypeError") == FAULTS_AN_HOUR + 2, "all have failed")
        finally:
            consumer.stop(signal.SIGTERM)
    events = ingest.events()
    assert len(events) == FAULTS_AN_HOUR
    assert {e["exception"]["values"][-1]["type"] for e in events} == {"TypeError"}
    assert {e["transaction"] for e in events} == {"finalize"}
    assert events[0]["extra"]["huey-job"]["args"] == "[Filtered]"
    assert TEXT not in b"".join(ingest.raw).decode()
    assert TEXT not in consumer.log()


def test_an_unknown_screen_is_reported_once_an_hour_for_each_version_without_a_word_of_it(
    world: World, ingest: FakeSentry
) -> None:
    says = f"deferred %3 (codex 0.172.0): unknown: the codex profile finds no input box at the cursor {TEXT}"
    with FakeBridge("B") as bridge:
        configure(world, bridge, world.script("drifted", f"echo '{says}' >&2; exit 75"), sentry_dsn=ingest.dsn)
        bridge.streams.add("bob", TEXT)
        consumer = world.start_consumer("-g", "TERM")
        try:
            ingest.wait_for(1)
            unknown = "select sum(count) from unknown_screens"
            until(lambda: (world.rows(unknown)[0][0] or 0) >= 3, "it was seen again", 60)
        finally:
            consumer.stop(signal.SIGTERM)
    (event,) = [one for one in ingest.events() if one["fingerprint"][0] == "unknown-screen"]
    assert event["message"] == "codex 0.172.0 shows a screen that its profile does not explain"
    assert event["tags"] | {"ui": "codex", "ui_version": "0.172.0"} == event["tags"]
    assert TEXT not in b"".join(ingest.raw).decode()


def test_an_expired_delivery_is_a_dead_letter(reporter: SentryReporter, ingest: FakeSentry) -> None:
    reporter.expired("bob", "wake", "1-0")
    sentry_sdk.flush(5)
    [event] = ingest.wait_for(1)
    assert event["message"] == "dead letter: wake for bob: expired"


def test_a_fault_is_sent_without_locals_tokens_or_foreign_words(reporter: SentryReporter, ingest: FakeSentry) -> None:
    for error in (
        UnauthorizedError(f"401 for Bearer {TOKEN}"),
        ValueError(f"cannot read {TEXT}"),
    ):
        local_name = TEXT + TOKEN
        try:
            assert local_name
            raise error
        except (UnauthorizedError, ValueError):
            logging.getLogger("bus_watch.x").warning("with %s", TOKEN)
            sentry_sdk.capture_exception()
    sentry_sdk.flush(5)
    known, foreign = ingest.wait_for(2)
    assert known["exception"]["values"][0]["value"] == "401 for Bearer ***"
    assert foreign["exception"]["values"][0]["type"] == "ValueError"
    assert foreign["exception"]["values"][0]["value"].startswith("(withheld")
    frames = [f for e in (known, foreign) for v in e["exception"]["values"] for f in v["stacktrace"]["frames"]]
    assert frames
    assert not any("vars" in frame for frame in frames)
    assert [crumb["message"] for crumb in foreign["breadcrumbs"]["values"]] == ["with ***", "with ***"]
    written = b"".join(ingest.raw).decode()
    assert TOKEN not in written
    assert TEXT not in written
    assert "request" not in known


def test_a_fault_that_repeats_is_not_a_flood(reporter: SentryReporter, ingest: FakeSentry) -> None:
    for n in range(20):
        try:
            json.loads(f"no json {n}")
        except ValueError:
            sentry_sdk.capture_exception()
        reporter.trouble(LedgerFullError("the disk is full"))
    for delivery in range(DEAD_LETTERS_AN_HOUR + 10):
        reporter.ended(
            Ended("bob", "wake", "1-0", delivery, 1, Meaning.PERMANENT, "exit 64", State.DEAD, began_failing=True)
        )
    sentry_sdk.flush(5)
    expected = 2 * FAULTS_AN_HOUR + DEAD_LETTERS_AN_HOUR
    assert len(ingest.wait_for(expected)) == expected


def test_a_dsn_that_is_none_is_an_error_with_the_fix() -> None:
    with pytest.raises(ConfigError, match="https://KEY@HOST/PROJECT"):
        SentryReporter(Secret("nonsense"), None)


@pytest.mark.parametrize(
    "body",
    [
        b"no json\n",
        b'{"event_id": "a"}\n{"length": 2}\n{}\n',
        b'{"event_id": "a"}\n{"type": "event", "length": 50}\n{}\n',
        b'{"event_id": "a"}\n{"type": "event", "length": 1}\n{}\n',
        b'{"event_id": "a"}\n{"type": "event", "length": 17}\n{"event_id": "b"}\n',
    ],
)
def test_the_fake_ingest_refuses_what_is_no_envelope(body: bytes) -> None:
    with pytest.raises(NoEnvelopeError):
        parse(body)
