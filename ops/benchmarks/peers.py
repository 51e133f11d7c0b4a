"""Stock job queues on the same work: starting a process for each job, everything durable, quiet and beside a load.

Each in turn, by pinned versions, as its documentation uses it (see `peer_worker`): one process, 16 at a time. Then
kill -9 in the midst of it, and another worker: what was lost, and what was done twice. What a peer finds again only
later than PATIENCE seconds counts as lost. The short form needs no network: it takes stock huey, which is here.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ops.benchmarks import peer_services
from ops.benchmarks.table import Row, in_turn, median_row, ratios, rounds_of
from ops.benchmarks.world import World, paging_bus, true_agents

PEERS = ("huey", "pgqueuer", "dramatiq", "procrastinate")
BUSY = 16
LANES = 64
PATIENCE = 75.0  # dramatiq takes 60 s to see that a worker is gone
_SYNCS = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s.*\b(?:fsync|fdatasync)$", re.MULTILINE)


class Where(NamedTuple):
    """What the peers have: the Python that they are in, and the addresses of their servers."""

    python: str
    env: dict[str, str]


def run(*, quick: bool) -> list[Row]:
    """The rows of this part."""
    with contextlib.ExitStack() as stack:
        if quick:
            where = Where(sys.executable, {})
        else:
            dsn = stack.enter_context(peer_services.postgresql())
            port = stack.enter_context(peer_services.redis())
            where = Where(str(peer_services.python()), {"PEER_DSN": dsn, "PEER_REDIS": port})
        peers = PEERS[:1] if quick else PEERS
        url = stack.enter_context(paging_bus(0))
        rows = _speed("quiet", where, peers, url, quick=quick)
        with busy(1 if quick else BUSY):
            rows += _speed(f"beside {1 if quick else BUSY} busy processes", where, peers, url, quick=quick)
        if "BENCH_SPEED_ONLY" in os.environ:
            return rows
        for peer in peers:
            rows += _kills(peer, where, quick=quick)
            rows += _syncs(peer, where, 40 if quick else 400)
    return rows


def _speed(title: str, where: Where, peers: tuple[str, ...], url: str, *, quick: bool) -> list[Row]:
    rounds, count, threads = (1, 64, 8) if quick else (rounds_of(3), 1600, 16)
    variants: list[Callable[[], float]] = [lambda: _ours(count, 8 if quick else LANES, threads, url)]
    variants += [lambda peer=peer: _rate(peer, where, count, threads) for peer in peers]  # type: ignore[misc]
    ours, *others = in_turn(rounds, *variants)
    rows = [median_row("peers", f"bus-watch, {title}", ours, "/s")]
    for peer, found in zip(peers, others, strict=True):
        rows += [
            median_row("peers", f"{peer}, {title}", found, "/s"),
            median_row("peers", f"bus-watch : {peer}, {title}", ratios(ours, found), "", ">= 1"),
        ]
    return rows


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that want the CPU all the time, at the usual nice; they end with this one, however it ends."""
    script = "import os; parent = os.getppid()\nwhile os.getppid() == parent: sum(range(100_000))"
    spinning = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(count)]
    try:
        yield
    finally:
        for one in spinning:
            one.kill()
            one.wait()


