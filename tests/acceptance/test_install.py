"""`bus-watch install` and `uninstall`, as a person meets them."""

import json
import plistlib
import pwd
import re
import shlex
import stat
from pathlib import Path

import pytest

from tests.world.world import World
from worker.configuration import load
from worker.install import systemd

TOKEN = "canary-9f86d081884c7d65"
AGENT = ("install", "--agent", "bob", "--token-stdin")
SERVICES = ("--systemd", "--launchd", "--procfile")


@pytest.fixture
def place(installation: World) -> World:
    return installation


def everything(home: Path) -> dict[str, str]:
    return {str(p.relative_to(home)): p.read_text() for p in sorted(home.rglob("*")) if p.is_file()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_one_command_from_nothing_to_a_configuration_that_doctor_likes(place: World) -> None:
    done = place.bus_watch(*AGENT, "--tmux", "codex", "--project", "sos", stdin=f"{TOKEN}\n")
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    config = json.loads(place.config.read_text())
    assert (config["agent"], config["project"], config["limit"], config["poll_interval"]) == ("bob", "sos", 10, 3)
    submitter = str(place.bin / "wake")
    assert config["allowlist"] == [submitter]
    assert config["transports"] == [
        {"name": "tmux", "command": [submitter, "-t", "codex"], "stdin": True, "on_unknown": "hold", "reply_hint": True}
    ]
    assert Path(config["token_file"]).read_text() == f"{TOKEN}\n"
    assert mode(place.config) == mode(Path(config["token_file"])) == 0o600
    assert mode(place.config.parent) == 0o700
    assert TOKEN not in place.config.read_text()
    checked = place.bus_watch("doctor", "--offline")
    assert checked.stdout.splitlines()[-1] == "OK config valid", checked.stdout


def test_the_starter_wakes_nobody_and_says_so(place: World) -> None:
    done = place.bus_watch(*AGENT, stdin=TOKEN)
    assert "Nothing is woken yet" in done.stderr
    config = json.loads(place.config.read_text())
    assert config["transports"] == [{"name": "echo", "command": ["/bin/echo", "{text}"]}]
    assert config["allowlist"] == ["/bin/echo"]


def test_transports_of_ones_own(place: World) -> None:
    given = "wake=/bin/echo 'two words' {text}"
    assert place.bus_watch(*AGENT, "--transport", given, "--tmux", "a{b}", "--from", "2h", stdin=TOKEN).returncode == 0
    config = json.loads(place.config.read_text())
    assert config["transports"][1] == {"name": "wake", "command": ["/bin/echo", "two words", "{text}"]}
    assert config["transports"][0]["command"][-1] == "a{{b}}", "braces of a session's name are no placeholder"
    assert config["start_from"] == "2h"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--agent", "bob"), "say where the token is"),
        (("--token-file", "t"), "say --agent NAME"),
        (("--agent", "bob", "--token-file", "t", "--transport", "wake=echo {text}"), "is not an absolute path"),
        (("--agent", "bob", "--token-file", "t", "--transport", "/bin/echo"), "write NAME="),
        (("--agent", "bob", "--token-env", "T", "--systemd"), "which a service does not have"),
        (("--agent", "bob", "--token-file", "t", "--system"), "go with --systemd"),
        (("--agent", "bob", "--token-file", "t", "--systemd", "--system"), "--user NAME"),
    ],
)
def test_what_makes_no_sense(place: World, options: tuple[str, ...], reason: str) -> None:
    done = place.bus_watch("install", *options)
    assert (done.returncode, done.stdout) == (64, "")
    assert reason in done.stderr
    assert everything(place.home) == {}


def test_what_the_settings_refuse_is_not_written(place: World) -> None:
    for options in (
        ("--bridge-url", "http://far.example"),
        ("--from", "yesterday"),
        ("--transport", "a=/bin/echo {txt}"),
    ):
        done = place.bus_watch(*AGENT, *options, stdin=TOKEN)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert everything(place.home) == {}


def test_again_is_nothing_and_another_is_a_diff(place: World) -> None:
    place.bus_watch(*AGENT, *SERVICES, stdin=TOKEN)
    before = everything(place.home)
    again = place.bus_watch(*AGENT, *SERVICES, stdin=TOKEN)
    assert "nothing to do" in again.stdout
    assert again.returncode == 0
    assert everything(place.home) == before

    other = place.bus_watch(*AGENT, *SERVICES, "--project", "x", stdin="other-token")
    assert other.returncode == 1
    assert '+  "project": "x"' in other.stdout.splitlines()
    assert "--force" in other.stderr
    assert "other-token" not in other.stdout
    assert TOKEN not in other.stdout
    assert everything(place.home) == before

    forced = place.bus_watch(*AGENT, *SERVICES, "--project", "x", "--force", stdin="other-token")
    assert forced.returncode == 0
    assert json.loads(place.config.read_text())["project"] == "x"
    assert place.config.with_suffix(".token").read_text() == "other-token\n"


