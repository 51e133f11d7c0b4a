"""How long commands take to start, as ratios to what any Python program pays; and the worker until it is ready."""

import subprocess
import sys
import time

from ops.benchmarks.table import Row, in_turn, median_row, ratios
from ops.benchmarks.world import World, paging_bus, true_agents


def run(*, quick: bool) -> list[Row]:
    """The rows of this part."""
    with paging_bus(0) as url, World(true_agents(2), url=url) as world:
        world.fill(2)

        def seconds(*argv: str) -> float:
            begin = time.perf_counter()
            subprocess.run([sys.executable, *argv], env=world.env, capture_output=True, check=False, cwd=world.home)
            return time.perf_counter() - begin

        plain, pydantic, status, queue, send = in_turn(
            2 if quick else 15,
            lambda: seconds("-c", "pass"),
            lambda: seconds("-c", "import pydantic_settings"),
            lambda: seconds("-m", "worker.cli.main", "status"),
            lambda: seconds("-m", "worker.cli.main", "queue"),
            lambda: seconds("-m", "worker.terminal.agent_send", "--help"),
        )
        ready = [_ready(world) for _ in range(1 if quick else 7)]
    return [
        median_row("start-up", "bus-watch status : import pydantic_settings", ratios(status, pydantic), "", "<= 1.6"),
        median_row("start-up", "bus-watch queue : import pydantic_settings", ratios(queue, pydantic), "", "<= 1.6"),
        median_row("start-up", "agent-send --help : python -c pass", ratios(send, plain), "", "<= 4"),
        median_row("start-up", "the worker, from its start until it has swept", ready, "s", "<= 1"),
        median_row("start-up", "python -c pass", [t * 1000 for t in plain], "ms"),
        median_row("start-up", "python -c 'import pydantic_settings'", [t * 1000 for t in pydantic], "ms"),
    ]


def _ready(world: World) -> float:
    begin = time.time()
    with world.worker() as process:
        swept = "select min(swept_at) from workers where started_at >= ? and swept_at is not null"
        world.wait(lambda: world.read(swept, begin)[0][0], process, every=0.01)
        return float(world.read(swept, begin)[0][0]) - begin
