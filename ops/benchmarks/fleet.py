"""The ledger in PostgreSQL beside the one in a file: deliveries a second, enqueue to claim, connections a worker.

The server is one of its own, durable as it comes (fsync on), on the same cores as everything else.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any

from ops.benchmarks import rivals
from ops.benchmarks.latency import delays_of
from ops.benchmarks.table import Row, in_turn, median_row, percentile, ratios, rounds_of
from ops.benchmarks.throughput import STEADY
from ops.benchmarks.throughput import drain as drain_file
from ops.benchmarks.world import World, paging_bus, true_agents
from tests.world.postgres import Server, running_server
from worker.configuration import load
from worker.ledger.configured import open_ledger
from worker.ledger.port import Ledger

SHAPES = ((1, 16), (2, 8), (4, 4))
"""Workers of one host, and threads of each."""


class FleetWorld(World):
    """One whose ledger is in a schema of a server."""

    def __init__(self, agents: list[dict[str, Any]], *, url: str, server: Server) -> None:
        self._server = server
        self._schema = f"bench{time.monotonic_ns()}"
        ledger_url = server.fresh(self._schema)
        super().__init__(agents, url=url)
        path = self.config.with_name("ledger-url")
        path.write_text(ledger_url, encoding="utf-8")
        path.chmod(0o600)
        self.configure(url=url, ledger_url_file=str(path), host="bench")

    def open(self) -> Ledger:
        """The ledger, to write into."""
        return open_ledger(load(self.config))

    def read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask it."""
        with self._server.connect() as connection:
            connection.execute("select set_config('search_path', %s, false)", (self._schema,))
            return connection.execute(query.replace("?", "%s").encode(), values or None).fetchall()

    def connections(self) -> int:
        """How many our workers have open."""
        return int(self.read("select count(*) from pg_stat_activity where application_name like 'bus-watch%'")[0][0])


def run(*, quick: bool) -> list[Row]:
    """The rows of this part."""
    rounds, count, lanes, shapes = (1, 48, 8, SHAPES[1:2]) if quick else (rounds_of(3), 2400, 64, SHAPES)
    connections: dict[str, list[float]] = {name: [] for name in map(_named, shapes)}
    with paging_bus(0) as url, running_server(durable=True) as server:

        def drained(shape: tuple[int, int]) -> Callable[[], float]:
            return lambda: _drain(count, lanes, shape, url, server, connections[_named(shape)])

        bare, file, *fleets = in_turn(
            rounds,
            lambda: rivals.measure("bare", count, 16),
            lambda: drain_file(count, lanes, 16, url),
            *map(drained, shapes),
        )
        rows = [
            median_row("fleet", "bare process starts, 16 threads", bare, "/s"),
            median_row("fleet", f"SQLite, {lanes} lanes, 1 x 16", file, "/s"),
        ]
        for shape, rates in zip(shapes, fleets, strict=True):
            name = _named(shape)
            rows += [
                median_row("fleet", f"PostgreSQL, {lanes} lanes, {name}", rates, "/s"),
                median_row("fleet", f"PostgreSQL {name} : SQLite", ratios(rates, file)),
                median_row("fleet", f"connections a worker, {name}", connections[name], "", "<= 4"),
            ]
        rows += _delays(url, server, 10 if quick else 300)
    return rows


def _named(shape: tuple[int, int]) -> str:
    return "{} x {}".format(*shape)


def _drain(count: int, lanes: int, shape: tuple[int, int], url: str, server: Server, connections: list[float]) -> float:
    """Deliveries a second, from when every inbox has been polled once to the last settle."""
    workers, threads = shape
    each = max(1, count // lanes)
    with FleetWorld(true_agents(lanes), url=url, server=server) as world, contextlib.ExitStack() as stack:
        world.fill(each)
        started = [stack.enter_context(world.worker("-w", str(threads))) for _ in range(workers)]
        world.wait(lambda: world.read(STEADY), started[0], every=0.02)
        steady = time.time()
        connections.append(world.connections() / workers)
        world.wait_until_done(started[0])
        stack.close()
        begin, end = world.proof(each * lanes)
        late = world.read("select count(*) from attempts where started_at >= ?", steady)[0][0]
    if late < each * lanes / 4:  # too few are left to tell: a short form
        return each * lanes / (end - begin)
    return float(late / (end - steady))


def _delays(url: str, server: Server, count: int) -> list[Row]:
    rows = []
    for name, world in (
        ("SQLite", World(true_agents(1), url=url)),
        ("PostgreSQL", FleetWorld(true_agents(1), url=url, server=server)),
    ):
        with world:
            delays = delays_of(world, count)["claim"]
        rows += [
            Row("fleet", f"enqueue to claim, idle, {name}, p{percent}", percentile(delays, percent), "ms")
            for percent in (50, 95)
        ]
    return rows
