"""Built-in terminal sends from the warm process: as if started by hand, and nothing is lost with it.

`tmux` is a program of the tests' own here, which writes down who runs it and then fails: that ends a send with status
69, and each run of it is one run of the command.
"""

import contextlib
import os
import random
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.fakes.launchers import WaitingLauncher
from tests.world.processes import ROOT
from tests.world.waiting import until
from worker import process_table
from worker.terminal import warm_sender
from worker.transports import recovery, sessions, warm
from worker.transports.client import FAULT_VARIABLE, LauncherGone
from worker.transports.command import Prepared
from worker.transports.receipts import RunResult
from worker.transports.recovery import inspect

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every send is started in the plain way")

BIN = Path(sys.executable).parent
# Python blocks all signals while it starts a program, and may not have had a core since: first it has to wait for us.
SEEN = r"""#!/bin/sh
until grep -q '^State:.S' "/proc/$PPID/status"; do :; done
{
  echo "== $*"
  tr '\0\n' '  ' < /proc/$PPID/cmdline; echo
  env | grep -v '^_=' | sort
  pwd; umask; ulimit -a
  grep -E '^(Sig(Blk|Ign|Cgt)|NSpid|CapEff|Groups)' /proc/$PPID/status | grep -v NSpid
  ls -1 /proc/$PPID/fd | tr '\n' ' '; echo
  readlink /proc/$PPID/fd/0 | sed 's/[^/]*.stdin.*/stdin/'
  [ "$(ps -o sid= -p $PPID | tr -d ' ')" = "$PPID" ] && echo leads
} > "$LOG.$$"
mv "$LOG.$$" "$LOG.$$.done"
exit 1
"""


class Desk:
    """A launcher, and a tmux that tells."""

    def __init__(self, launcher: WaitingLauncher, home: Path) -> None:
        self.launcher, self.home = launcher, home
        self.tmux = home / "tmux"
        self.tmux.write_text(SEEN)
        self.tmux.chmod(0o755)
        self._numbers = iter(range(10_000))

    def prepared(
        self, *more: str, script: Path | None = None, stdin: bytes | None = None, variables: Mapping[str, str] = {}
    ) -> Prepared:
        argv = [str(script or BIN / "send-message"), "--tmux", str(self.tmux), "-t", "nobody", *more]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8", "USER": "somebody"}
        environment |= {"LOG": str(self.home / "log")} | dict(variables)
        return Prepared(
            [os.fsencode(one) for one in argv], {os.fsencode(k): os.fsencode(v) for k, v in environment.items()}, stdin
        )

    def run(self, prepared: Prepared, timeout: float = 60.0) -> RunResult:
        return self.launcher.run(f"a{next(self._numbers)}", prepared, timeout)

    def logs(self) -> list[str]:
        return [one.read_text() for one in sorted(self.home.glob("log.*.done"), key=lambda one: one.stat().st_mtime_ns)]

    def warm(self, prepared: Prepared | None = None) -> int:
        """Run until one comes from the warm process; the pid of that."""
        prepared = prepared or self.prepared("-m", "hello")

        def is_warm() -> bool:
            self.run(prepared)
            return is_forked(self.logs()[-1])

        until(is_warm, "a warm start")
        for log in self.home.glob("log.*.done"):
            log.unlink()
        (pid,) = [pid for pid in children(self.launcher.pid) if "warm_sender" in " ".join(process_table.arguments(pid))]
        return pid


def children(parent: int) -> list[int]:
    known = ((pid, process_table.stat(pid)) for pid in process_table.pids())
    return [pid for pid, fields in known if fields and int(fields[process_table.PARENT]) == parent]


def untimed(outcome: RunResult) -> bytes:
    return re.sub(rb"\d+\.\d+", b"", outcome.tail)


def is_forked(log: str) -> bool:
    return "warm_sender" in log.split("\n")[1]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "files").mkdir()
    launcher = WaitingLauncher(tmp_path / "files", "w1")
    launcher.start()
    yield Desk(launcher, tmp_path)
    launcher.close()
    launcher.join(60)


