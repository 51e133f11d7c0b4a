"""`run --once` against the consumer: the same messages, lanes and workers."""

import subprocess
import sys

from ops.benchmarks.table import Row, in_turn, median_row, ratios, rounds_of
from ops.benchmarks.world import PATIENCE, World, paging_bus, true_agents


def run(*, quick: bool) -> list[Row]:
    """The rows of this part."""
    rounds, each, lanes, threads = (1, 10, 4, 4) if quick else (rounds_of(3), 200, 8, 4)
    with paging_bus(0) as url:
        once, consumer = in_turn(
            rounds, lambda: _once(each, lanes, threads, url), lambda: _consumer(each, lanes, threads, url)
        )
    what = f"{lanes} lanes, -w {threads}"
    return [
        median_row("once", f"run --once, {what}", once, "/s"),
        median_row("once", f"the consumer, {what}", consumer, "/s"),
        median_row("once", f"run --once : the consumer, {what}", ratios(once, consumer), "", ">= 0.95"),
    ]


def _once(each: int, lanes: int, threads: int, url: str) -> float:
    """Deliveries a second, from the first start to the last end."""
    with World(true_agents(lanes), url=url) as world:
        world.fill(each)
        argv = [sys.executable, "-m", "worker.cli.main", "run", "--once", "-w", str(threads)]
        done = subprocess.run(
            argv, env=world.env, cwd=world.home, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        if done.stdout != f"delivered {each * lanes} message(s)\n":
            raise SystemExit(f"run --once said {done.stdout!r}: {done.stderr[-2000:]}")
        begin, end = world.proof(each * lanes)
        return each * lanes / (end - begin)


def _consumer(each: int, lanes: int, threads: int, url: str) -> float:
    with World(true_agents(lanes), url=url) as world:
        world.fill(each)
        with world.worker("-w", str(threads)) as process:
            world.wait_until_done(process)
        begin, end = world.proof(each * lanes)
        return each * lanes / (end - begin)
