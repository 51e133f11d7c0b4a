"""From the enqueue of a delivery to the start of its process: with nothing else to do, and under load."""

import json
import subprocess
import sys

from ops.benchmarks.table import Row, percentile
from ops.benchmarks.world import PATIENCE, World, paging_bus, true_agents


def run(*, quick: bool) -> list[Row]:
    """The rows of this part."""
    count = 10 if quick else 300
    return [*_measured("idle", count, others=0, each=0), *_measured("under load", count, others=4, each=count * 30)]


def _measured(name: str, count: int, *, others: int, each: int) -> list[Row]:
    """`others` lanes work off a backlog of `each` meanwhile, on 8 threads: busy, with a thread to spare."""
    with paging_bus(0) as url, World(true_agents(1 + others), url=url) as world:
        if each:
            world.fill(each, skip=1)
        delays = delays_of(world, count)["start"]
    return [
        Row("latency", f"enqueue to process start, {name}, p50", percentile(delays, 50), "ms", "<= 3"),
        Row("latency", f"enqueue to process start, {name}, p99", percentile(delays, 99), "ms", "<= 15"),
    ]


def delays_of(world: World, count: int) -> dict[str, list[float]]:
    """Milliseconds from the enqueue of each of `count` deliveries to its claim, and to the start of its process."""
    result = world.home / "delays.json"
    argv = [sys.executable, "-m", "ops.benchmarks.probe", str(result), str(count), "0.02"]
    with (world.home / "worker.log").open("wb") as log:
        subprocess.run(argv, env=world.env, stderr=log, check=True, timeout=PATIENCE)
    found = json.loads(result.read_text(encoding="ascii"))
    return {name: [delay * 1000 for delay in delays] for name, delays in found.items()}
