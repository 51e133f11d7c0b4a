"""The launcher as a real process, with real transports."""

import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fakes.launchers import WaitingLauncher
from tests.world.waiting import until
from worker import process_table
from worker.process_table import NO_PROC_VARIABLE
from worker.transports import receipt_format, recovery, sessions
from worker.transports.client import FAULT_VARIABLE, LauncherGone, RunEnded
from worker.transports.command import Prepared
from worker.transports.locks import flock_is_free, hold_lock
from worker.transports.receipts import create_void_note, read_note, read_receipt, remove_files

pytestmark = pytest.mark.usefixtures("both_ways")

PATIENCE = 30.0
ENVIRONMENT = {b"PATH": os.environb.get(b"PATH", b"/usr/bin:/bin")}


def shell(script: str, stdin: bytes | None = None) -> Prepared:
    return Prepared([b"/bin/sh", b"-c", script.encode()], ENVIRONMENT, stdin)


def pid_in(path: Path) -> int:
    until(lambda: path.exists() and path.read_text().endswith("\n"), f"a pid in {path.name}")
    return int(path.read_text())


def gone(pid: int) -> bool:
    session = os.getsid(pid) if Path(f"/proc/{pid}").exists() else 0
    return pid not in sessions.members({session}).get(session, [])


def inspect(
    directory: Path, attempt: str, *, started_at: float, timeout: float, alive: bool = False
) -> recovery.AttemptStatus:
    return recovery.inspect(
        directory, attempt, same_boot=True, writer_alive=lambda: alive,
        started_at=started_at, timeout=timeout, now=time.time(),
    )  # fmt: skip


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[WaitingLauncher]:
    found = WaitingLauncher(tmp_path, "w1")
    found.start()
    yield found
    found.close()
    found.join(PATIENCE)
    assert not found.lock_path.exists()


def test_statuses_tails_and_files(launcher: WaitingLauncher) -> None:
    outcome = launcher.run("a", shell("printf '\\377\\000x'; echo err >&2; exit 7"), 30)
    assert (outcome.kind, outcome.code, outcome.tail) == ("exit", 7, b"\xff\x00xerr\n")
    assert read_receipt(launcher.directory, "a") == outcome
    assert 0 < outcome.started_at <= outcome.ended_at <= time.time()
    assert (launcher.directory / "a.note").stat().st_mode & 0o777 == 0o600
    killed = launcher.run("b", shell("kill -SEGV $$"), 30)
    assert (killed.kind, killed.code) == ("signal", signal.SIGSEGV)
    longer = launcher.run("c", shell("sleep 0.3"), 30)
    note = read_note(launcher.directory, "c")  # which a shorter one's need not name
    assert note is not None
    assert note.pid == longer.pid
    remove_files(launcher.directory, "a")
    assert not list(launcher.directory.glob("a.*"))


def test_the_tail_is_bounded(launcher: WaitingLauncher) -> None:
    outcome = launcher.run("a", shell("seq -f 'line %g' 0 2999"), 30, 100)
    assert len(outcome.tail) == 100
    assert outcome.tail.endswith(b"line 2999\n")


def test_a_transport_starts_clean(launcher: WaitingLauncher) -> None:
    script = (
        "import os, signal, sys; "
        "print(sorted(os.listdir('/proc/self/fd'))[:3], len(os.listdir('/proc/self/fd')), "
        "os.getsid(0) == os.getpid(), signal.pthread_sigmask(0, []), sys.stdin.buffer.read(), "
        "hex(int(open('/proc/self/status').read().split('SigIgn:')[1].split()[0], 16) & 0x7fffffff))"
    )
    argv = [os.fsencode(sys.executable), b"-I", b"-c", script.encode()]
    outcome = launcher.run("a", Prepared(argv, {}, None), 30)
    # SigIgn: python itself ignores SIGPIPE (bit 12) and SIGXFSZ (bit 24); glibc its own 32 and 33.
    assert outcome.tail == b"['0', '1', '2'] 4 True set() b'' 0x1001000\n"


def test_the_launcher_has_an_empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOS_TOKEN", "canary-token")
    launcher = WaitingLauncher(tmp_path, "w")
    launcher.start()
    switch = b"" if process_table.HAS_PROC else f"{NO_PROC_VARIABLE}=1\0".encode()  # for tests only
    assert Path(f"/proc/{launcher.pid}/environ").read_bytes() == switch
    targets = [str(entry.readlink()) for entry in Path(f"/proc/{launcher.pid}/fd").iterdir()]
    assert len([target for target in targets if target.startswith("socket:")]) == 1
    assert len(targets) <= 8
    assert os.getsid(launcher.pid) == launcher.pid
    launcher.close()
    launcher.join(PATIENCE)


