"""One worker with 1, 10 and 100 agents on the embedded bus; a ledger of a thousand to a million deliveries."""

import os
import re
import time
from pathlib import Path

from ops.benchmarks import throughput
from ops.benchmarks.quiet import quiet_world
from ops.benchmarks.table import Row
from ops.benchmarks.world import cpu_of, paging_bus


def run(*, quick: bool) -> list[Row]:
    """The rows of this part."""
    sizes, seconds = ((1, 10), 2.0) if quick else ((1, 10, 100), 20.0)
    rows, memory = [], {}
    for agents in sizes:
        requests, cpu, resident, descriptors = _idle(agents, seconds)
        memory[agents] = resident
        rows += [
            Row("scale", f"{agents} agents: requests a second", requests, "/s"),
            Row("scale", f"{agents} agents: CPU", cpu * 100, "% core"),
            Row("scale", f"{agents} agents: resident memory", resident / 1024, "MiB"),
            Row("scale", f"{agents} agents: file descriptors", descriptors),
        ]
    most = max(sizes)
    rows.append(Row("scale", "memory an agent more", (memory[most] - memory[1]) / (most - 1), "KiB", "<= 150"))
    history = (1000, 10_000) if quick else (1000, 10_000, 100_000, 1_000_000)
    count = 64 if quick else 1600
    with paging_bus(0) as url:
        first = 0.0
        for finished in history:
            rate = throughput.drain(count, 16, 8, url, finished=finished)
            first = first or rate
            goal = "" if finished == history[0] else ">= 0.8"
            what = f"deliveries a second with {finished:,} in the ledger : with 1,000"
            rows.append(Row("scale", what, rate / first, "", goal))
    return rows


def _idle(agents: int, seconds: float) -> tuple[float, float, float, int]:
    """Requests and CPU seconds a second, KiB, descriptors: of a worker whose inboxes are quiet."""
    with quiet_world(agents) as (world, bus), world.worker("-w", "4") as process:
        world.wait(
            lambda: world.read("select count(*) from inboxes where polled_at is not null")[0][0] == agents,
            process,
        )
        before, begin = cpu_of(process.pid), bus.answered
        time.sleep(seconds)
        spent, requests = cpu_of(process.pid) - before, bus.answered - begin
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        found = re.search(r"VmRSS:\s+(\d+)", status)
        descriptors = len(os.listdir(f"/proc/{process.pid}/fd"))  # noqa: PTH208 - names are enough
    return requests / seconds, spent.own / seconds, float(found[1]) if found else 0.0, descriptors
