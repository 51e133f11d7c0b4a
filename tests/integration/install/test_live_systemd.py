"""The units that `bus-watch install` writes, under a real systemd: process 1 of namespaces of its own.

That takes root, an overlay and cgroup v2. Where a machine cannot, the tests are skipped and say why; in CI they fail.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.standin import PROMPT
from tests.world.systemd_box import BoxUser, CannotBootError, SystemdBox
from tests.world.waiting import until

pytestmark = pytest.mark.alone  # the host sees the processes of the box

FAKES = Path(__file__).parents[2] / "fakes"
UNIT = "bus-watch.service"

# Says when it begins and ends; one whose text holds `long` ends when there is a file `release`.
WAKE = """#!/bin/sh
echo "begin $1" >> "$HOME/wakes"
case $1 in *long*) until [ -e "$HOME/release" ]; do sleep 0.1; done;; esac
echo "end $1" >> "$HOME/wakes"
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SystemdBox]:
    """One boot for all tests of this module."""
    try:
        with SystemdBox(tmp_path_factory.mktemp("systemd")) as box:
            box.install()
            yield box
    except CannotBootError as error:
        reason = f"NOT SHOWN: the units under a live systemd; this machine boots none: {error}"
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(reason)
        pytest.skip(reason)


class Service:
    """The worker of a user, run by the user's manager or by that of the host."""

    def __init__(self, user: BoxUser, *, system: bool) -> None:
        self.user, self.system = user, system

    def systemctl(self, *words: str) -> str:
        return self.user.box.run("systemctl", *words) if self.system else self.user.run("systemctl", "--user", *words)

    def shown(self, name: str) -> str:
        return self.systemctl("show", "--property", name, "--value", UNIT).strip()

    def pid(self) -> int:
        return int(self.shown("MainPID"))

    def drop_in(self, *lines: str) -> None:
        """Change the unit as an administrator would."""
        where = "/etc/systemd/system" if self.system else f"{self.user.home}/.config/systemd/user"
        folder = self.user.box.path(f"{where}/{UNIT}.d")
        folder.mkdir(exist_ok=True)
        (folder / "test.conf").write_text("\n".join(["[Service]", *lines, ""]))
        self.systemctl("daemon-reload")

    def restarted(self, before: int) -> None:
        """Wait for another worker than `before`, that is ready."""
        until(
            lambda: self.shown("ActiveState") == "active" and self.shown("MainPID") not in {"0", str(before)},
            "systemd to start the worker again",
        )

    def log(self) -> str:
        return self.user.box.run("journalctl", "--no-pager", "-n", "40")

    def wakes(self) -> list[str]:
        file = self.user.path("wakes")
        return file.read_text().splitlines() if file.exists() else []

    def send(self, text: str) -> None:
        self.user.run("bus-watch", "test-send", "--agent", "bob", "--text", text)

    def begun(self, text: str) -> None:
        """Send it, and wait for its transport to begin."""
        self.send(text)
        until(lambda: f"begin {text}" in self.wakes(), f"{text}\n{self.log()}")

    def delivered(self, text: str) -> None:
        until(lambda: f"end {text}" in self.wakes(), f"{text}\n{self.log()}")


def installed(service: Service, port: int, *options: str) -> None:
    """Install it and its bus, and run the commands that `install` says come next; it is ready when they end."""
    user = service.user
    command = (
        "install", "--agent", "bob", "--token-file", f"{user.home}/.sos/token",
        "--bridge-url", f"http://127.0.0.1:{port}", "--bus", "--systemd", *options,
    )  # fmt: skip
    if service.system:  # a unit of the host is an administrator's to write
        printed = user.box.run("/opt/bus-watch/bin/bus-watch", *command)
    else:
        printed = user.run("bus-watch", *command)
    _, _, following = printed.partition("next:\n")
    for line in following.splitlines():
        words = line.split("#")[0].split()
        if words[:1] == ["sudo"]:
            user.box.run(*words[1:])
        elif words[:1] == ["systemctl"]:
            user.run(*words)
    until(lambda: service.shown("ActiveState") == "active", f"the worker to be ready\n{printed}")