def _ours(count: int, lanes: int, threads: int, url: str) -> float:
    """Deliveries a second, from the first end to the last."""
    with World(true_agents(lanes), url=url) as world:
        world.fill(count // lanes)
        with world.worker("-w", str(threads)) as process:
            world.wait_until_done(process)
        world.proof(count // lanes * lanes)
        first, last = world.read("select min(ended_at), max(ended_at) from attempts")[0]
        return float((count // lanes * lanes - 1) / (last - first))


def _rate(peer: str, where: Where, count: int, threads: int) -> float:
    """The same of a peer."""
    with _filled(peer, where, count) as place:
        with _working(peer, where, place, count, threads):
            _until(lambda: len(record(place)) >= count)
        times = sorted(when for _, when in record(place))
        return (len(times) - 1) / (times[-1] - times[0])


def _kills(peer: str, where: Where, *, quick: bool) -> list[Row]:
    """What a kill -9 in the midst of it costs: jobs of 50 ms, killed three times."""
    count, threads, times = (40, 4, 1) if quick else (400, 16, 3)
    with _filled(peer, where, count) as place:
        for number in range(1, times + 1):
            with _working(peer, where, place, count, threads, "0.05", stop=signal.SIGKILL):
                wanted = count * number // (times + 1)
                _until(lambda wanted=wanted: len(record(place)) >= wanted)  # type: ignore[misc]
        with _working(peer, where, place, count, threads, "0.05"):
            quiet = time.monotonic()
            before = -1
            while time.monotonic() - quiet < (2.0 if quick else PATIENCE):
                found = {number for number, _ in record(place)}
                if len(found) == count:
                    break
                if len(found) != before:
                    before, quiet = len(found), time.monotonic()
                time.sleep(0.2)
        done = Counter(number for number, _ in record(place))
    what = f"{peer}, {times} x kill -9 in {count} jobs"
    return [
        Row("peers lost", f"{what}: lost", float(count - len(done))),
        Row("peers lost", f"{what}: done twice", float(sum(n - 1 for n in done.values()))),
    ]


def _syncs(peer: str, where: Where, count: int) -> list[Row]:
    """Synced writes a job, of the worker process itself and of the peer's server, by strace."""
    strace = shutil.which("strace")
    if strace is None:
        return []
    with _filled(peer, where, count) as place:
        told = place / "strace"
        begun = [strace, "-f", "-c", "-e", "trace=fsync,fdatasync", "-o", str(told)]
        with contextlib.ExitStack() as stack:
            servers = [["-p", pid] for pid in _servers(peer, where)]
            if servers:
                argv = [*begun, *(word for pair in servers for word in pair)]
                watching = stack.enter_context(subprocess.Popen(argv, stderr=subprocess.DEVNULL))
                stack.callback(watching.send_signal, signal.SIGINT)
                time.sleep(1.0)
            stack.enter_context(_working(peer, where, place, count, 16, before=() if servers else tuple(begun)))
            _until(lambda: len(record(place)) >= count)
        synced = sum(int(number) for number in _SYNCS.findall(told.read_text()))
    return [Row("peers syncs", f"{peer}: synced writes a job", synced / count)]


def _servers(peer: str, where: Where) -> list[str]:
    """The processes of the server that a peer's jobs are in."""
    needle = {"dramatiq": where.env.get("PEER_REDIS", ""), "huey": ""}.get(peer, where.env.get("PEER_DSN", ""))
    port = needle.rpartition(":")[2].partition("/")[0]
    if not port:
        return []
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    heads = [pid for pid, _, args in rows if port in args and args.startswith(("/usr", "redis"))]
    return heads + [pid for pid, parent, _ in rows if parent in heads]


@contextlib.contextmanager
def _filled(peer: str, where: Where, count: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bus-watch-peer-") as folder:
        _clear(where)
        argv = _argv(peer, where, "fill", Path(folder), count, 1, "0")
        subprocess.run(argv, env=_env(where), check=True, stdout=subprocess.DEVNULL)
        yield Path(folder)


def _clear(where: Where) -> None:
    """Nothing of the run before is left in the servers."""
    if not where.env:
        return
    script = (
        "import os, redis, psycopg; redis.Redis(port=int(os.environ['PEER_REDIS'])).flushall();"
        "psycopg.connect(os.environ['PEER_DSN'], autocommit=True).execute("
        "'drop schema public cascade; create schema public')"
    )
    subprocess.run([where.python, "-c", script], env=_env(where), check=True)


@contextlib.contextmanager
def _working(
    peer: str,
    where: Where,
    place: Path,
    count: int,
    threads: int,
    seconds: str = "0",
    *,
    stop: signal.Signals = signal.SIGTERM,
    before: tuple[str, ...] = (),
) -> Iterator[None]:
    """A worker of the peer; its process group is ended at the end, as a supervisor would."""
    argv = [*before, *_argv(peer, where, "work", place, count, threads, seconds)]
    with (place / "log").open("ab") as log:
        process = subprocess.Popen(argv, env=_env(where), stdout=log, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, stop)
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _argv(peer: str, where: Where, what: str, place: Path, count: int, threads: int, seconds: str) -> list[str]:
    script = str(Path(__file__).with_name("peer_worker.py"))
    return [where.python, script, peer, what, str(place), str(count), str(threads), seconds]


def _env(where: Where) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8", **where.env}


def record(place: Path) -> list[tuple[int, float]]:
    """What was done: number and time, in the order in which it was."""
    path = place / "record"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(number), float(when)) for number, when in (line.split() for line in lines)]


def _until(is_so: Callable[[], bool], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit("a peer came to nothing; it is not our bench's to say why")
        time.sleep(0.05)