def test_a_second_agent_is_told_the_two_ways(place: World) -> None:
    place.bus_watch(*AGENT, stdin=TOKEN)
    done = place.bus_watch("install", "--agent", "alice", "--token-stdin", stdin=TOKEN)
    assert done.returncode == 1
    own = place.home / ".sos" / "bus-watch-alice.json"
    assert f"--config {own}" in done.stderr
    assert "bus-watch agent add alice" in done.stderr
    assert (
        place.bus_watch(
            "install", "--agent", "alice", "--token-stdin", "--config", str(own), "--procfile", stdin=TOKEN
        ).returncode
        == 0
    )
    assert json.loads(own.read_text())["state_path"].endswith("bus-watch-alice-state.json")


def test_a_configuration_that_is_replaced_keeps_its_ledger(place: World) -> None:
    place.config.parent.mkdir(mode=0o700)
    for old, kept in (
        ({"state_path": "~/elsewhere/seen.json"}, "~/elsewhere/seen.json"),
        ({}, "~/.sos/bus-watch-state.json"),
    ):
        place.config.write_text(json.dumps({"agent": "bob", "token_file": "t", **old}))
        assert place.bus_watch(*AGENT, "--tmux", "codex", "--force", stdin=TOKEN).returncode == 0
        assert load(place.config).state_path == kept


def test_a_token_written_into_the_old_file_is_never_shown(place: World) -> None:
    place.config.parent.mkdir(mode=0o700)
    place.config.write_text(json.dumps({"agent": "bob", "token": TOKEN}))
    done = place.bus_watch(*AGENT, stdin="new-token")
    assert done.returncode == 1
    assert TOKEN not in done.stdout + done.stderr
    assert "new-token" not in done.stdout + done.stderr


def test_dry_run_prints_and_writes_nothing(place: World) -> None:
    done = place.bus_watch(*AGENT, *SERVICES, "--dry-run", stdin=TOKEN)
    assert done.returncode == 0
    assert everything(place.home) == {}
    for piece in ('"agent": "bob"', "KillMode=process", "AbandonProcessGroup", "huey_consumer worker.app.huey"):
        assert piece in done.stdout
    assert TOKEN not in done.stdout


def test_services_for_the_configuration_that_is_there(place: World) -> None:
    place.bus_watch(*AGENT, stdin=TOKEN)
    before = place.config.read_text()
    done = place.bus_watch("install", *SERVICES)
    assert done.returncode == 0, done.stderr
    assert place.config.read_text() == before
    unit = (place.home / ".config/systemd/user/bus-watch.service").read_text()
    stop = systemd.stop_seconds([30])  # the default time-out of a transport
    assert f"ExecStart={place.bin}/huey_consumer worker.app.huey -g TERM -t {stop}\n" in unit
    assert f'Environment="BUS_WATCH_CONFIG={place.config}"\n' in unit
    plist = plistlib.loads((place.home / "Library/LaunchAgents/com.bus-watch.bob.plist").read_bytes())
    assert plist["ProgramArguments"][0] == str(place.bin / "huey_consumer")
    line = (place.home / ".sos/Procfile").read_text()
    assert shlex.split(line.partition(": ")[2])[:3] == [
        "env",
        f"BUS_WATCH_CONFIG={place.config}",
        f"{place.bin}/huey_consumer",
    ]


def test_a_credential_instead_of_a_file(place: World) -> None:
    secret = place.home / "secret"
    done = place.bus_watch("install", "--agent", "bob", "--credential", str(secret), "--systemd", "--tmux", "x")
    assert done.returncode == 0, done.stderr
    assert json.loads(place.config.read_text())["token_file"] == "$CREDENTIALS_DIRECTORY/token"
    assert f"\nLoadCredential=token:{secret}\n" in (place.home / ".config/systemd/user/bus-watch.service").read_text()
    checked = place.bus_watch("doctor")
    assert "note token of bob: systemd hands it to the service" in checked.stdout


