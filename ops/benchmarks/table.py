"""What was measured, as rows: printed as a table, written as JSON."""

import json
import os
import platform
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One figure. `goal` is `>= 0.75` or `<= 15`, empty where there is none; `samples` are its repetitions."""

    part: str
    what: str
    value: float
    unit: str = ""
    goal: str = ""
    samples: list[float] = field(default_factory=list)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one. A machine's speed never fails a run, it only shows here."""
        if not self.goal:
            return None
        sign, bound = self.goal.split()
        return self.value >= float(bound) if sign == ">=" else self.value <= float(bound)


def median_row(part: str, what: str, samples: Sequence[float], unit: str = "", goal: str = "") -> Row:
    """A row of the median of its samples."""
    return Row(part, what, statistics.median(samples), unit, goal, list(samples))


def rounds_of(usual: int) -> int:
    """How often everything runs in turn: BENCH_ROUNDS, or what is usual."""
    return int(os.environ.get("BENCH_ROUNDS", usual))


def in_turn(rounds: int, *variants: Callable[[], float]) -> list[list[float]]:
    """Run the variants one after the other, again and again: what disturbs one disturbs all. A list for each."""
    found: list[list[float]] = [[] for _ in variants]
    for turn in range(rounds):
        order = list(range(len(variants)))
        for index in order if turn % 2 == 0 else reversed(order):
            found[index].append(variants[index]())
    return found


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Round by round."""
    return [a / b for a, b in zip(over, under, strict=True)]


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def show(rows: Sequence[Row]) -> None:
    """Print the rows as they came; `<<` marks a goal that is missed."""
    for row in rows:
        spread = f"{min(row.samples):.3g}..{max(row.samples):.3g}" if len(row.samples) > 1 else ""
        verdict = "" if row.met is None else f"{row.goal:<9}{'ok' if row.met else '<<'}"
        print(f"{row.part:<11} {row.what:<62} {row.value:>9.4g} {row.unit:<8} {verdict:<12} {spread}", flush=True)


def write(path: Path, rows: Sequence[Row], *, quick: bool) -> None:
    """All rows as one JSON object, with the machine that they were measured on."""
    report = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "quick": quick,
        "machine": {
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "python": sys.version.split()[0],
            "sqlite": sqlite3.sqlite_version,
            "load": os.getloadavg(),
        },
        "rows": [asdict(row) | {"met": row.met} for row in rows],
    }
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