def test_a_worker_of_the_user(box: SystemdBox) -> None:
    user = long_running(box, "ann")
    service = Service(user, system=False)
    installed(service, 6381, "--transport", f"wake={user.home}/wake {{text}}")
    service.send("first")
    service.delivered("first")

    # A reload and a hang-up ask for the configuration, and cost nothing.
    first = service.pid()
    service.systemctl("reload", UNIT)
    service.systemctl("kill", "--signal=HUP", "--kill-who=main", UNIT)
    service.send("after a hang-up")
    service.delivered("after a hang-up")
    assert (service.pid(), service.shown("NRestarts")) == (first, "0")

    # Killed in the middle of a transport: that goes on and is waited for, and what comes behind it comes.
    service.drop_in("RestartSec=1")
    service.begun("long one, killed")
    service.systemctl("kill", "--signal=KILL", "--kill-who=main", UNIT)
    service.send("behind it")
    service.restarted(first)
    user.write("release", "")
    service.delivered("behind it")
    user.path("release").unlink()

    # Stopped while a transport runs for longer than the worker waits: one second, so that nobody has to wait here.
    command = command_of(user.path(f".config/systemd/user/{UNIT}"))
    service.begun("long one, stopped")
    killed = re.sub(r"-t \d+", "-t 1", command)
    service.drop_in("RestartSec=1", "ExecStart=", f"ExecStart={killed}")
    service.systemctl("kill", "--signal=KILL", "--kill-who=main", UNIT)
    service.restarted(0)
    service.systemctl("stop", UNIT)
    assert service.shown("Result") == "success"
    user.write("release", "")
    service.delivered("long one, stopped")
    user.path("release").unlink()
    service.drop_in("RestartSec=1", "WatchdogSec=3")
    service.systemctl("start", UNIT)
    service.send("after the stop")
    service.delivered("after the stop")

    # A worker that hangs is found by the watchdog.
    hung = service.pid()
    service.systemctl("kill", "--signal=STOP", "--kill-who=main", UNIT)
    service.send("while it hung")
    service.restarted(hung)
    service.delivered("while it hung")

    # Log-out while a transport runs: it may end; nothing runs twice at the next login, and what waited comes.
    service.begun("long one, at the log-out")
    service.send("behind the log-out")
    box.run("loginctl", "disable-linger", "ann")
    until(lambda: manager(user) == "deactivating", "the log-out")
    user.write("release", "")
    until(lambda: manager(user) == "inactive", "the end of the user's manager")
    assert "end long one, at the log-out" in service.wakes()  # the worker waited for it
    box.run("loginctl", "enable-linger", "ann")
    until(lambda: manager(user) == "active", "the next login")
    service.restarted(0)
    service.delivered("behind the log-out")

    expected = ["first", "after a hang-up", "long one, killed", "behind it", "long one, stopped", "after the stop",
                "while it hung", "long one, at the log-out", "behind the log-out"]  # fmt: skip
    assert service.wakes() == [f"{word} {text}" for text in expected for word in ("begin", "end")], "once, in order"
    status = user.try_("bus-watch", "status")
    assert status.returncode == 0, status.stdout
    service.systemctl("disable", "--now", UNIT, "bus-watch-bus.service")
    user.run("bus-watch", "uninstall")
    assert list(user.path(".config/systemd/user").glob("*.service")) == []


def long_running(box: SystemdBox, name: str) -> BoxUser:
    """A user whose manager runs without a login, and who has the transport."""
    user = box.user(name)
    user.write("wake", WAKE, 0o755)
    box.run("loginctl", "enable-linger", name)
    until(
        lambda: user.try_("systemctl", "--user", "is-system-running").stdout.strip() in {"running", "degraded"},
        "the user's manager",
    )
    return user


