"""The log of the real consumer, started in both ways, with its flags; and what importing costs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.bridges import FakeBridge
from tests.fakes.homes import ROOT, Home

TEXT = "what the message says 4711"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def configure(home: Home, bridge: FakeBridge, **more: object) -> None:
    home.environment["TOK"] = bridge.add_token("bob")
    command = home.script("wake", 'echo "$SOS_MESSAGE_TEXT"; exit 1')
    transport = {"name": "wake", "command": [command], "max_attempts": 1}
    home.configure([{"agent": "bob", "token_env": "TOK", "bridge_url": bridge.url, "transports": [transport]}], **more)


def test_json_lines_carry_the_ids_and_no_text(home: Home) -> None:
    with FakeBridge("B") as bridge:
        configure(home, bridge, log_format="json")
        consumer = home.consumer("-g", "TERM")
        bridge.streams.add("bob", TEXT)
        consumer.wait_for_line('"state": "failed"')
        consumer.stop()
    lines = [json.loads(line) for line in consumer.lines]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    [end] = [line for line in lines if line.get("state") == "dead"]
    assert end["level"] == "ERROR"
    assert {"agent", "message_id", "transport", "delivery", "attempt"} <= set(end)
    assert TEXT not in consumer.output
    assert not [line for line in lines if line["logger"].startswith("huey")]


def test_run_without_the_environment_variable_uses_its_config(home: Home) -> None:
    with FakeBridge("B") as bridge:
        configure(home, bridge)
        home.environment["BUS_WATCH_CONFIG"] = ""
        consumer = home.start("-m", "worker.cli.main", "run", "--config", str(home.config), "--log-format", "json")
        bridge.streams.add("bob", TEXT)
        line = consumer.wait_for_line('"state": "failed"')
        assert consumer.stop() == 0
    assert json.loads(line)["agent"] == "bob"


def test_verbose_tells_of_the_queue_once_and_quotes_at_debug_only(home: Home) -> None:
    with FakeBridge("B") as bridge:
        configure(home, bridge)
        consumer = home.consumer("-v", "-g", "TERM")
        bridge.streams.add("bob", TEXT)
        consumer.wait_for_line("state=failed")
        consumer.stop()
    starts = [line for line in consumer.lines if "Huey consumer started" in line]
    assert len(starts) == 1
    assert all(" DEBUG " in line for line in consumer.lines if TEXT in line)


def test_quiet_tells_of_trouble_only(home: Home) -> None:
    with FakeBridge("B") as bridge:
        configure(home, bridge)
        consumer = home.consumer("-q", "-g", "TERM")
        bridge.streams.add("bob", TEXT)
        consumer.wait_for_line("state=dead")
        consumer.stop()
    assert not [line for line in consumer.lines if " INFO " in line]


def test_a_command_that_looks_imports_nothing_heavy(home: Home) -> None:
    with FakeBridge("B") as bridge:
        configure(home, bridge, sentry_dsn="https://k@127.0.0.1/1", metrics_file=str(home.path / "m.prom"))
        assert home.run("run", "--once").returncode == 0
        code = (
            "import sys\nfrom worker.cli.main import main\nmain(sys.argv[1:])\n"
            "heavy = {'sentry_sdk', 'httpx', 'huey', 'prometheus_client'}\n"
            "print([m for m in heavy if m in sys.modules], file=sys.stderr)"
        )
        for command in ("status", "queue", "history"):
            done = subprocess.run(
                [sys.executable, "-c", code, command],
                env=home.env,
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.stderr == "[]\n", (command, done.stderr)


def test_without_a_dsn_the_worker_does_not_import_sentry(home: Home) -> None:
    with FakeBridge("B") as bridge:
        configure(home, bridge)
        code = (
            "import sys\nfrom worker.app import huey\n"
            "print([m for m in ('sentry_sdk', 'prometheus_client') if m in sys.modules], file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], env=home.env, cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert done.stderr == "[]\n"
