"""Commits and bytes of a delivery, counted: under load, and with one delivery at a time."""

import json
import re
from pathlib import Path

from ops.benchmarks.table import Row
from ops.benchmarks.world import World, paging_bus, true_agents


def run(*, quick: bool) -> list[Row]:
    """The rows of this part."""
    count = 64 if quick else 1600
    return [*_counted("under load", count, 32, 16), *_counted("one lane", count // 4, 1, 4)]


def _counted(name: str, count: int, lanes: int, threads: int) -> list[Row]:
    with paging_bus(0) as url, World(true_agents(lanes), url=url) as world:
        world.fill(count // lanes)
        result = world.home / "counts.json"
        with world.worker("-w", str(threads), module="ops.benchmarks.counted", before=(str(result),)) as process:
            world.wait_until_done(process)
            written = _written(process.pid)
        world.proof(count // lanes * lanes)
        counts = json.loads(result.read_text(encoding="ascii"))
    return [
        Row("commits", f"synced commits a delivery, {name} (polls and sweeps included)", counts["full"] / count, "",
            "<= 2"),
        Row("commits", f"commits of the queue a delivery, {name} (not synced)", counts["normal"] / count),
        Row("commits", f"bytes written a delivery, {name}", written / count / 1024, "KiB"),
    ]  # fmt: skip


def _written(pid: int) -> int:
    found = re.search(r"^write_bytes: (\d+)", Path(f"/proc/{pid}/io").read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) if found else 0
