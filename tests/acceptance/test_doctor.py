"""`bus-watch doctor` names what would really fail, as a process, against a bridge."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.bridges import FakeBridge
from tests.world.installation import install
from tests.world.world import World
from worker.cli.main import main


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> World:
    return install(tmp_path_factory.mktemp("doctor"))


@pytest.fixture(scope="module")
def bridge() -> Iterator[FakeBridge]:
    with FakeBridge("C") as bridge:
        yield bridge


@pytest.fixture
def good(place: World, bridge: FakeBridge) -> dict[str, Any]:
    """A configuration in which nothing is wrong; a test breaks one thing in it."""
    shutil.rmtree(place.home)
    sos = place.home / ".sos"
    sos.mkdir(parents=True, mode=0o700)
    token = sos / "token"
    token.write_text(bridge.add_token("bob") + "\n")
    token.chmod(0o600)
    return {
        "agent": "bob",
        "token_file": "~/.sos/token",
        "bridge_url": bridge.url,
        "state_path": "~/.sos/bus-watch-state.json",
        "allowlist": ["/bin/echo", "/bin/sh"],
        "transports": [{"name": "log", "command": ["/bin/echo", "woken", "{text}"]}],
    }


def examine(place: World, config: dict[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
    place.write_config(json.dumps(config))
    return place.bus_watch("doctor", *options)


def test_a_good_configuration(place: World, good: dict[str, Any], bridge: FakeBridge) -> None:
    before = len(bridge.seen("/inbox"))
    done = examine(place, good)
    assert done.stdout.splitlines()[-1] == "OK config valid", done.stdout
    assert (done.returncode, done.stderr) == (0, "")
    assert len(bridge.seen("/inbox")) == before + 1
    assert sorted(p.name for p in (place.home / ".sos").iterdir()) == ["bus-watch.json", "token"], (
        "it changed something"
    )


def test_a_unit_that_does_not_wait_for_the_longest_transport(place: World, good: dict[str, Any]) -> None:
    place.write_config(json.dumps(good))
    assert place.bus_watch("install", "--systemd").returncode == 0
    unit = place.home / ".config" / "systemd" / "user" / "bus-watch.service"
    assert f" -t 35\nExecReload={place.argv('bus-watch')[0]} reload\n" in unit.read_text()
    assert "note unit" not in examine(place, good, "--offline").stdout
    good["transports"][0]["timeout"] = 60
    done = examine(place, good, "--offline")
    assert done.returncode == 0
    assert f"note unit: {unit} waits 35 s for what runs, bob log may take 60 s" in done.stdout
    assert place.bus_watch("install", "--systemd", "--force").returncode == 0
    assert "note unit" not in examine(place, good, "--offline").stdout
    good["transports"][0]["timeout"] = 600
    assert "bus-watch install --systemd --force" in examine(place, good, "--offline").stdout
    assert place.bus_watch("install", "--systemd", "--force").returncode == 0
    assert "; units wait 100 s at most" in examine(place, good, "--offline").stdout


def test_offline_asks_nobody(place: World, good: dict[str, Any], bridge: FakeBridge) -> None:
    before = len(bridge.requests)
    assert examine(place, good, "--offline").returncode == 0
    assert len(bridge.requests) == before


def missing_executable(config: dict[str, Any], place: World) -> None:
    config["transports"][0]["command"][0] = "/opt/wake"
    config["allowlist"].append("/opt/wake")


def unknown_placeholder(config: dict[str, Any], place: World) -> None:
    config["transports"][0]["command"].append("{txt}")


def attribute_of_a_placeholder(config: dict[str, Any], place: World) -> None:
    config["transports"][0]["command"].append("{text.upper}")


def wrong_token(config: dict[str, Any], place: World) -> None:
    (place.home / ".sos" / "token").write_text("not-the-token\n")


def missing_token(config: dict[str, Any], place: World) -> None:
    (place.home / ".sos" / "token").unlink()


def token_of_somebody_else(config: dict[str, Any], place: World) -> None:
    config["agent"] = "alice"


def dead_bus(config: dict[str, Any], place: World) -> None:
    config["bridge_url"] = "http://127.0.0.1:1"


def readable_token(config: dict[str, Any], place: World) -> None:
    (place.home / ".sos" / "token").chmod(0o644)


def limit_zero(config: dict[str, Any], place: World) -> None:
    config["limit"] = 0


def negative_interval(config: dict[str, Any], place: World) -> None:
    config["poll_interval"] = -1


def not_on_the_allowlist(config: dict[str, Any], place: World) -> None:
    config["allowlist"] = ["/usr/bin/tmux"]


def no_transport(config: dict[str, Any], place: World) -> None:
    config["transports"] = []


def text_in_a_script(config: dict[str, Any], place: World) -> None:
    config["transports"][0]["command"] = ["/bin/sh", "-c", "echo {text}"]


def in_the_clear(config: dict[str, Any], place: World) -> None:
    config["bridge_url"] = "http://bus.example.org:6380"


def misspelt_key(config: dict[str, Any], place: World) -> None:
    config["poll_intervall"] = 3


def ledger_of_the_future(config: dict[str, Any], place: World) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(place.home / ".sos" / "bus-watch-state.db")) as db:
        db.execute("pragma user_version = 99")


def ledger_that_is_none(config: dict[str, Any], place: World) -> None:
    (place.home / ".sos" / "bus-watch-state.db").write_text(
        "this is no database, and long enough to be seen as none" * 40
    )


BROKEN: list[tuple[Callable[[dict[str, Any], World], None], str, str]] = [
    (missing_executable, "FAIL transport log of bob", "'/opt/wake' is not a file"),
    (unknown_placeholder, "FAIL config", "{txt} is no placeholder; did you mean {text}?"),
    (attribute_of_a_placeholder, "FAIL config", "write {text} alone"),
    (wrong_token, "FAIL bus of bob", "token"),
    (missing_token, "FAIL token of bob", "No such file"),
    (token_of_somebody_else, "FAIL bus of alice", "another agent"),
    (dead_bus, "FAIL bus of bob", "Nobody answers"),
    (readable_token, "FAIL token file of bob", "chmod 600"),
    (limit_zero, "FAIL config", "limit"),
    (negative_interval, "FAIL config", "poll_interval"),
    (not_on_the_allowlist, "FAIL transport log of bob", "not on the allowlist"),
    (no_transport, "FAIL transport of bob", "there is none"),
    (text_in_a_script, "FAIL transport log of bob", "{text} would be read as code by sh"),
    (in_the_clear, "FAIL config", "in the clear"),
    (misspelt_key, "FAIL config", "did you mean 'poll_interval'?"),
    (ledger_of_the_future, "FAIL ledger", "upgrade bus-watch"),
    (ledger_that_is_none, "FAIL ledger", "no SQLite file"),
]


@pytest.mark.parametrize(("break_it", "check", "reason"), BROKEN, ids=[case[0].__name__ for case in BROKEN])
def test_names_what_is_wrong(
    place: World,
    good: dict[str, Any],
    break_it: Callable[[dict[str, Any], World], None],
    check: str,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process: the others show that it is one of its own."""
    break_it(good, place)
    place.write_config(json.dumps(good))
    monkeypatch.setenv("HOME", str(place.home))
    status = main(["doctor"])
    said, _ = capsys.readouterr()
    failures = [line for line in said.splitlines() if line.startswith("FAIL")]
    assert status == 1
    assert failures[-1] == "FAIL 1 problem(s)", said
    assert failures[0].startswith(check), failures[0]
    assert reason in failures[0], failures[0]
    assert Path(said.splitlines()[-2].rpartition(": ")[2]).read_text().startswith("# Runbook")


