"""Service files, judged by the programs that will read them."""

import os
import plistlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from worker.install import launchd, procfile, systemd
from worker.install.systemd import Unit, UnitProfile

SHELLS = re.compile(r"\b(ba|da|z|k|c)?sh\b")


@pytest.fixture
def consumer(tmp_path: Path) -> Path:
    """systemd checks that what it shall execute is there."""
    consumer = tmp_path / "bin" / "huey_consumer"
    consumer.parent.mkdir()
    consumer.write_text("#!/bin/true\n")
    consumer.chmod(0o755)
    return consumer


def unit_file(
    folder: Path, consumer: Path, user: str | None = None, profile: UnitProfile = "local", **more: str
) -> Path:
    config = folder / "etc" / "bus-watch.json"
    config.parent.mkdir(exist_ok=True)
    text = systemd.render(
        Unit(
            agents="hadi",
            consumer=(str(consumer), "worker.app.huey", "-g", "TERM", "-t", "20"),
            reload=(str(consumer), "reload"),
            config=config,
            writable=(config.parent,),
            path_variable="/usr/bin:/bin",
            user=user,
            profile=profile,
            channels=(folder / ".local/state/bus-watch", Path("/run/user/1000")),
            credential=more.get("credential"),
        )
    )
    path = folder / "bus-watch.service"
    path.write_text(text)
    return path


def analyze(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    runtime = folder / "run"
    runtime.mkdir(mode=0o700, exist_ok=True)
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *argv],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"XDG_RUNTIME_DIR": str(runtime)},
    )


@pytest.mark.parametrize("credential", [None, "/etc/bus watch/100% token"])
@pytest.mark.parametrize("profile", ["local", "remote-only"])
def test_systemd_has_nothing_to_say_about_the_system_unit(
    tmp_path: Path, consumer: Path, profile: UnitProfile, credential: str | None
) -> None:
    path = unit_file(
        tmp_path, consumer, user="daemon", profile=profile, **({"credential": credential} if credential else {})
    )
    done = analyze(tmp_path, "verify", str(path))
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_systemd_has_nothing_to_say_about_the_user_unit(tmp_path: Path, consumer: Path) -> None:
    done = analyze(tmp_path, "--user", "verify", str(unit_file(tmp_path, consumer)))
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


