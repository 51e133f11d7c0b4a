"""The metrics file: written by the real consumer, read back by Prometheus's own parser."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.bridges import FakeBridge
from tests.world.config import QUICK
from tests.world.processes import ROOT
from tests.world.waiting import until
from tests.world.world import World
from worker.ledger import intake
from worker.ledger.sqlite import SqliteLedger
from worker.settings import AgentSettings, Settings
from worker.telemetry.metrics import MetricsFile


def read(path: Path) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(path.read_text())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(path: Path, name: str, **labels: str) -> float | None:
    return read(path).get((name, frozenset(labels.items()))) if path.exists() else None


def configure(world: World, bridge: FakeBridge, commands: dict[str, str], **more: Any) -> None:
    world.env["TOK"] = bridge.add_token("bob")
    transports = [
        {"name": name, "command": [command], "max_attempts": 1 if name == "bad" else 20}
        for name, command in commands.items()
    ]
    agent = {"agent": "bob", "token_env": "TOK", "bridge_url": bridge.url, "transports": transports}
    world.configure(agent, **QUICK, **more)


def test_the_file_tells_backlog_results_latency_dead_letters_lanes_and_poll_age(world: World, tmp_path: Path) -> None:
    path = tmp_path / "out" / "bus-watch.prom"
    path.parent.mkdir()
    commands = {"good": "/bin/true", "bad": "/bin/false", "gone": world.script("gone", "exit 69")}
    with FakeBridge("B") as bridge:
        configure(world, bridge, commands, metrics_file=str(path))
        for n in range(3):
            bridge.streams.add("bob", f"m{n}")
        consumer = world.start_consumer("-g", "TERM")
        try:
            until(
                lambda: (
                    value(path, "bus_watch_attempts_total", agent="bob", transport="good", result="success") == 3
                    and value(path, "bus_watch_dead_letters", agent="bob", transport="bad") == 3
                ),
                "counted",
                60,
            )
        finally:
            consumer.stop(signal.SIGTERM)
    lane = {"agent": "bob", "transport": "good"}
    assert value(path, "bus_watch_backlog", **lane) == 0
    assert value(path, "bus_watch_oldest_waiting_seconds", **lane) == 0
    assert value(path, "bus_watch_wake_latency_seconds_count", **lane) == 3
    assert value(path, "bus_watch_wake_latency_seconds_bucket", **lane, le="+Inf") == 3
    assert value(path, "bus_watch_lane_state", **lane, state="working") == 1
    assert value(path, "bus_watch_attempts_total", agent="bob", transport="bad", result="transient") == 3
    gone = {"agent": "bob", "transport": "gone"}
    assert value(path, "bus_watch_backlog", **gone) == 3
    assert (value(path, "bus_watch_oldest_waiting_seconds", **gone) or 0) > 0
    assert value(path, "bus_watch_deliveries", **gone, state="retrying") == 1
    assert value(path, "bus_watch_lane_state", **gone, state="broken") == 1
    assert value(path, "bus_watch_lane_state", **gone, state="working") == 0
    age = value(path, "bus_watch_poll_age_seconds", agent="bob")
    assert age is not None
    assert 0 <= age < 30
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_screens_that_no_profile_explains_are_counted_by_agent_and_version(world: World, tmp_path: Path) -> None:
    path = tmp_path / "bus-watch.prom"
    says = (
        "deferred %3 (codex 0.172.0, measured on 0.171.0): unknown: the codex profile finds no input box at the cursor"
    )
    with FakeBridge("B") as bridge:
        configure(
            world, bridge, {"drifted": world.script("drifted", f"echo '{says}' >&2; exit 75")}, metrics_file=str(path)
        )
        bridge.streams.add("bob", "4711")
        consumer = world.start_consumer("-g", "TERM")
        try:
            unknown = {"ui": "codex", "version": "0.172.0"}
            until(lambda: (value(path, "bus_watch_unknown_screens_total", **unknown) or 0) >= 2, "counted again", 60)
        finally:
            consumer.stop(signal.SIGTERM)
    assert "input box" not in path.read_text()


def test_a_file_that_cannot_be_written_is_told_once_and_stops_nothing(world: World, tmp_path: Path) -> None:
    with FakeBridge("B") as bridge:
        configure(world, bridge, {"good": "/bin/true"}, metrics_file=str(tmp_path / "nowhere" / "m.prom"))
        consumer = world.start_consumer("-g", "TERM")
        consumer.wait_for_line("metrics_file")
        bridge.streams.add("bob", "text")
        consumer.wait_for_line("state=delivered")
        consumer.stop(signal.SIGTERM)
    assert consumer.log().count("metrics_file") == 1


def test_an_exporter_may_read_each_file_that_it_meets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service units set UMask=0077; the exporter runs as somebody else."""
    path, replaced, modes = tmp_path / "m.prom", Path.replace, []

    def replace(self: Path, target: Path) -> Path:
        modes.append(stat.S_IMODE(self.stat().st_mode))
        return replaced(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    database = SqliteLedger(tmp_path / "ledger.db")
    database.write(lambda tx: intake.ensure_inbox(tx, "bob", 0))
    before = os.umask(0o077)
    try:
        agents = (AgentSettings(agent="bob", transports=()),)
        MetricsFile(Settings(agents=agents, metrics_file=str(path)), database).write()
    finally:
        os.umask(before)
        database.close()
    assert modes == [0o644]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert value(path, "bus_watch_poll_age_seconds", agent="bob") == -1


def test_without_the_extra_the_error_names_it(world: World, tmp_path: Path) -> None:
    with FakeBridge("B") as bridge:
        configure(world, bridge, {"good": "/bin/true"}, metrics_file=str(tmp_path / "m.prom"))
        code = "import sys; sys.modules['prometheus_client'] = None\nfrom worker.app import huey"
        done = subprocess.run(
            [sys.executable, "-c", code], env=world.env, cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "bus-watch: metrics_file needs an extra; install it with: pip install 'bus-watch[metrics]'\n"