def test_standard_input_of_400_kb_and_one_that_nobody_reads(launcher: WaitingLauncher) -> None:
    text = os.urandom(400_000)
    assert launcher.run("a", shell("wc -c", text), 30).tail.strip() == b"400000"
    assert launcher.run("b", shell("exit 0", text), 30).kind == "exit"
    assert launcher.run("c", shell("wc -c", b""), 30).tail.strip() == b"0"
    assert not list(launcher.directory.glob("*.stdin"))


@pytest.mark.parametrize(
    ("argv", "error"), [(b"/no/such", errno.ENOENT), (b"/tmp", errno.EACCES), (b"/etc/passwd", errno.EACCES)]
)
def test_what_cannot_be_started_has_a_receipt(launcher: WaitingLauncher, argv: bytes, error: int) -> None:
    outcome = launcher.run("a", Prepared([argv], {}, None), 30)
    assert (outcome.kind, outcome.code) == ("spawn_error", error)
    assert read_receipt(launcher.directory, "a") == outcome


def test_a_file_without_a_format_and_an_argument_too_long(launcher: WaitingLauncher, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("no interpreter line\n")
    script.chmod(0o700)
    assert launcher.run("a", Prepared([os.fsencode(script)], {}, None), 30).code == errno.ENOEXEC
    assert launcher.run("b", Prepared([b"/bin/true", b"x" * 200_000], {}, None), 30).code == errno.E2BIG


def test_a_time_out_kills_the_whole_session(launcher: WaitingLauncher, tmp_path: Path) -> None:
    # set -m: a process group of its own for each, within the session
    own_group = f"set -m; (sleep 600 & echo $! > {tmp_path}/grandchild; wait) & echo $! > {tmp_path}/child; wait"
    before = time.monotonic()
    outcome = launcher.run("a", shell(own_group), 1.0)
    assert (outcome.kind, outcome.code) == ("timeout", signal.SIGKILL)
    assert time.monotonic() - before >= 1.0
    for name in ("child", "grandchild"):
        assert gone(pid_in(tmp_path / name))


def test_an_exit_that_races_the_kill_counts(launcher: WaitingLauncher) -> None:
    """The transport exits 0 at about its time-out: each outcome must be the real one."""
    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(lambda n: launcher.run(f"r{n}", shell("sleep 0.3; exit 0"), 0.3), range(32)))
    assert {(outcome.kind, outcome.code) for outcome in outcomes} <= {
        ("exit", 0),
        ("timeout", signal.SIGKILL),
    }


def test_a_background_child_neither_delays_nor_fails_it(launcher: WaitingLauncher, tmp_path: Path) -> None:
    go = tmp_path / "go"
    done = tmp_path / "done"
    background = f"while ! [ -e {go} ]; do sleep 0.05; done; yes | head -c 300000; echo ok > {done}"
    script = f"({background}) & echo started; exit 0"
    outcome = launcher.run("a", shell(script), 20)
    assert (outcome.kind, outcome.code, outcome.tail) == ("exit", 0, b"started\n")
    go.touch()
    until(done.exists, "the background child to print 300 kB into a pipe that is still read")


def test_a_flood_of_output_costs_no_memory_and_no_turn(launcher: WaitingLauncher) -> None:
    def peak() -> int:  # KiB
        return int(Path(f"/proc/{launcher.pid}/status").read_text().split("VmHWM:")[1].split()[0])

    launcher.run("first", shell("exit 0"), 60)
    before = peak()
    flood = threading.Thread(target=launcher.run, args=("flood", shell("head -c 200000000 /dev/zero"), 120))
    flood.start()
    while flood.is_alive():
        assert launcher.run(f"beside{time.monotonic_ns()}", shell("exit 0"), 60).code == 0
    outcome = read_receipt(launcher.directory, "flood")
    assert outcome is not None
    assert outcome.tail == bytes(4096)
    assert peak() - before < 4_000


def test_64_at_once(launcher: WaitingLauncher) -> None:
    with ThreadPoolExecutor(64) as pool:
        runs = [pool.submit(launcher.run, f"n{n}", shell(f"sleep 0.1; exit {n % 50}"), 60) for n in range(128)]
    outcomes = [run.result() for run in runs]
    assert [outcome.code for outcome in outcomes] == [n % 50 for n in range(128)]


def test_signals_do_not_stop_it(launcher: WaitingLauncher) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(launcher.pid, number)
    assert launcher.run("a", shell("exit 0"), 30).code == 0


