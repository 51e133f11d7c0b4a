"""`bus-watch install` on a configuration that is there, and `bus-watch agent`: what was not asked for stays."""

import json
import plistlib
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.terminals import private_terminal
from tests.world.installation import install
from tests.world.waiting import PATIENCE
from tests.world.world import World

THERE: dict[str, Any] = {
    "agent": "bob",
    "token_file": "~/.sos/token",
    "project": "sos",
    "bridge_url": "https://bus.example/bridge",
    "limit": 25,
    "state_path": "~/elsewhere/seen.json",
    "allowlist": ["/bin/echo", "/bin/cat"],
    "transports": [
        {"name": "log", "command": ["/bin/cat"], "stdin": True},
        {"name": "tmux", "command": ["/bin/echo", "{text}"], "timeout": 7},
    ],
}


@pytest.fixture
def place(tmp_path: Path) -> World:
    return install(tmp_path)


def written(place: World) -> Any:
    return json.loads(place.config.read_text())


def test_install_changes_what_was_asked_for(place: World) -> None:
    place.write_config(json.dumps(THERE))
    options = ("install", "--agent", "bob", "--token-file", "~/.sos/new", "--tmux", "codex")
    shown = place.bus_watch(*options)
    assert shown.returncode == 1
    assert '-  "token_file": "~/.sos/token",' in shown.stdout.splitlines()
    assert written(place) == THERE, "not without --force"
    done = place.bus_watch(*options, "--force")
    assert done.returncode == 0, done.stderr
    submitter = str(place.bin / "wake")
    after = written(place)
    assert after.pop("token_file") == "~/.sos/new"
    assert after.pop("allowlist") == ["/bin/echo", "/bin/cat", submitter]
    log, tmux = after.pop("transports")
    assert log == THERE["transports"][0]
    assert (tmux["command"][0], tmux["command"][-1], tmux["timeout"]) == (submitter, "codex", 7)
    assert after == {key: value for key, value in THERE.items() if key in after}
    again = place.bus_watch(*options)
    assert (again.returncode, "nothing to do" in again.stdout) == (0, True)


def test_one_key_needs_no_token_again(place: World) -> None:
    place.write_config(json.dumps(THERE))
    done = place.bus_watch("install", "--agent", "bob", "--project", "other", "--force")
    assert done.returncode == 0, done.stderr
    assert written(place) == THERE | {"project": "other"}


def test_another_agent_never_takes_the_place(place: World) -> None:
    place.write_config(json.dumps(THERE))
    done = place.bus_watch("install", "--agent", "alice", "--token-file", "~/t", "--force")
    assert done.returncode == 1
    assert "bus-watch agent add alice" in done.stderr
    assert written(place) == THERE


def test_one_of_several_agents_is_changed(place: World) -> None:
    agents = [{"agent": "bob", "token_file": "~/b"}, {"agent": "alice", "token": "canary-1", "project": "a"}]
    rest = {"limit": 5, "allowlist": ["/bin/echo"], "transports": [{"name": "x", "command": ["/bin/echo"]}]}
    place.write_config(json.dumps({"agents": agents, **rest}))
    options = ("install", "--agent", "alice", "--token-file", "~/a", "--transport", "y=/bin/cat", "--force")
    done = place.bus_watch(*options)
    assert done.returncode == 0, done.stderr
    assert "canary-1" not in done.stdout
    after = written(place)
    assert after["agents"][0] == agents[0]
    transports = [{"name": "x", "command": ["/bin/echo"]}, {"name": "y", "command": ["/bin/cat"]}]
    assert after["agents"][1] == {"agent": "alice", "project": "a", "token_file": "~/a", "transports": transports}
    assert after["transports"] == rest["transports"]


def test_agents_come_and_go_without_an_editor(place: World) -> None:
    place.write_config(json.dumps(THERE))
    tried = place.bus_watch("agent", "add", "alice", "--token-file", "~/a", "--tmux", "al", "--dry-run")
    assert tried.returncode == 0, tried.stderr
    assert '+      "agent": "alice",' in tried.stdout.splitlines()
    assert written(place) == THERE
    assert place.bus_watch("agent", "add", "alice", "--token-file", "~/a", "--tmux", "al").returncode == 0
    listed = place.json("agent", "list")["agents"]
    assert [(one["agent"], one["project"], one["transports"]) for one in listed] == [
        ("bob", "sos", ["log", "tmux"]),
        ("alice", "sos", ["tmux"]),
    ]
    assert written(place)["agents"][0]["transports"] == THERE["transports"]
    assert stat.S_IMODE(place.config.stat().st_mode) == 0o600
    assert "alice" in place.bus_watch("agent", "list").stdout
    twice = place.bus_watch("agent", "add", "alice", "--token-file", "~/a")
    assert (twice.returncode, "has alice already" in twice.stderr) == (1, True)
    mistyped = place.bus_watch("agent", "remove", "alcie")
    assert (mistyped.returncode, "did you mean alice?" in mistyped.stderr) == (64, True)
    gone = place.json("agent", "remove", "alice")
    assert gone["removed"] == "alice"
    assert [one["agent"] for one in place.json("agent", "list")["agents"]] == ["bob"]
    last = place.bus_watch("agent", "remove", "bob")
    assert (last.returncode, "only agent" in last.stderr) == (64, True)
    assert "did you mean add?" in place.bus_watch("agent", "ad", "x").stderr