@pytest.mark.parametrize(
    ("more", "stdin", "variables"),
    [
        (("-m", "hello"), None, {"SOS_MESSAGE_KEY": "k", "TMUX_TMPDIR": "/tmp"}),
        (("-m", "a\nb", "--json"), None, {"SOS_AGENT": "\N{SNOWMAN}"}),
        (("--from-bus",), "\N{SNOWMAN} text\n".encode() * 1000, {"SOS_MESSAGE_SOURCE": "x"}),
        (("--from-bus",), b"", {}),
        ((), None, {}),
        (("--help",), None, {}),
        (("--no-such-option", "--", "-m"), None, {"LANG": "C"}),
        (("-m", "x", "-v", "--timeout", "0"), None, {"TERM": "dumb"}),
        (("-f", "/no/such/file"), None, {}),
        (("-b", "####"), None, {"LANG": "C"}),
        (("-m", "hello", "--json"), None, {"LANG": ""}),
    ],
)
def test_it_is_as_if_started_by_hand(
    desk: Desk, more: tuple[str, ...], stdin: bytes | None, variables: dict[str, str]
) -> None:
    prepared = desk.prepared(*more, stdin=stdin, variables=variables)
    plain = desk.run(prepared)  # the first of all
    said = [log.split("\n") for log in desk.logs()]
    assert not any(is_forked("\n".join(lines)) for lines in said)
    for log in desk.home.glob("log.*.done"):
        log.unlink()
    forked, again = plain, said
    while not all(is_forked("\n".join(lines)) for lines in again) or forked is plain:  # slow: it was started plainly
        desk.warm(desk.prepared("-m", "hello", variables=variables))
        forked = desk.run(prepared)
        again = [log.split("\n") for log in desk.logs()]
    assert (forked.kind, forked.code, untimed(forked)) == (plain.kind, plain.code, untimed(plain))
    assert forked.pid != plain.pid
    told, expected = (["\n".join(lines[:1] + lines[2:]) for lines in one] for one in (again, said))
    assert told == expected


@pytest.mark.parametrize(("name", "to"), [("agent-send", b"-s"), ("wake", b"-t")])
def test_the_other_commands_too(desk: Desk, name: str, to: bytes) -> None:
    argv = [os.fsencode(BIN / name), b"--tmux", os.fsencode(desk.tmux), to, b"nobody", b"-m", b"x"]
    prepared = desk.prepared()._replace(argv=argv)
    plain = desk.run(prepared)
    desk.warm(prepared)
    forked = desk.run(prepared)
    assert (forked.kind, forked.code, forked.tail) == (plain.kind, plain.code, plain.tail) == ("exit", 69, plain.tail)


def test_what_is_odd_is_started_in_the_plain_way(desk: Desk) -> None:
    desk.warm()
    own = desk.home / "send-message"
    own.write_text((BIN / "send-message").read_text().replace("import sys\n", "import sys\nprint('mine')\n"))
    own.chmod(0o755)
    assert desk.run(desk.prepared("-m", "x", script=own)).tail.startswith(b"mine\n")
    shell = desk.home / "sh-message"
    shell.write_text("#!/bin/sh\necho not python\n")
    shell.chmod(0o755)
    assert desk.run(desk.prepared("-m", "x", script=shell)).tail == b"not python\n"
    for variables in ({"PATH": f"/nowhere:{os.environ['PATH']}"}, {"PYTHONHASHSEED": "0"}, {"LC_ALL": "C"}):
        desk.run(desk.prepared("-m", "x", variables=variables))
    assert [is_forked(log) for log in desk.logs()] == [False] * 4
    copy = desk.home / "copied"
    shutil.copy(BIN / "send-message", copy)
    desk.run(desk.prepared("-m", "x", script=copy))
    assert is_forked(desk.logs()[-1])
    copy.write_text("#!/bin/sh\necho another one now\n")
    assert desk.run(desk.prepared("-m", "x", script=copy)).tail == b"another one now\n"


def test_a_changed_file_on_disk_ends_it(desk: Desk) -> None:
    package = desk.home / "lib"
    shutil.copytree(ROOT / "worker", package / "worker", ignore=shutil.ignore_patterns("__pycache__"))
    prepared = desk.prepared("-m", "x", variables={"PYTHONPATH": str(package)})
    first = desk.warm(prepared)
    changed = package / "worker/terminal/send_message.py"
    changed.write_text(changed.read_text().replace('"""The command; gives its exit status."""', "return 42", 1))
    assert desk.run(prepared).code == 42
    until(lambda: first not in children(desk.launcher.pid), "the old one has gone")
    until(lambda: desk.run(prepared).code == 42 and children(desk.launcher.pid), "another one stands ready", 60)
    assert desk.run(prepared).code == 42


def test_it_holds_nothing(desk: Desk) -> None:
    pid = desk.warm(desk.prepared("-m", "hello", variables={"SOS_MESSAGE_TEXT": "secret words"}))
    environment = process_table.environment(pid)
    assert environment is not None
    assert not [name for name in environment if name.startswith("SOS_")]
    held = {int(one.name): str(one.readlink()).partition(":")[0] for one in Path(f"/proc/{pid}/fd").iterdir()}
    assert held == {0: "/dev/null", 1: "pipe", 2: "pipe", 3: "socket"}
    assert warm.VERSION == warm_sender.VERSION