@pytest.mark.parametrize(("profile", "at_most"), [("local", 2.5), ("remote-only", 2.0)])
def test_exposure(tmp_path: Path, consumer: Path, profile: UnitProfile, at_most: float) -> None:
    path = unit_file(tmp_path, consumer, user="daemon", profile=profile)
    done = analyze(tmp_path, "security", "--offline=true", str(path))
    found = re.search(r"Overall exposure level for bus-watch\.service: ([\d.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) <= at_most


def test_the_user_unit_asks_for_nothing_that_needs_privileges(tmp_path: Path, consumer: Path) -> None:
    mine = unit_file(tmp_path, consumer).read_text()
    for directive in ("Protect", "Private", "CapabilityBoundingSet", "ReadWritePaths", "User=", "DevicePolicy"):
        assert f"\n{directive}" not in mine


def test_the_worker_is_given_less_time_than_the_supervisor_has(tmp_path: Path, consumer: Path) -> None:
    text = unit_file(tmp_path, consumer, user="daemon").read_text()
    stop = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert stop is not None
    assert int(stop[1]) > systemd.STOP_SECONDS
    assert "\nKillMode=process\n" in text
    assert "\nKillSignal=SIGTERM\n" in text


@pytest.mark.parametrize(("timeouts", "seconds"), [([], 20), ([3, 30.5], 36), ([95], 100), ([30, 3600], 100)])
def test_a_stop_is_longer_than_the_longest_time_out_where_that_can_be(timeouts: list[float], seconds: int) -> None:
    """user@.service of systemd 252 gives all units of a user 120 s."""
    assert systemd.stop_seconds(timeouts) == seconds
    assert seconds + 10 < 120


def test_odd_paths_reach_systemd_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "a b 100% $HOME"
    consumer = folder / "huey_consumer"
    consumer.parent.mkdir()
    consumer.write_text("#!/bin/true\n")
    consumer.chmod(0o755)
    path = unit_file(folder, consumer, user="daemon")
    done = analyze(tmp_path, "verify", str(path))
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    consumer.chmod(0o644)  # the proof that it looked at this very path
    done = analyze(tmp_path, "verify", str(path))
    assert "is not executable" in done.stderr


def test_the_plist(tmp_path: Path) -> None:
    argv = ["/opt/a b/huey_consumer", "worker.app.huey", "-g", "TERM", "-t", "20"]
    text = launchd.render("com.bus-watch.hadi", argv, tmp_path / "bus-watch.json", tmp_path)
    plist = plistlib.loads(text.encode())
    assert plist["ProgramArguments"] == argv
    assert not SHELLS.search(text), "no shell anywhere"
    assert plist["EnvironmentVariables"]["PATH"].startswith("/opt/homebrew/bin:/usr/local/bin:")
    assert plist["ExitTimeOut"] > launchd.STOP_SECONDS
    assert (plist["AbandonProcessGroup"], plist["KeepAlive"]) == (True, True)
    assert plist["ProcessType"] == "Interactive", "Adaptive throttles"
    assert plist["EnvironmentVariables"]["BUS_WATCH_LOG_FILE"] != plist["StandardErrorPath"]


DOCUMENTED: dict[str, type | tuple[type, ...]] = {  # launchd.plist(5)
    "Label": str,
    "UserName": str,
    "ProgramArguments": list,
    "WorkingDirectory": str,
    "EnvironmentVariables": dict,
    "StandardOutPath": str,
    "StandardErrorPath": str,
    "RunAtLoad": bool,
    "KeepAlive": (bool, dict),
    "ThrottleInterval": int,
    "ExitTimeOut": int,
    "AbandonProcessGroup": bool,
    "ProcessType": str,
    "Umask": int,
}


@pytest.mark.parametrize("of", ["worker", "bus"])
def test_each_key_of_a_plist_is_documented_and_of_its_type(tmp_path: Path, of: str) -> None:
    text = (
        launchd.render("l", ["/x"], tmp_path / "c", tmp_path)
        if of == "worker"
        else launchd.render_bus(["/x"], tmp_path)
    )
    plist = plistlib.loads(text.encode())
    assert plist.keys() <= DOCUMENTED.keys()
    for key, value in plist.items():
        kinds = DOCUMENTED[key]
        assert isinstance(value, kinds), key
        assert isinstance(value, bool) == (kinds is bool or kinds == (bool, dict)), f"{key}: a number is no boolean"
    words = [*plist["ProgramArguments"], *plist.get("EnvironmentVariables", {}).values()]
    assert all(isinstance(word, str) for word in words), "launchd refuses a number there"
    assert plist.get("ProcessType", "Interactive") in {"Background", "Standard", "Adaptive", "Interactive"}
    assert all(Path(plist[key]).is_absolute() for key in plist if key.endswith("Path") or key == "WorkingDirectory")


def test_the_line_of_a_procfile_is_read_by_a_shell_as_it_was_meant(tmp_path: Path) -> None:
    show = tmp_path / "it's a $HOME"
    show.write_text('#!/bin/sh\nprintf "%s\\n" "$BUS_WATCH_CONFIG" "$@"\n')
    show.chmod(0o755)
    line = procfile.line("bus-watch", [str(show), "worker.app.huey", "-t", "4"], Path("/x y/bus;watch.json"))
    name, _, command = line.partition(": ")
    assert name == "bus-watch"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["/x y/bus;watch.json", "worker.app.huey", "-t", "4"]
    assert procfile.STOP_SECONDS < 5


def test_a_line_replaces_the_older_one_of_its_name() -> None:
    before = "# ours\nweb: x\nbus-watch: old\nbus-watch-b: other\n"
    assert procfile.merged(before, "bus-watch: new") == "# ours\nweb: x\nbus-watch: new\nbus-watch-b: other\n"
    assert procfile.merged("", "bus-watch: new") == "bus-watch: new\n"


def test_the_repositorys_own_procfile_waits_as_long() -> None:
    project = Path(__file__).resolve().parents[3]
    name, _, command = (project / "Procfile").read_text().splitlines()[-1].partition(": ")
    assert name == "worker"
    assert shlex.split(command) == ["huey_consumer", "worker.app.huey", "-g", "TERM", "-t", str(procfile.STOP_SECONDS)]


def test_the_templates_in_ops_are_up_to_date() -> None:
    project = Path(__file__).resolve().parents[3]
    argv = [sys.executable, str(project / "ops" / "units.py"), "--check"]
    environment = os.environ | {"PYTHONPATH": str(project)}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