def test_commands_at_once_lose_no_agent(place: World) -> None:
    """Each reads the configuration and writes it whole: one that read too early would take another's agent away."""
    place.write_config(json.dumps(THERE))
    token = str(place.home / "token")
    names = [f"agent{number}" for number in range(6)]
    running = [place.start("bus-watch", "agent", "add", name, "--token-file", token) for name in names]
    assert [one.wait(PATIENCE) for one in running] == [0] * len(names), place.log()
    assert sorted(agent["agent"] for agent in written(place)["agents"]) == [*names, "bob"]


def test_register_makes_the_token(place: World) -> None:
    place.write_config(json.dumps(THERE | {"bridge_url": "http://localhost:6380"}))
    done = place.bus_watch("agent", "add", "carol", "--register", "--transport", "y=/bin/cat")
    assert done.returncode == 0, done.stderr
    token = place.config.with_name("carol.token")
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert token.read_text().strip() not in done.stdout + done.stderr
    assert [one["name"] for one in place.json("bus", "--list-agents")["agents"]] == ["carol"]
    place.write_config(json.dumps(THERE))
    far = place.bus_watch("agent", "add", "dora", "--register")
    assert (far.returncode, "is another" in far.stderr) == (64, True)
    assert not place.config.with_name("dora.token").exists()


def test_a_panes_id_is_bound_to_its_session(place: World) -> None:
    options = ("install", "--agent", "bob", "--token-file", "~/t", "--dry-run")
    with private_terminal() as terminal:
        pane = terminal.session("codex", "sleep", "100")
        done = place.bus_watch(*options, "--tmux", pane, env={"TMUX": f"{terminal.socket},1,0"})
        assert done.returncode == 0, done.stderr
        assert '"codex"' in done.stdout
        assert f'"{pane}"' not in done.stdout
        gone = place.bus_watch(*options, "--tmux", "%99", env={"TMUX": f"{terminal.socket},1,0"})
    assert (gone.returncode, "give the session's name" in gone.stderr) == (64, True)


@pytest.mark.parametrize(
    ("said", "written"),
    [("-dash", "-dash"), ("=x", "=x"), ("$1", "$1:"), ("%0:", "%0:"), ("%77", "%77:"), ("a b", "a b")],
)
def test_an_odd_sessions_name_is_bound_to_it(place: World, said: str, written: str) -> None:
    options = ("install", "--agent", "bob", "--token-file", "~/t")
    with private_terminal() as terminal:
        environment = {"TMUX": f"{terminal.socket},1,0"}
        terminal.session(said.rstrip(":"), "sleep", "100")
        done = place.bus_watch(*options, "--tmux", said, env=environment)
        assert done.returncode == 0, done.stderr
        command = json.loads(place.config.read_text())["transports"][0]["command"]
        assert command[command.index("-t") + 1] == written
        assert "no tmux session" not in place.bus_watch("doctor", "--offline").stdout


def test_a_sessions_name_that_tmux_changes_is_said(place: World) -> None:
    options = ("install", "--agent", "bob", "--token-file", "~/t", "--dry-run")
    with private_terminal() as terminal:
        terminal.session("a:b", "sleep", "100")
        environment = {"TMUX": f"{terminal.socket},1,0"}
        for said, words in (("my.app", "is called 'my_app'"), ("a:b", "is called 'a_b'")):
            done = place.bus_watch(*options, "--tmux", said, env=environment)
            assert (done.returncode, words in done.stderr) == (64, True), done.stderr


def test_a_new_ledger_is_warned_of(place: World) -> None:
    place.write_config(json.dumps(THERE | {"state_path": "~/.sos/seen.json"}))
    shutil.copy(_ledger_of_bob(place), place.config.with_name("seen.db"))
    fine = place.bus_watch("doctor", "--offline")
    assert "is a new ledger" not in fine.stdout
    place.write_config(json.dumps(THERE | {"state_path": "~/.sos/other.json"}))
    doctor = place.bus_watch("doctor", "--offline")
    install_again = place.bus_watch("install", "--agent", "bob", "--project", "other", "--force")
    for said in (doctor.stdout, install_again.stderr):
        assert "is a new ledger, and takes the messages of the last 24 h" in said
        assert str(place.config.with_name("seen.db")) in said