def test_a_reader_that_fails_ends_the_worker_instead_of_leaving_it_deaf(tmp_path: Path) -> None:
    died = threading.Event()
    launcher = WaitingLauncher(tmp_path, "w1", on_death=died.set)
    launcher.start()
    deal_out = launcher.on_ended

    def fail(_: list[RunEnded]) -> None:
        raise RuntimeError("a defect")

    launcher.on_ended = fail
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(launcher.run, "a", shell("exit 4"), 30)
        assert died.wait(PATIENCE)
        launcher.on_ended = deal_out
        assert not launcher.alive
        deal_out([RunEnded("a", None)])
        with pytest.raises(LauncherGone):
            waiting.result(PATIENCE)
    launcher.join(PATIENCE)
    outcome = read_receipt(tmp_path, "a")
    assert outcome is not None
    assert outcome.code == 4


def test_closing_lets_what_runs_finish(launcher: WaitingLauncher, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(launcher.run, "a", shell(f"echo $$ > {tmp_path}/pid; sleep 0.5; exit 3"), 30)
        pid_in(tmp_path / "pid")
        launcher.close()
        with pytest.raises(LauncherGone):
            launcher.run("b", shell("exit 0"), 30)
        assert waiting.result(PATIENCE).code == 3


def test_descriptors_running_out_start_nothing_and_leave_nothing(launcher: WaitingLauncher) -> None:
    used = len(list(Path(f"/proc/{launcher.pid}/fd").iterdir()))
    for limit in range(used, used + 5):
        limits = resource.prlimit(launcher.pid, resource.RLIMIT_NOFILE, (limit, 20000))
        outcome = launcher.run(f"a{limit}", shell("exit 0", b"in"), 30)
        resource.prlimit(launcher.pid, resource.RLIMIT_NOFILE, limits)
        if outcome.kind == "not_started":
            assert outcome.code == errno.EMFILE
            assert not list(launcher.directory.glob(f"a{limit}.*"))
    assert launcher.run("after", shell("exit 0"), 30).code == 0


def test_a_receipt_that_cannot_be_sized_starts_nothing(launcher: WaitingLauncher, tmp_path: Path) -> None:
    limits = resource.prlimit(launcher.pid, resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    outcome = launcher.run("a", shell(f"touch {tmp_path}/ran"), 30)
    assert outcome.kind == "not_started"
    assert outcome.code in {errno.ENOSPC, errno.EFBIG}
    assert not (tmp_path / "ran").exists()
    assert not list(launcher.directory.glob("a.*"))
    resource.prlimit(launcher.pid, resource.RLIMIT_FSIZE, limits)
    assert launcher.run("a", shell("exit 0"), 30).code == 0


def test_files_are_used_again_and_taken_away_at_the_end(tmp_path: Path) -> None:
    launcher = WaitingLauncher(tmp_path, "w1")
    launcher.start()
    inodes: list[int] = []

    def again() -> bool:
        attempt = f"a{len(inodes)}"
        assert launcher.run(attempt, shell(f"echo {attempt}; exit {len(inodes) % 99}"), 30).code == len(inodes) % 99
        outcome = read_receipt(tmp_path, attempt)
        assert outcome is not None
        assert outcome.tail == f"{attempt}\n".encode()
        inodes.append((tmp_path / f"{attempt}.note").stat().st_ino)
        remove_files(tmp_path, attempt)
        return len(set(inodes)) < len(inodes)

    until(again, "a file to be used again")
    launcher.run("kept", shell("exit 9"), 30)
    launcher.close()
    launcher.join(PATIENCE)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.note"]
    kept = read_receipt(tmp_path, "kept")
    assert kept is not None
    assert kept.code == 9


def test_a_void_note_wins_or_loses_but_never_both(launcher: WaitingLauncher, tmp_path: Path) -> None:
    """200 races between recovery's void note and the launcher's start: exactly one wins each."""
    seen = set()
    with ThreadPoolExecutor(1) as pool:
        for n in range(200):
            ran = tmp_path / f"ran{n}"
            touch = Prepared([b"/bin/touch", os.fsencode(ran)], ENVIRONMENT, None)
            running = pool.submit(launcher.run, f"v{n}", touch, 30)
            time.sleep((n % 20) * 0.00005)
            voided = create_void_note(launcher.directory, f"v{n}")
            outcome = running.result(PATIENCE)
            assert (outcome.kind == "void") == voided
            assert ran.exists() == (not voided)
            seen.add(voided)
    assert seen == {True, False}


WORKER = """
import pathlib, sys, threading
sys.path.insert(0, sys.argv[1])
from tests.fakes.launchers import WaitingLauncher
from worker.transports.command import Prepared
launcher = WaitingLauncher(pathlib.Path(sys.argv[2]), "w1")
launcher.start()
for n in range(4):
    argv = [b"/bin/sh", b"-c", b"sleep 1; exit %d" % n]
    threading.Thread(target=launcher.run, args=(f"k{n}", Prepared(argv, {}, None), 30)).start()
print(launcher.pid, flush=True)
"""


def test_a_killed_worker_leaves_receipts(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[3])
    argv = [sys.executable, "-c", WORKER, root, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        until(lambda: len(list(tmp_path.glob("k*.note"))) == 4, "four transports to start")
        process.kill()
    assert not flock_is_free(tmp_path / "w1.launcher")
    assert inspect(tmp_path, "k0", started_at=time.time(), timeout=30, alive=True) == recovery.StillRunning()
    until(lambda: flock_is_free(tmp_path / "w1.launcher"), "the launcher to end after its last transport")
    for n in range(4):
        status = inspect(tmp_path, f"k{n}", started_at=time.time(), timeout=30)
        assert isinstance(status, recovery.Finished)
        assert status.outcome.code == n
    assert inspect(tmp_path, "never", started_at=time.time(), timeout=30) == recovery.Void()


def test_a_killed_launcher_wakes_everybody_and_recovery_ends_its_session(tmp_path: Path) -> None:
    died = threading.Event()
    launcher = WaitingLauncher(tmp_path, "w1", on_death=died.set)
    launcher.start()
    with ThreadPoolExecutor(2) as pool:
        scripts = [f"sleep 600 & echo $! > {tmp_path}/child{n}; echo $$ > {tmp_path}/pid{n}; wait" for n in range(2)]
        waiting = [pool.submit(launcher.run, f"a{n}", shell(scripts[n]), 600) for n in range(2)]
        leader, child = pid_in(tmp_path / "pid0"), pid_in(tmp_path / "child0")
        other = pid_in(tmp_path / "pid1")
        until(lambda: all((note := read_note(tmp_path, f"a{n}")) and note.pid for n in range(2)), "the notes")
        os.kill(launcher.pid, signal.SIGKILL)
        for call in waiting:
            with pytest.raises(LauncherGone, match="restart the worker"):
                call.result(PATIENCE)
    assert died.wait(PATIENCE)
    assert not launcher.alive
    assert flock_is_free(launcher.lock_path)
    now = time.time()
    assert inspect(tmp_path, "a0", started_at=now, timeout=30) == recovery.StillRunning()
    assert inspect(tmp_path, "a0", started_at=now - 40, timeout=30) == recovery.Unknown()
    assert gone(leader)
    assert gone(child)
    # A process that only has the number of ours is never touched.
    (tmp_path / "a1.note").write_bytes(
        bytes(receipt_format.LINE_BYTES) + receipt_format.note_line("a1", other, "1", 9.0)
    )
    assert inspect(tmp_path, "a1", started_at=now - 40, timeout=30) == recovery.Unknown()
    assert not gone(other)
    sessions.kill_session(other, sessions.start_time(other) or "")


@pytest.mark.parametrize(
    ("step", "status"),
    [
        ("after_receipt_presized", recovery.Void),
        ("after_note", recovery.Unknown),
        ("after_spawn", recovery.Unknown),
        ("after_note_recorded", recovery.Unknown),
        ("before_receipt_write", recovery.Unknown),
        ("after_receipt_write", recovery.Finished),
        ("after_receipt_fsync", recovery.Finished),
    ],
)
def test_death_at_each_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, status: type) -> None:
    monkeypatch.setenv(FAULT_VARIABLE, f"launcher.{step}:kill")
    launcher = WaitingLauncher(tmp_path, "w1")
    launcher.start()
    with contextlib.suppress(LauncherGone):
        launcher.run("a", shell("sleep 0.2"), 30)  # long enough to be named in its note
    launcher.join(PATIENCE)
    until(lambda: flock_is_free(launcher.lock_path), "the lock to be free")
    until(
        lambda: isinstance(inspect(tmp_path, "a", started_at=time.time() - 40, timeout=30), status),
        f"{status.__name__} after a death at {step}",
    )


def test_a_launcher_that_cannot_start_says_why(tmp_path: Path) -> None:
    lock = hold_lock(tmp_path / "w1.launcher")
    with pytest.raises(LauncherGone):
        WaitingLauncher(tmp_path, "w1").start()
    os.close(lock)


def test_looking_at_a_lock_does_not_take_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert flock_is_free(path)
    lock = hold_lock(path)
    assert not flock_is_free(path)
    with pytest.raises(BlockingIOError):
        hold_lock(path)
    os.close(lock)
    assert flock_is_free(path)
    os.close(hold_lock(path))
