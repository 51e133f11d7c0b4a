"""Deliveries a second, everything durable: against bare process starts, the naive watcher, and stock huey."""

import time
from dataclasses import dataclass

from ops.benchmarks import rivals
from ops.benchmarks.table import Row, in_turn, median_row, ratios, rounds_of
from ops.benchmarks.world import World, cpu_of, paging_bus, true_agents


@dataclass
class Spent:
    """CPU microseconds a delivery, summed up over runs: worker, launcher, and the transports themselves."""

    worker: list[float]
    launcher: list[float]
    children: list[float]


def drain(count: int, lanes: int, threads: int, url: str, spent: Spent | None = None, finished: int = 0) -> float:
    """Deliveries a second of the real consumer, from when every inbox has been polled once to the last settle."""
    each = max(1, count // lanes)
    with World(true_agents(lanes), url=url) as world:
        world.fill(each, finished=finished)
        with world.worker("-w", str(threads)) as process:
            world.wait(lambda: world.read(STEADY), process, every=0.005)
            steady = time.time()
            launcher = world.launcher_pid(process)
            before = cpu_of(process.pid), cpu_of(launcher)
            left = world.read("select count(*) from deliveries where state <> 'succeeded'")[0][0]
            world.wait_until_done(process)
            worker, starter = cpu_of(process.pid) - before[0], cpu_of(launcher) - before[1]
        begin, end = world.proof(each * lanes, finished)
        late = world.read("select count(*) from attempts where worker <> 'old' and started_at >= ?", steady)[0][0]
        left = left or each * lanes  # a short form may be over before the first look: its figures mean nothing
        if spent is not None:
            spent.worker.append(worker.own / left * 1e6)
            spent.launcher.append(starter.own / left * 1e6)
            spent.children.append(starter.children / left * 1e6)
        if late < each * lanes / 4:  # too few are left to tell: a short form
            return each * lanes / (end - begin)
        return float(late / (end - steady))


STEADY = """
select 1 where exists (select 1 from attempts where worker <> 'old')
           and not exists (select 1 from inboxes where polled_at is null)
"""


def run(*, quick: bool) -> list[Row]:
    """The rows of this part."""
    rows = []
    rounds, count, lanes, threads = (1, 96, 8, 8) if quick else (rounds_of(5), 4800, 64, 16)
    with paging_bus(0) as url:
        spent = Spent([], [], [])
        bare, apart, ours, stock, naive = in_turn(
            rounds,
            lambda: rivals.measure("bare", count, threads),
            lambda: rivals.measure("sessions", count, threads),
            lambda: drain(count, lanes, threads, url, spent),
            lambda: rivals.measure("stock", count, threads),
            lambda: rivals.measure("naive", count // 4, rivals.STATE_IDS),
        )
        part = "throughput"
        rows += [
            median_row(part, f"bare process starts, {threads} threads", bare, "/s"),
            median_row(part, f"deliveries, {lanes} lanes, -w {threads}", ours, "/s"),
            median_row(part, "deliveries : bare", ratios(ours, bare), "", ">= 0.75"),
            median_row(part, "bare in sessions of their own : bare", ratios(apart, bare)),
            median_row(part, "stock huey : bare (no ledger)", ratios(stock, bare)),
            median_row(part, "deliveries : stock huey", ratios(ours, stock), "", ">= 1"),
            median_row(part, "deliveries : naive watcher with 2,000 ids", ratios(ours, naive)),
        ]
        rows += [
            median_row("overhead", "CPU of the worker a delivery", spent.worker, "us"),
            median_row("overhead", "CPU of the launcher a delivery, its starts included", spent.launcher, "us"),
            median_row("overhead", "CPU of the transport itself (/bin/true)", spent.children, "us"),
        ]
        one, few = (40, 40) if quick else (2000, 600)  # the naive watcher's set of ids grows as it runs
        serial, apart, lane, full = in_turn(
            rounds,
            lambda: rivals.measure("serial", one),
            lambda: rivals.measure("sessions", one, 1),
            lambda: drain(one, 1, 4, url),
            lambda: rivals.measure("naive", few, rivals.STATE_IDS),
        )
        rows += [
            median_row("one lane", "bare starts, one after the other", serial, "/s"),
            median_row("one lane", "deliveries in order", lane, "/s"),
            median_row("one lane", "deliveries : bare, one after the other", ratios(lane, serial), "", ">= 0.4"),
            median_row("one lane", "bare in sessions of their own : bare", ratios(apart, serial)),
            median_row("one lane", "deliveries : naive watcher with 2,000 ids", ratios(lane, full), "", ">= 3"),
        ]
    return rows
