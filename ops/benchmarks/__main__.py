"""`ops/bench [--quick] [--json FILE] [PART...]`: measure, print a table, write JSON. See ops/bench-results.md.

Exit status 1 when something was delivered wrongly (lost, twice, out of order); never for being slow.
"""

import argparse
import sys
import time
from pathlib import Path

from ops.benchmarks import (
    alerts,
    fleet,
    idle,
    lanes,
    latency,
    once,
    overhead,
    peers,
    scale,
    sending,
    startup,
    table,
    threads,
    throughput,
    views,
    waits,
    wakes,
)
from ops.benchmarks.world import ROOT

PARTS = {
    "throughput": throughput.run,
    "threads": threads.run,
    "waits": waits.run,
    "overhead": overhead.run,
    "latency": latency.run,
    "lanes": lanes.run,
    "once": once.run,
    "scale": scale.run,
    "idle": idle.run,
    "startup": startup.run,
    "sending": sending.run,
    "wakes": wakes.run,
    "views": views.run,
    "fleet": fleet.run,
    "alerts": alerts.run,
    "peers": peers.run,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="ops/bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument(
        "--quick", action="store_true", help="the short form: is everything right? its times mean little"
    )
    parser.add_argument("--json", type=Path, default=ROOT / "bench-results.json", metavar="FILE", help="%(default)s")
    args = parser.parse_args()
    if unknown := [part for part in args.parts if part not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}")
    rows: list[table.Row] = []
    begin = time.monotonic()
    for name in args.parts or PARTS:
        found = PARTS[name](quick=args.quick)
        table.show(found)
        rows += found
        table.write(args.json, rows, quick=args.quick)
    missed = sum(row.met is False for row in rows)
    print(f"{len(rows)} figures in {time.monotonic() - begin:.0f} s, {missed} goals missed; written to {args.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
