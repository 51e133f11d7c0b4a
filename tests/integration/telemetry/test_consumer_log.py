"""The log of the real consumer, started in both ways, with its flags; and what importing costs."""

import json
import signal
import subprocess
import sys

from tests.fakes.bridges import FakeBridge
from tests.world.config import QUICK
from tests.world.processes import ROOT, RUN
from tests.world.world import World

TEXT = "what the message says 4711"


def configure(world: World, bridge: FakeBridge, **more: object) -> None:
    world.env["TOK"] = bridge.add_token("bob")
    command = world.script("wake", 'echo "$SOS_MESSAGE_TEXT"; exit 1')
    transport = {"name": "wake", "command": [command], "max_attempts": 1}
    agent = {"agent": "bob", "token_env": "TOK", "bridge_url": bridge.url, "transports": [transport]}
    world.configure(agent, **QUICK, **more)


def test_json_lines_carry_the_ids_and_no_text(world: World) -> None:
    with FakeBridge("B") as bridge:
        configure(world, bridge, log_format="json")
        consumer = world.start_consumer("-g", "TERM")
        bridge.streams.add("bob", TEXT)
        consumer.wait_for_line('"state": "failed"')
        consumer.stop(signal.SIGTERM)
    lines = [json.loads(line) for line in consumer.lines()]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    [end] = [line for line in lines if line.get("state") == "dead"]
    assert end["level"] == "ERROR"
    assert {"agent", "message_id", "transport", "delivery", "attempt"} <= set(end)
    assert TEXT not in consumer.log()
    assert not [line for line in lines if line["logger"].startswith("huey")]


def test_run_without_the_environment_variable_uses_its_config(world: World) -> None:
    with FakeBridge("B") as bridge:
        configure(world, bridge)
        elsewhere = world.config.rename(world.home / "elsewhere.json")
        consumer = world.start(*RUN, "--config", str(elsewhere), "--log-format", "json")
        bridge.streams.add("bob", TEXT)
        line = consumer.wait_for_line('"state": "failed"')
        assert consumer.stop(signal.SIGTERM) == 0
    assert json.loads(line)["agent"] == "bob"


def test_verbose_tells_of_the_queue_once_and_quotes_at_debug_only(world: World) -> None:
    with FakeBridge("B") as bridge:
        configure(world, bridge)
        consumer = world.start_consumer("-v", "-g", "TERM")
        bridge.streams.add("bob", TEXT)
        consumer.wait_for_line("state=failed")
        consumer.stop(signal.SIGTERM)
    starts = [line for line in consumer.lines() if "Huey consumer started" in line]
    assert len(starts) == 1
    assert all(" DEBUG " in line for line in consumer.lines() if TEXT in line)


def test_quiet_tells_of_trouble_only(world: World) -> None:
    with FakeBridge("B") as bridge:
        configure(world, bridge)
        consumer = world.start_consumer("-q", "-g", "TERM")
        bridge.streams.add("bob", TEXT)
        consumer.wait_for_line("state=dead")
        consumer.stop(signal.SIGTERM)
    assert not [line for line in consumer.lines() if " INFO " in line]


def test_a_command_that_looks_imports_nothing_heavy(world: World) -> None:
    with FakeBridge("B") as bridge:
        configure(world, bridge, sentry_dsn="https://k@127.0.0.1/1", metrics_file=str(world.home / "m.prom"))
        assert world.bus_watch("run", "--once").returncode == 0
        code = (
            "import sys\nfrom worker.cli.main import main\nmain(sys.argv[1:])\n"
            "heavy = {'sentry_sdk', 'httpx', 'huey', 'prometheus_client'}\n"
            "print([m for m in heavy if m in sys.modules], file=sys.stderr)"
        )
        for command in ("status", "queue", "history"):
            done = subprocess.run(
                [sys.executable, "-c", code, command],
                env=world.env,
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.stderr == "[]\n", (command, done.stderr)


def test_without_a_dsn_the_worker_does_not_import_sentry(world: World) -> None:
    with FakeBridge("B") as bridge:
        configure(world, bridge)
        code = (
            "import sys\nfrom worker.app import huey\n"
            "print([m for m in ('sentry_sdk', 'prometheus_client') if m in sys.modules], file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], env=world.env, cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert done.stderr == "[]\n"
