"""What a delivery waits for the CPU: run-queue waits and wake-ups of the worker and its launcher, quiet and under load.

The kernel counts both (`/proc/PID/task/TID/schedstat`: nanoseconds run, nanoseconds waited, times run; Linux). A
delivery needs the launcher twice (to start it, and when it has ended) and the worker's reader once; more are hand-overs
too many. A short form is over before anything can be counted.
"""

import contextlib
from pathlib import Path

from ops.benchmarks.peers import BUSY, LANES, busy
from ops.benchmarks.table import Row
from ops.benchmarks.throughput import STEADY
from ops.benchmarks.world import World, paging_bus, true_agents


def run(*, quick: bool) -> list[Row]:
    """The rows of this part."""
    count = 64 if quick else 1600
    with paging_bus(0) as url:
        rows = _waits("many lanes, quiet", count, 8 if quick else LANES, url)
        if quick:
            return rows
        rows += _waits("one lane, quiet", count // 4, 1, url)
        with busy(BUSY):
            rows += _waits(f"many lanes, beside {BUSY} busy processes", count, LANES, url)
            rows += _waits(f"one lane, beside {BUSY} busy processes", count // 4, 1, url)
    return rows


def _waits(title: str, count: int, lanes: int, url: str) -> list[Row]:
    with World(true_agents(lanes), url=url) as world:
        world.fill(count // lanes)
        with world.worker("-w", "16") as process:
            world.wait(lambda: world.read(STEADY), process, every=0.005)
            launcher = world.launcher_pid(process)
            left = world.read("select count(*) from deliveries where state <> 'succeeded'")[0][0] or count
            before = _scheduled(process.pid), _scheduled(launcher)
            world.wait_until_done(process)
            after = _scheduled(process.pid), _scheduled(launcher)
        world.proof(count // lanes * lanes)
    rows = []
    for name, one, other in zip(("worker", "launcher"), before, after, strict=True):
        waited, times = (other[at] - one[at] for at in (0, 1))
        rows.append(Row("waits", f"{name} waits for a CPU, a delivery, {title}", waited / left / 1000, "us"))
        rows.append(Row("waits", f"wake-ups of the {name}, a delivery, {title}", times / left))
    return rows


def _scheduled(pid: int) -> tuple[int, int]:
    """Nanoseconds that its threads have waited in run queues, and how often they ran."""
    waited = times = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            _, waits, ran = map(int, (task / "schedstat").read_text(encoding="ascii").split())
            waited, times = waited + waits, times + ran
    return waited, times