def test_a_system_unit_belongs_to_a_user(place: World, tmp_path: Path) -> None:
    place.bus_watch(*AGENT, stdin=TOKEN)
    options = ("--systemd", "--system", "--user", "daemon", "--output-dir", str(tmp_path / "units"))
    done = place.bus_watch("install", *options, "--config", str(place.config))
    assert done.returncode == 0, done.stderr
    unit = (tmp_path / "units" / "bus-watch.service").read_text()
    assert "\nUser=daemon\n" in unit
    notes, inboxes = re.findall(r"^ReadWritePaths=-(\S+)$", unit, re.MULTILINE)
    assert inboxes == f"/run/user/{pwd.getpwnam('daemon').pw_uid}"
    assert f"sudo -u daemon mkdir -p {notes} " in done.stdout  # which the unit could not make
    assert not Path(notes).exists()
    remote = place.bus_watch("install", *options, "--profile", "remote-only", "--config", str(place.config), "--force")
    assert (remote.returncode, "mkdir" in remote.stdout) == (0, False)
    nobody = place.bus_watch(
        "install", "--agent", "bob", "--token-stdin", "--systemd", "--system", "--user", "no-such", stdin=TOKEN
    )
    assert nobody.returncode == 1
    assert "there is no user 'no-such'" in nobody.stderr


def test_an_installation_without_its_consumer(place: World) -> None:
    (place.bin / "huey_consumer").unlink()
    done = place.bus_watch(*AGENT, "--systemd", stdin=TOKEN)
    assert done.returncode == 1
    assert "with its dependencies: pip install, without --no-deps" in done.stderr
    assert everything(place.home) == {}


def test_uninstall_takes_away_what_install_wrote(place: World) -> None:
    other = place.home / ".config" / "systemd" / "user" / "other.service"
    other.parent.mkdir(parents=True)
    other.write_text("[Service]\n")
    place.bus_watch(*AGENT, *SERVICES, stdin=TOKEN)
    unit = other.with_name("bus-watch.service")
    assert unit.exists()
    done = place.bus_watch("uninstall")
    assert done.returncode == 0, done.stderr
    assert sorted(everything(place.home)) == [
        ".config/systemd/user/other.service",
        ".sos/bus-watch-installed.json",
        ".sos/bus-watch.json",
        ".sos/bus-watch.token",
    ]
    assert "nothing to do" in place.bus_watch("uninstall").stdout
    assert place.bus_watch("uninstall", "--purge").returncode == 0
    assert sorted(everything(place.home)) == [".config/systemd/user/other.service"]


def test_uninstall_leaves_what_was_changed(place: World) -> None:
    place.bus_watch(*AGENT, "--systemd", stdin=TOKEN)
    unit = place.home / ".config/systemd/user/bus-watch.service"
    unit.write_text(unit.read_text() + "# mine\n")
    done = place.bus_watch("uninstall")
    assert f"left {unit}: it was changed" in done.stdout
    assert unit.exists()


def test_uninstall_refuses_while_the_service_is_enabled(place: World) -> None:
    place.bus_watch(*AGENT, "--systemd", stdin=TOKEN)
    unit = place.home / ".config/systemd/user/bus-watch.service"
    wanted = unit.parent / "default.target.wants"
    wanted.mkdir()
    (wanted / unit.name).symlink_to(unit)
    done = place.bus_watch("uninstall")
    assert done.returncode == 1
    assert "first: systemctl --user disable --now bus-watch.service" in done.stderr
    assert unit.exists()


def test_a_procfile_keeps_the_lines_of_others(place: World) -> None:
    place.config.parent.mkdir(mode=0o700)
    procfile = place.config.with_name("Procfile")
    procfile.write_text("web: python -m http.server\n")
    refused = place.bus_watch(*AGENT, "--procfile", stdin=TOKEN)
    assert refused.returncode == 1
    assert "+bus-watch: env " in refused.stdout
    place.bus_watch(*AGENT, "--procfile", "--force", stdin=TOKEN)
    second = place.config.with_name("bus-watch-alice.json")
    options = ("--config", str(second), "--procfile", "--force")
    place.bus_watch("install", "--agent", "alice", "--token-stdin", *options, stdin=TOKEN)
    names = re.findall(r"^(\S+):", procfile.read_text(), re.MULTILINE)
    assert names == ["web", "bus-watch", "bus-watch-alice"], "one line a configuration, in place"
    place.bus_watch("uninstall")
    assert re.findall(r"^(\S+):", procfile.read_text(), re.MULTILINE) == ["web", "bus-watch-alice"]