def test_a_transport_that_outlasts_the_manager_of_its_user(box: SystemdBox) -> None:
    """It is killed at the log-out, as all of the user's is: then it begins again, or a person is asked."""
    user = long_running(box, "dan")
    service = Service(user, system=False)
    installed(service, 6383, "--transport", f"wake={user.home}/wake {{text}}")

    def log_out_and_in() -> None:
        box.run("loginctl", "disable-linger", "dan")
        until(lambda: manager(user) == "inactive", "the end of the user's manager")
        assert box.run("sh", "-c", "pgrep -a -u dan || true") == "", "what outlasts the manager"
        box.run("loginctl", "enable-linger", "dan")
        until(lambda: manager(user) == "active", "the next login")
        service.restarted(0)

    command = command_of(user.path(f".config/systemd/user/{UNIT}"))
    impatient = re.sub(r"-t \d+", "-t 1", command)
    service.drop_in("RestartSec=1", "ExecStart=", f"ExecStart={impatient}")
    service.systemctl("restart", UNIT)
    service.begun("long one")
    service.send("behind it")
    log_out_and_in()
    until(lambda: service.wakes().count("begin long one") == 2, f"the next attempt\n{service.log()}")
    user.write("release", "")
    service.delivered("behind it")
    assert service.wakes() == ["begin long one", "begin long one", "end long one", "begin behind it", "end behind it"]

    # Who would rather be asked is.
    config = user.path(".sos/bus-watch.json")
    changed = json.loads(config.read_text())
    changed["transports"][0]["on_unknown"] = "hold"
    user.write(".sos/bus-watch.json", json.dumps(changed))
    user.path("release").unlink()
    service.systemctl("restart", UNIT)
    service.begun("long two")
    service.send("behind that")
    log_out_and_in()
    service.delivered("behind that")
    assert service.wakes().count("begin long two") == 1
    status = user.try_("bus-watch", "status")
    assert (status.returncode, "! 1 held: nobody knows" in status.stdout) == (1, True), status.stdout
    service.systemctl("disable", "--now", UNIT, "bus-watch-bus.service")


@pytest.mark.parametrize("system", [False, True], ids=["user", "system"])
def test_a_token_that_systemd_hands_over(box: SystemdBox, *, system: bool) -> None:
    """LoadCredential: the worker reads what its user may not, and a new one after a restart."""
    name = "eve" if system else "fay"
    user = long_running(box, name)
    service = Service(user, system=system)
    port = 6384 + system
    how = ("--system", "--user", name, "--profile", "local") if system else ()
    wake = ("--transport", f"wake={user.home}/wake {{text}}")
    if system:  # a hardened unit writes below no home
        service.drop_in(f"ReadWritePaths={user.home}")
    installed(service, port, *wake, *how)
    service.send("first")
    service.delivered("first")
    token = user.path(".sos/token")
    secret = "/root/secret" if system else f"{user.home}/secret"
    (box.run if system else user.run)("mkdir", "-m", "700", secret)
    box.path(f"{secret}/token").write_bytes(token.read_bytes())
    box.path(f"{secret}/token").chmod(0o600)
    if not system:
        os.chown(box.path(f"{secret}/token"), user.uid, user.uid)
    token.unlink()
    install = (
        "bus-watch",
        "install",
        "--agent",
        "bob",
        "--credential",
        f"{secret}/token",
        "--systemd",
        *how,
        "--force",
    )
    (box.run if system else user.run)(
        *(f"/opt/bus-watch/bin/{word}" if word == "bus-watch" else word for word in install)
    )
    assert json.loads(user.path(".sos/bus-watch.json").read_text())["token_file"] == "$CREDENTIALS_DIRECTORY/token"
    service.systemctl("daemon-reload")
    service.systemctl("restart", UNIT)
    until(lambda: service.shown("ActiveState") == "active", f"the worker\n{service.log()}")

    def send(text: str) -> None:
        """As somebody does who may read the token, with a configuration of their own."""
        box.path("/tmp/sender.json").write_text(
            json.dumps(
                {
                    "agent": "bob",
                    "token_file": f"{secret}/token",
                    "bridge_url": f"http://127.0.0.1:{port}",
                    "state_path": "/root/sender/state.json",
                    "transports": [{"name": "t", "command": ["/bin/true"]}],
                }
            )
        )
        box.run("/opt/bus-watch/bin/bus-watch", "test-send", "--config", "/tmp/sender.json", "--text", text)

    send("by credential")
    service.delivered("by credential")
    box.path(f"{secret}/token").write_text("rotated, and wrong")
    service.systemctl("restart", UNIT)
    until(lambda: "no mail for" in user.try_("bus-watch", "status").stdout, f"status says so\n{service.log()}")
    service.systemctl("disable", "--now", UNIT, "bus-watch-bus.service")
    if system:  # the box has one of it, which another test installs
        box.run("/opt/bus-watch/bin/bus-watch", "uninstall", "--config", f"{user.home}/.sos/bus-watch.json")


