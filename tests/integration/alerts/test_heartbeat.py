"""The dead man's switch: beats that follow sweeps, and the check-ins of a Sentry monitor."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import sentry_sdk

from tests.fakes.push import UUID, FakePush
from tests.fakes.sentry import FakeSentry
from tests.world.waiting import until
from worker.alert_settings import AlertSettings
from worker.alerts.heartbeat import Heartbeat
from worker.secret import Secret
from worker.settings import AgentSettings, Settings
from worker.telemetry.sentry import SentryReporter


def settings(**alerts: object) -> Settings:
    return Settings(
        agents=(AgentSettings(agent="bob"),),
        sentry_dsn="https://key@sentry.invalid/1",
        alerts=AlertSettings(**alerts),
    )


@pytest.fixture
def push() -> Iterator[FakePush]:
    with FakePush() as server:
        yield server


def test_it_beats_while_there_are_sweeps_and_no_oftener(push: FakePush, tmp_path: Path) -> None:
    (tmp_path / "ping").write_text(f"{push.url}/ping/{UUID}\n")
    heart = Heartbeat(settings(heartbeat_url_file=str(tmp_path / "ping"), heartbeat_every=3600))
    for _ in range(100):
        heart.swept()
    push.wait_for(1)
    heart.configured(settings(heartbeat_url_file=str(tmp_path / "ping"), heartbeat_every=1800))
    for _ in range(100):
        heart.swept()
    assert [one.path for one in push.wait_for(2)] == [f"/ping/{UUID}"] * 2


def test_a_service_that_is_down_is_said_once_and_holds_no_sweep_up(
    push: FakePush, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "ping").write_text(f"{push.url}/ping/{UUID}\n")
    heart = Heartbeat(settings(heartbeat_url_file=str(tmp_path / "ping"), heartbeat_every=5))

    def beat() -> None:
        heart._due = 0.0
        heart.swept()

    push.gate.clear()
    beat()
    push.wait_begun(1)
    beat()  # the first still hangs
    push.status = 503
    push.gate.set()
    push.wait_begun(2)
    beat()
    push.wait_begun(3)
    push.status = 0
    until(lambda: "does not get through: HTTP 503" in caplog.text, "it is said")
    beat()
    push.wait_for(1)
    until(lambda: "gets through again" in caplog.text, "its end is said")
    assert caplog.text.count("does not get through") == 1
    assert not [one for one in caplog.records if one.name.startswith("bus_watch") and UUID in one.getMessage()]


def test_without_a_configuration_there_is_no_thread() -> None:
    heart = Heartbeat(settings())
    heart.swept()
    assert heart._thread is None


def test_a_sentry_monitor_is_checked_in_at(push: FakePush) -> None:
    with FakeSentry() as ingest:
        SentryReporter(Secret(ingest.dsn), "test")
        try:
            Heartbeat(settings(sentry_monitor="bus-watch", heartbeat_every=90)).beat()
            sentry_sdk.flush(5)
        finally:
            sentry_sdk.get_client().close()
            sentry_sdk.get_global_scope().set_client(None)
        found = [item.json for envelope in ingest.envelopes for item in envelope.items if item.type == "check_in"]
    (check_in,) = found
    assert (check_in["monitor_slug"], check_in["status"]) == ("bus-watch", "ok")
    assert check_in["monitor_config"]["schedule"] == {"type": "interval", "value": 2, "unit": "minute"}
    assert ingest.problems == []