def test_it_ends_with_the_launcher(desk: Desk) -> None:
    pid = desk.warm()
    start = sessions.start_time(pid)
    os.kill(desk.launcher.pid, signal.SIGKILL)
    until(lambda: sessions.start_time(pid) != start, "it has ended")


def test_a_time_out_kills_it_with_all_that_it_started(desk: Desk) -> None:
    desk.warm()
    desk.tmux.write_text(f"#!/bin/sh\nsleep 600 &\necho $PPID $! > {desk.home}/pids\nwait\n")
    outcome = desk.run(desk.prepared("-m", "x", "--timeout", "100"), timeout=2.0)
    assert outcome.kind == "timeout"
    for pid in map(int, (desk.home / "pids").read_text().split()):
        assert process_table.stat(pid) is None or process_table.stat(pid)[0] in process_table.ENDED  # type: ignore[index]  # the line's first half
    assert outcome.pid == int((desk.home / "pids").read_text().split()[0])


def test_one_that_does_not_answer_is_done_without_and_once(desk: Desk) -> None:
    pid = desk.warm()
    os.kill(pid, signal.SIGSTOP)
    outcomes = [desk.run(desk.prepared("-m", "x")) for _ in range(3)]
    assert [outcome.code for outcome in outcomes] == [69] * 3
    logs = desk.logs()
    assert len(logs) == 3
    assert not is_forked(logs[0])
    until(lambda: sessions.start_time(pid) is None, "it was ended")


def test_killed_at_any_moment_nothing_is_lost_and_nothing_runs_twice(desk: Desk) -> None:
    desk.warm()
    chance, sent, enough = random.Random(82), [0], threading.Event()
    outcomes: list[RunResult] = []

    def send() -> None:
        while not enough.is_set():
            sent[0] = number = sent[0] + 1
            outcomes.append(desk.run(desk.prepared("-m", "x", variables={"SOS_MESSAGE_STREAM_ID": f"key-{number}"})))

    sender, killed = threading.Thread(target=send), 0
    sender.start()
    try:
        for _ in range(6):
            until(lambda: server(desk.launcher.pid) or not sender.is_alive(), "a warm process")
            time.sleep(chance.uniform(0.0, 0.6))
            if pid := server(desk.launcher.pid):
                os.kill(pid, signal.SIGKILL)
                killed += 1
            until(lambda pid=pid: sessions.start_time(pid) is None, "it is reaped")  # type: ignore[misc]
    finally:
        enough.set()
        sender.join()
    assert killed >= 3
    assert {(one.kind, one.code) for one in outcomes} == {("exit", 69)}
    keys = [line for log in desk.logs() for line in log.split("\n") if line.startswith("SOS_MESSAGE_STREAM_ID=")]
    assert sorted(keys) == sorted(f"SOS_MESSAGE_STREAM_ID=key-{number}" for number in range(1, sent[0] + 1))
    assert any(map(is_forked, desk.logs()))


def server(launcher: int) -> int:
    """The launcher's child that is the warm process; 0: there is none. What it has forked looks the same at first."""
    uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
    for pid in children(launcher):
        with contextlib.suppress(OSError):
            age = uptime - int(sessions.start_time(pid) or "0") / os.sysconf("SC_CLK_TCK")
            warm_one = "warm_sender" in " ".join(process_table.arguments(pid)) and age > 0.25
            if warm_one and str(Path(f"/proc/{pid}/fd/3").readlink()).startswith("socket:"):
                return pid
    return 0


@pytest.mark.parametrize("step", ["after_warm_asked", "after_warm_named"])
def test_a_launcher_that_dies_between_has_run_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setenv(FAULT_VARIABLE, f"launcher.{step}:kill")
    (tmp_path / "files").mkdir()
    launcher = WaitingLauncher(tmp_path / "files", "w1")
    launcher.start()
    desk = Desk(launcher, tmp_path)
    keys = map("b{}".format, range(1000))
    last = ""

    def run_on() -> None:
        nonlocal last
        for last in keys:
            launcher.run(last, desk.prepared("-m", "x", variables={"SOS_MESSAGE_STREAM_ID": last}), 60)

    with pytest.raises(LauncherGone):
        run_on()
    launcher.join(60)
    time.sleep(0.5)  # for whoever might still run it
    assert not [log for log in desk.logs() if f"SOS_MESSAGE_STREAM_ID={last}\n" in log]
    status = inspect(
        tmp_path / "files", last, same_boot=True, writer_alive=lambda: False,
        started_at=time.time() - 100, timeout=30, now=time.time(),
    )  # fmt: skip
    assert status == recovery.Unknown()
