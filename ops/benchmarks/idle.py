"""What a worker costs whose inboxes are quiet: requests, wake-ups, CPU, bytes written, syncs; for 1 to 1,000 agents.

Nothing is traced, so nothing is slowed down: the kernel counts CPU, switches and bytes; the number of commits stands in
the index of each database's write-ahead log (`iChange`, see https://sqlite.org/walformat.html#the_wal_index_header),
that of its checkpoints in the log's header. The ledger syncs once a commit; a checkpoint syncs log and file. The
bus is the embedded one; each agent has its token and its doorbell; the worker is the real consumer.
"""

import contextlib
import os
import re
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from ops.benchmarks.quiet import quiet_world
from ops.benchmarks.table import Row, percentile
from ops.benchmarks.world import World, cpu_of
from worker.bus.embedded.server import EmbeddedBus
from worker.serving.server import allow_connections

SETTLE_SECONDS = 90.0  # until every inbox has had its first polls, and doorbells are trusted
DAY = 86400.0
PROBES = 20


@dataclass(frozen=True)
class Counted:
    """What has been counted so far, of a worker and its launcher together."""

    cpu: float  # seconds
    switches: int  # voluntary: each is a wake-up to come
    written: int  # bytes that the kernel is to write to a disk
    commits: int  # of the ledger, each synced
    queue_commits: int  # of the queue, not synced
    checkpoints: int  # of both
    requests: int

    @property
    def syncs(self) -> int:
        """How often a disk has been waited for."""
        return self.commits + 2 * self.checkpoints


def run(*, quick: bool) -> list[Row]:
    """The rows of this part."""
    sizes = (1, 10) if quick else tuple(map(int, os.environ.get("BENCH_IDLE_AGENTS", "1,10,100,1000").split(",")))
    settle = 2.0 if quick else float(os.environ.get("BENCH_IDLE_SETTLE", SETTLE_SECONDS))
    seconds = 2.0 if quick else float(os.environ.get("BENCH_IDLE_SECONDS", "600"))
    rows = []
    for agents in sizes:
        rows += _idle(agents, settle, seconds, probes=0 if quick else PROBES)
    return rows


def _idle(agents: int, settle: float, seconds: float, probes: int) -> list[Row]:
    allow_connections()
    with quiet_world(agents) as (world, bus), world.worker("-w", "4") as process:
        world.wait(
            lambda: world.read("select count(*) from inboxes where polled_at is not null")[0][0] == agents, process
        )
        time.sleep(settle)
        launcher = world.launcher_pid(process)
        before, begin = _count(world, bus, process.pid, launcher), time.monotonic()
        time.sleep(seconds)
        after, lasted = _count(world, bus, process.pid, launcher), time.monotonic() - begin
        resident, threads = _memory(process.pid)
        delays = [_delay(world, bus, number % agents) for number in range(probes)]
    name = f"{agents:,} agent{'s' * (agents > 1)}"
    a_day = DAY / lasted
    goals = {1: ("<= 20", "<= 500", ""), 100: ("<= 200", "", "<= 1"), 1000: ("", "", "<= 6")}.get(agents, ("", "", ""))
    rows = [
        Row("idle", f"{name}: requests a minute", (after.requests - before.requests) / lasted * 60),
        Row("idle", f"{name}: wake-ups a second", (after.switches - before.switches) / lasted),
        Row("idle", f"{name}: CPU", (after.cpu - before.cpu) / lasted * 100, "% core", goals[2]),
        Row("idle", f"{name}: written a day", (after.written - before.written) * a_day / 1e6, "MB", goals[0]),
        Row("idle", f"{name}: syncs a day", (after.syncs - before.syncs) * a_day, "", goals[1]),
        Row("idle", f"{name}: commits of the queue a day", (after.queue_commits - before.queue_commits) * a_day),
        Row("idle", f"{name}: threads", threads),
        Row("idle", f"{name}: resident memory", resident / 1024, "MiB", "<= 150" if agents == 1000 else ""),
    ]
    if delays:
        goal = "<= 100" if agents == 1000 else ""
        rows.append(Row("idle", f"{name}: /send to ledger, p95", percentile(delays, 95) * 1000, "ms", goal, delays))
    return rows


def _count(world: World, bus: EmbeddedBus, *pids: int) -> Counted:
    ledger, queue = world.ledger, world.ledger.with_name(f"{world.ledger.stem}-queue.db")
    return Counted(
        cpu=sum(cpu_of(pid).own for pid in pids),
        switches=sum(_switches(pid) for pid in pids),
        written=sum(_written(pid) for pid in pids),
        commits=_commits(ledger),
        queue_commits=_commits(queue),
        checkpoints=_checkpoints(ledger) + _checkpoints(queue),
        requests=bus.answered,
    )


def _switches(pid: int) -> int:
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            status = (task / "status").read_text(encoding="ascii")
            total += int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)[0])
    return total


def _written(pid: int) -> int:
    return int(re.findall(r"^write_bytes: (\d+)", Path(f"/proc/{pid}/io").read_text(encoding="ascii"), re.MULTILINE)[0])


def _memory(pid: int) -> tuple[int, int]:
    """Resident KiB, and threads."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    resident, threads = (int(re.findall(rf"^{key}:\s+(\d+)", status, re.MULTILINE)[0]) for key in ("VmRSS", "Threads"))
    return resident, threads


def _commits(database: Path) -> int:
    """How many transactions have changed a database since its log was begun."""
    with Path(f"{database}-shm").open("rb") as index:
        return int(struct.unpack_from("=I", index.read(12), 8)[0])


def _checkpoints(database: Path) -> int:
    """How often its log was begun anew."""
    with Path(f"{database}-wal").open("rb") as log:
        header = log.read(32)
    return int(struct.unpack_from(">I", header, 12)[0]) if header else 0


def _delay(world: World, bus: EmbeddedBus, number: int) -> float:
    """Seconds from a message's arrival on the bus until it is in the ledger."""
    agent = f"agent{number}"
    time.sleep(1.3)  # by then its token has a slot again
    before = world.read("select count(*) from messages")[0][0]
    begin = time.monotonic()
    bus.store.append(source="agent:bench", to=agent, text="hello", project=None)
    while world.read("select count(*) from messages")[0][0] == before:
        if time.monotonic() - begin > 120:
            raise SystemExit(f"a message to {agent} did not come")
        time.sleep(0.002)
    return time.monotonic() - begin
