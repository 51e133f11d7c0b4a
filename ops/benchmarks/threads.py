"""Many lanes against bare starts from the same number of threads: 4, 16 and 64."""

from ops.benchmarks import rivals
from ops.benchmarks.table import Row, in_turn, median_row, ratios, rounds_of
from ops.benchmarks.throughput import drain
from ops.benchmarks.world import paging_bus

LANES = 64


def run(*, quick: bool) -> list[Row]:
    """The rows of this part."""
    rounds, count, sizes = (1, 128, (4,)) if quick else (rounds_of(3), 3200, (4, 16, 64))
    rows = []
    with paging_bus(0) as url:
        for threads in sizes:
            bare, ours = in_turn(
                rounds,
                lambda threads=threads: rivals.measure("bare", count, threads),  # type: ignore[misc]
                lambda threads=threads: drain(count, LANES, threads, url),  # type: ignore[misc]
            )
            what = f"{threads} threads"
            rows += [
                median_row("threads", f"bare process starts, {what}", bare, "/s"),
                median_row("threads", f"deliveries, {LANES} lanes, {what}", ours, "/s"),
                median_row("threads", f"deliveries : bare, {what}", ratios(ours, bare), "", ">= 0.7"),
            ]
    return rows
