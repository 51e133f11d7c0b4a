"""Ctrl-C hits one caller, wherever it stands; everybody else's writes go through, and nothing is told wrongly."""

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.ledger.test_database import INSERT, _agents
from worker.ledger.port import Tx
from worker.ledger.sqlite import SqliteLedger

PATIENCE = 30.0


def _insert(name: str) -> Callable[[Tx], object]:
    return lambda tx: tx.execute(INSERT, (name,))


@contextmanager
def busy(file: SqliteLedger, pool: ThreadPoolExecutor) -> Iterator[threading.Event]:
    """Somebody leads, and is at it until the event is set: whoever writes meanwhile waits."""
    begun, go = threading.Event(), threading.Event()

    def operation(_: Tx) -> None:
        begun.set()
        assert go.wait(PATIENCE)

    leader = pool.submit(file.write, operation)
    assert begun.wait(PATIENCE)
    try:
        yield go
    finally:
        go.set()
        leader.result(PATIENCE)


def _until_pending(file: SqliteLedger, count: int) -> None:
    """Until so many writes wait; a thread that has come so far cannot be seen in any other way."""
    waiting = threading.Event()
    while len(file._pending) < count:
        waiting.wait(0.005)


def test_an_interrupted_waiter_blocks_nobody(file: SqliteLedger) -> None:
    """It waits as the next leader when Ctrl-C comes; those behind it are led by somebody else."""
    main = threading.main_thread().ident
    assert main is not None
    with ThreadPoolExecutor(8) as pool:
        with busy(file, pool):
            behind: list[Future[object]] = []

            def interrupt() -> None:
                _until_pending(file, 1)
                behind.extend(pool.submit(file.write, _insert(f"behind{n}")) for n in range(3))
                _until_pending(file, 4)
                signal.pthread_kill(main, signal.SIGINT)

            done = pool.submit(interrupt)
            with pytest.raises(KeyboardInterrupt):
                file.write(_insert("interrupted"))
            done.result(PATIENCE)
        for future in behind:
            future.result(PATIENCE)
        pool.submit(file.write, _insert("later")).result(PATIENCE)
    assert _agents(file) == {"behind0", "behind1", "behind2", "later"}


def test_an_interrupted_leader_takes_nobody_along(file: SqliteLedger) -> None:
    """What it had begun for others is undone, and done again by the next leader: they hear nothing of it."""

    def interrupted(tx: Tx) -> None:
        tx.execute(INSERT, ("interrupted",))
        raise KeyboardInterrupt

    with ThreadPoolExecutor(8) as pool:
        with busy(file, pool):
            leads = pool.submit(file.write, interrupted)
            _until_pending(file, 1)
            behind = [pool.submit(file.write, _insert(f"behind{n}")) for n in range(3)]
            _until_pending(file, 4)
        with pytest.raises(KeyboardInterrupt):
            leads.result(PATIENCE)
        for future in behind:
            future.result(PATIENCE)
    assert _agents(file) == {"behind0", "behind1", "behind2"}


def test_an_interrupt_after_the_commit_undoes_nothing(file: SqliteLedger) -> None:
    """A signal is looked at once the commit has returned: what is on the disk is told as done to the others."""
    real = file._writer

    class Interrupted:
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        def execute(self, query: str, values: object = ()) -> sqlite3.Cursor:
            cursor = real.execute(query, values)  # type: ignore[arg-type]
            if query == "commit":
                file._writer = real
                raise KeyboardInterrupt
            return cursor

    with ThreadPoolExecutor(8) as pool:
        with busy(file, pool) as go:
            leads = pool.submit(file.write, _insert("leads"))
            _until_pending(file, 1)
            behind = pool.submit(file.write, lambda tx: tx.execute(INSERT, ("behind",)).rowcount)
            _until_pending(file, 2)
            with file._read_lock:  # nobody reads `_writer` before it is changed: the one who writes has it already
                file._writer = Interrupted()  # type: ignore[assignment]
            go.set()
        with pytest.raises(KeyboardInterrupt):
            leads.result(PATIENCE)
        assert behind.result(PATIENCE) == 1
    assert _agents(file) == {"leads", "behind"}


STORM = """
import os, signal, sys, threading, time
from pathlib import Path
from worker.ledger.sqlite import SqliteLedger

file = SqliteLedger(Path(sys.argv[1]))
file._writer.execute("pragma synchronous = off")
write = "insert or replace into inboxes (agent, floor_ms) values (?, 0)"
done, over = [0, 0, 0], threading.Event()

def others(number):
    while not over.is_set():
        file.write(lambda tx: tx.execute(write, (f"n{number}",)))
        done[number] += 1

armed = False  # the next one comes only where it is caught, however slow the machine

def interrupt():
    global armed
    while not over.wait(0.003):
        if armed:
            armed = False
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

threads = [threading.Thread(target=others, args=(n,), daemon=True) for n in range(3)]
threads.append(threading.Thread(target=interrupt, daemon=True))
hits = 0
for thread in threads:
    thread.start()
while hits < 150:
    try:
        armed = True
        while True:
            file.write(lambda tx: tx.execute(write, ("main",)))
    except KeyboardInterrupt:
        hits += 1
seen = list(done)
deadline = time.monotonic() + 20
while not all(now > then + 10 for now, then in zip(done, seen)) and time.monotonic() < deadline:
    time.sleep(0.05)
print([now - then for now, then in zip(done, seen)])
sys.stdout.flush()
os._exit(not all(now > then + 10 for now, then in zip(done, seen)))
"""


@pytest.mark.usefixtures("unmeasured")
def test_a_storm_of_interrupts(tmp_path: Path) -> None:
    """Ctrl-C at any moment, 150 times over, in the thread that writes beside three others."""
    ran = subprocess.run(
        [sys.executable, "-c", STORM, str(tmp_path / "ledger.file")],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