def manager(user: BoxUser) -> str:
    """How the user's service manager is."""
    return user.box.run("systemctl", "show", "--property=ActiveState", "--value", f"user@{user.uid}").strip()


@pytest.fixture(scope="module")
def hosted(box: SystemdBox) -> Iterator[Service]:
    """A hardened unit of the host's manager, whose user has an agent in the tmux session `codex`."""
    user = long_running(box, "ben")
    profile = (FAKES / "standin.toml").read_text().replace('"standin"', '"codex"')
    user.write(".config/bus-watch/profiles/codex.toml", profile)
    user.write("codex.py", (FAKES / "standin.py").read_text())
    user.run("mkfifo", "control")
    user.run("tmux", "new-session", "-d", "-s", "codex", "-x", "100", "-y", "30", "--",
             "/opt/bus-watch/bin/python", "codex.py", "submitted", "control")  # fmt: skip
    until(lambda: PROMPT in user.run("tmux", "capture-pane", "-p", "-t", "codex"), "the agent's prompt")
    service = Service(user, system=True)
    installed(service, 6382, "--tmux", "codex", "--system", "--user", "ben", "--profile", "local")
    yield service

    # As an administrator would, who runs it as root for the user's configuration.
    service.drop_in()
    service.systemctl("disable", "--now", UNIT, "bus-watch-bus.service")
    box.run("/opt/bus-watch/bin/bus-watch", "uninstall", "--config", f"{user.home}/.sos/bus-watch.json")
    assert not box.path("/etc/systemd/system/" + UNIT).exists()


def submitted(service: Service) -> list[str]:
    """What was typed into the agent's pane."""
    lines = service.user.path("submitted").read_text().splitlines()
    return [event["text"] for event in map(json.loads, lines) if event["event"] == "submit"]


def test_a_worker_of_the_host_types_into_a_pane(hosted: Service) -> None:
    user, box, service = hosted.user, hosted.user.box, hosted

    def typed(text: str) -> None:
        service.send(text)
        until(lambda: any(text in one for one in submitted(service)), f"{text}\n{service.log()}")

    typed("first")
    first = service.pid()
    assert box.path(f"/proc/{first}").stat().st_uid == user.uid
    service.systemctl("reload", UNIT)
    assert service.pid() == first
    assert "NoNewPrivs:\t1" in box.path(f"/proc/{first}/status").read_text()
    service.systemctl("kill", "--signal=KILL", "--kill-who=main", UNIT)
    service.send("while it was dead")
    service.restarted(first)
    until(lambda: any("while it was dead" in one for one in submitted(service)), "the message behind the kill")

    # Upgraded in place: status asks for the restart, and after it says nothing more.
    module = box.path(f"{box.packages}/worker/__init__.py")
    module.write_text(re.sub(r'"\d[^"]*"', '"99.0"', module.read_text()))
    status = user.try_("bus-watch", "status")
    assert status.returncode == 1, status.stdout
    assert "installed is 99.0: restart it" in status.stdout
    service.systemctl("restart", UNIT)
    typed("by the new one")
    status = user.try_("bus-watch", "status")
    assert (status.returncode, "version 99.0" in status.stdout) == (0, True), status.stdout
    assert len(submitted(service)) == 3, submitted(service)