def test_no_configuration_at_all(place: World, good: dict[str, Any]) -> None:
    place.config.unlink(missing_ok=True)
    done = place.bus_watch("doctor")
    assert done.returncode == 1
    assert "does not exist; write one with: bus-watch install" in done.stdout


def test_json_says_the_same(place: World, good: dict[str, Any]) -> None:
    no_transport(good, place)
    done = examine(place, good, "--json")
    said = json.loads(done.stdout)
    assert (said["ok"], said["problems"], done.returncode) == (False, 1, 1)
    failed = [check for check in said["checks"] if check["state"] == "FAIL"]
    assert [(check["check"], check["agent"]) for check in failed] == [("transport", "bob")]


@pytest.mark.alone
def test_an_old_watcher_that_still_runs(place: World, good: dict[str, Any], tmp_path: Path) -> None:
    old = tmp_path / "old" / "mumega-bus-watch"
    old.parent.mkdir(exist_ok=True)
    old.write_text(f"#!{sys.executable}\nimport time\nprint('up', flush=True)\ntime.sleep(600)\n")
    old.chmod(0o755)
    running = subprocess.Popen([str(old), "run"], stdout=subprocess.PIPE)
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        done = examine(place, good)
        assert f"FAIL old watcher: process {running.pid} is one: stop it (kill {running.pid})" in done.stdout
    finally:
        running.kill()
        running.communicate()


def test_an_old_watcher_that_will_start_again(place: World, good: dict[str, Any]) -> None:
    agents = place.home / "Library" / "LaunchAgents"
    agents.mkdir(parents=True)
    (agents / "com.mumega.bus-watch.plist").write_text(
        "<array><string>/bin/zsh</string><string>-lc</string>"
        "<string>~/.sos/bus-watch-venv/bin/mumega-bus-watch run</string></array>"
    )
    done = examine(place, good)
    assert "launchctl bootout gui/$(id -u)/com.mumega.bus-watch" in done.stdout
    assert done.returncode == 1


def test_messages_from_the_future(place: World, good: dict[str, Any], bridge: FakeBridge) -> None:
    with FakeBridge("C") as other:
        good["bridge_url"] = other.url
        token = (place.home / ".sos" / "token").read_text().strip()
        other.add_token("bob", token=token)
        other.streams.add("bob", "from tomorrow", ms=int((time.time() + 86400) * 1000))
        done = examine(place, good)
    assert "FAIL bus of bob: it holds messages from the future" in done.stdout


@pytest.mark.parametrize("seconds", [600, 10])
def test_a_clock_that_is_wrong(
    place: World, good: dict[str, Any], monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """From 5 s on, as in `status`."""
    monkeypatch.setattr(
        BaseHTTPRequestHandler, "date_time_string", lambda *_: formatdate(time.time() - seconds, usegmt=True)
    )
    done = examine(place, good)
    said = re.search(r"^FAIL clock: ours is (\d+) s ahead of the one at ", done.stdout, re.MULTILINE)
    assert said, done.stdout
    assert seconds <= int(said[1]) < seconds + 10


def test_a_session_that_is_not_there_is_no_failure(place: World, good: dict[str, Any], tmp_path: Path) -> None:
    submitter = str(place.bin / "send-message")
    good["allowlist"].append(submitter)
    socket = str(tmp_path / "socket")
    good["transports"] = [
        {"name": "tmux", "command": [submitter, "--from-bus", "-t", "codex", "--socket-path", socket], "stdin": True}
    ]
    done = examine(place, good)
    assert "note transport tmux of bob: there is no tmux session 'codex' now" in done.stdout
    assert done.stdout.splitlines()[-1] == "OK config valid"