def _ledger_of_bob(place: World) -> Path:
    from worker.ledger import intake
    from worker.ledger.sqlite import SqliteLedger

    path = place.home / "made.db"
    database = SqliteLedger(path)
    database.write(lambda tx: intake.ensure_inbox(tx, "bob", 0))
    database.close()
    return path


def test_after_uninstall_the_same_command_works_again(place: World) -> None:
    options = (
        "install",
        "--agent",
        "bob",
        "--token-file",
        "~/.sos/t",
        "--tmux",
        "x",
        "--systemd",
        "--launchd",
        "--procfile",
    )
    command = (*options, "--bus")

    def run() -> subprocess.CompletedProcess[str]:
        return place.bus_watch(*command)

    for ending in ("uninstall", "uninstall --purge"):
        first = run()
        assert first.returncode == 0, first.stdout + first.stderr
        gone = place.bus_watch(*ending.split())
        assert gone.returncode == 0, gone.stderr
        again = run()
        assert again.returncode == 0, again.stdout + again.stderr
    purged = place.bus_watch("uninstall", "--purge").stdout
    assert f"left {place.config.with_name('t')}" in purged
    assert f"left {place.config.with_name('bus.db')}" in purged


@pytest.mark.parametrize("service", ["--systemd", "--launchd"])
def test_the_bus_is_a_service_of_its_own(place: World, service: str) -> None:
    options = ("install", "--agent", "bob", "--token-file", "~/.sos/t", "--tmux", "x", service, "--bus")
    done = place.bus_watch(*options)
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(place.config.with_name("t").stat().st_mode) == 0o600
    folder, bus, worker = {
        "--systemd": (".config/systemd/user", "bus-watch-bus.service", "bus-watch.service"),
        "--launchd": ("Library/LaunchAgents", "com.bus-watch-bus.plist", "com.bus-watch.bob.plist"),
    }[service]
    files = {path.name: path.read_text() for path in (place.home / folder).iterdir()}
    assert set(files) == {bus, worker}
    assert str(place.bin / "bus-watch") in files[bus]
    assert bus not in files[worker], "the worker is tied to nothing"
    assert bus in done.stdout
    there = place.bus_watch("install", service, "--bus")
    assert (there.returncode, "nothing to do" in there.stdout) == (0, True)
    assert place.bus_watch("uninstall").returncode == 0
    assert list((place.home / folder).iterdir()) == []


def test_launchd_finds_the_folder_of_its_log(place: World) -> None:
    """It starts no job whose StandardErrorPath it cannot open."""
    place.write_config(json.dumps(THERE | {"state_path": "~/far/away/state.json"}))
    assert place.bus_watch("install", "--launchd", "--dry-run").returncode == 0
    assert not (place.home / "far").exists()
    done = place.bus_watch("install", "--launchd")
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE((place.home / "far" / "away").stat().st_mode) == 0o700
    (job,) = (place.home / "Library/LaunchAgents").glob("*.plist")
    assert Path(plistlib.loads(job.read_bytes())["StandardErrorPath"]).parent.is_dir()
    assert f"launchctl kickstart -k gui/$(id -u)/{job.stem}" in done.stdout


def test_doctor_refuses_a_panes_id(place: World) -> None:
    submitter = str(place.bin / "wake")
    tmux = {"name": "tmux", "command": [submitter, "-t", "%0"], "stdin": True}
    place.write_config(json.dumps(THERE | {"allowlist": [submitter], "transports": [tmux]}))
    assert "FAIL transport tmux of bob: %0 is an id" in place.bus_watch("doctor", "--offline").stdout
    for target, words in (("my.app", "FAIL transport tmux of bob: tmux changes"), ("%0:", "no tmux session '%0' now")):
        tmux["command"] = [submitter, "--from-bus", "-t", target]
        place.write_config(json.dumps(THERE | {"allowlist": [submitter], "transports": [tmux]}))
        assert words in place.bus_watch("doctor", "--offline").stdout


def test_nothing_is_written_where_everybody_can_change_it(place: World) -> None:
    place.config.parent.mkdir()
    place.config.parent.chmod(0o777)
    done = place.bus_watch("install", "--agent", "bob", "--token-file", "~/t", "--tmux", "x")
    assert (done.returncode, f"chmod o-w {place.config.parent}" in done.stderr) == (1, True)
    assert not place.config.exists()