def test_a_worker_of_the_host_hands_over_by_a_channel(hosted: Service) -> None:
    """The unit writes below no home but what it names: were the folder of notes not there, it would type."""
    user, service = hosted.user, hosted
    # There Claude Code and Qwen Code have their inboxes, and answer beside them.
    beside = f"/run/user/{user.uid}/{os.getpid()}.sock"
    user.box.run("nsenter", "-t", str(service.pid()), "-m", "touch", beside)
    before = submitted(service)
    user.run("tmux", "new-session", "-d", "-s", "served", "-e", "PYTHONPATH=/opt/source", "--",
             "/opt/bus-watch/bin/python", "-m", "tests.fakes.codex_daemon")  # fmt: skip
    until(lambda: user.path(".codex/sessions").exists(), "the agent's server")
    config = user.path(".sos/bus-watch.json")
    changed = json.loads(config.read_text())
    changed["transports"][0]["on_unknown"] = "redeliver"
    user.write(".sos/bus-watch.json", json.dumps(changed))
    service.drop_in("RestartSec=1")
    service.systemctl("restart", UNIT)

    def turns() -> list[str]:
        (record,) = user.path(".codex/sessions").rglob("*.jsonl")
        payloads = [json.loads(line)["payload"] for line in record.read_text().splitlines()]
        return [one["item"]["content"][0]["text"].splitlines()[0] for one in payloads if "item" in one]

    def proven() -> int:
        return user.box.run("journalctl", "--no-pager", "-u", UNIT).count("is delivered")

    def delivered(count: int) -> None:
        until(lambda: proven() == count, f"its proof\n{service.log()}")

    done = proven()
    service.send("first")
    delivered(done + 1)
    (note,) = user.path(".local/state/bus-watch/handed").iterdir()
    assert (note.suffix, note.stat().st_uid, note.stat().st_mode & 0o777) == (".codex", user.uid, 0o600)

    # All of the unit is killed between a hand-over and its proof: the next worker looks it up, and sends it only once.
    worker = service.pid()
    user.run("tmux", "send-keys", "-t", "served", "mute", "Enter")
    service.send("second")
    until(lambda: len(turns()) == 2, f"the hand-over\n{service.log()}")
    service.systemctl("kill", "--signal=KILL", "--kill-who=all", UNIT)
    assert proven() == done + 1
    user.run("tmux", "send-keys", "-t", "served", "Enter")
    service.restarted(worker)
    service.send("third")
    delivered(done + 3)

    def succeeded() -> int:  # a worker that ends has its ledger say so, and need not have logged it
        rows = json.loads(user.run("bus-watch", "history", "--json", "-n", "100"))
        return sum(set(one["deliveries"].values()) == {"succeeded"} for one in rows)

    def known(count: int) -> None:
        until(lambda: succeeded() == count, "its proof", 90.0)

    # A plain restart there: the attempt goes on, the next worker takes its verdict, and what comes behind it comes.
    done = succeeded()
    worker = service.pid()
    user.run("tmux", "send-keys", "-t", "served", "mute", "Enter")
    service.send("fourth")
    until(lambda: len(turns()) == 4, f"the hand-over\n{service.log()}")
    service.systemctl("restart", UNIT)
    user.run("tmux", "send-keys", "-t", "served", "Enter")
    service.restarted(worker)
    service.send("fifth")
    known(done + 2)

    # Who would rather be asked is, if all of it is killed there; and what they let run again is looked up.
    changed["transports"][0]["on_unknown"] = "hold"
    user.write(".sos/bus-watch.json", json.dumps(changed))
    service.systemctl("restart", UNIT)
    worker = service.pid()
    user.run("tmux", "send-keys", "-t", "served", "mute", "Enter")
    service.send("sixth")
    until(lambda: len(turns()) == 6, f"the hand-over\n{service.log()}")
    service.systemctl("kill", "--signal=KILL", "--kill-who=all", UNIT)
    user.run("tmux", "send-keys", "-t", "served", "Enter")
    service.restarted(worker)
    until(lambda: "1 held: nobody knows" in user.try_("bus-watch", "status").stdout, f"it is held\n{service.log()}")
    rows = json.loads(user.run("bus-watch", "queue", "--json"))["deliveries"]
    (held,) = [one["key"] for one in rows if one["state"] == "held"]
    assert succeeded() == done + 2
    user.run("bus-watch", "retry", held)
    known(done + 3)
    words = ("first", "second", "third", "fourth", "fifth", "sixth")
    assert turns() == [f"[agent:bob -> bob] {one}" for one in words]
    assert submitted(service) == before
    user.run("tmux", "kill-session", "-t", "served")


def command_of(unit: Path) -> str:
    """The unit's command line."""
    return unit.read_text().split("ExecStart=")[1].splitlines()[0]
