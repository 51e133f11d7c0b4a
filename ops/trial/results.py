"""The results of a trial: a row for each round, the file they are kept in, and the tables made from it."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ops.trial.installing import node_version, size
from ops.trial.sending import NOT_TYPED, Outcome
from ops.trial.uis import UI


@dataclass(frozen=True)
class Row:
    """One round of one UI."""

    ui: str
    version: str
    case: str
    n: int
    once: int
    agree: int
    unproven: int
    withheld: int
    """How many of the messages were not typed, and said so."""
    retried: int
    """How many were deferred at first, and typed later."""
    seconds: float
    """Median of a call."""
    took: float
    """Seconds of the whole round, with what it waited for and, where it was the first, the UI's start."""
    proofs: dict[str, int]
    broken: str
    good: bool
    """Everything that was wanted happened, and was said."""
    outcomes: list[dict[str, Any]]


def row(ui: UI, case: str, outcomes: list[Outcome], broken: str = "", *, took: float = 0.0) -> Row:
    """Count."""
    seconds = sorted(outcome.seconds for outcome in outcomes)
    proofs: dict[str, int] = {}
    for outcome in outcomes:
        proof = outcome.proof.split(" ")[0] or outcome.verdict
        proofs[proof] = proofs.get(proof, 0) + 1
    return Row(
        ui=ui.name,
        version=ui.package.version,
        case=case,
        n=len(outcomes),
        once=sum(outcome.once for outcome in outcomes),
        agree=sum(outcome.agrees and outcome.verdict != "unproven" for outcome in outcomes),
        unproven=sum(outcome.verdict == "unproven" for outcome in outcomes),
        withheld=sum(outcome.verdict in NOT_TYPED and not outcome.times for outcome in outcomes),
        retried=sum(outcome.calls > 1 and outcome.verdict not in NOT_TYPED for outcome in outcomes),
        seconds=seconds[len(seconds) // 2] if seconds else 0.0,
        took=round(took, 1),
        proofs=proofs,
        broken=broken,
        good=not broken and bool(outcomes) and all(outcome.good for outcome in outcomes),
        outcomes=[outcome.as_json() for outcome in outcomes],
    )


class Results:
    """The rows so far, in a file that is whole after each of them: a long trial may be stopped."""

    def __init__(self, path: Path, count: int, uis: Iterable[UI], *, quick: bool) -> None:
        self.path, self.count, self._quick = path, count, quick
        self.begun = time.time()
        self.rows: list[Row] = []
        self._lock = threading.Lock()
        self._uis = {
            ui.name: {
                "package": ui.package.name,
                "version": ui.package.version,
                "megabytes": size(ui.package.folder),
            }
            for ui in uis
        }
        self._commit = _first_line("git", "describe", "--always", "--dirty")
        self._tmux = _first_line("tmux", "-V").removeprefix("tmux ")
        path.parent.mkdir(parents=True, exist_ok=True)

    def keep(self, one: Row) -> None:
        """Add a row, and tell of it on standard error."""
        with self._lock:
            print(line(one), file=sys.stderr, flush=True)
            self.rows.append(one)
            self.rows.sort(key=lambda kept: kept.ui)  # stable: in the order of the rounds
            result = {
                "date": time.strftime("%Y-%m-%d", time.gmtime(self.begun)),
                "begun": self.begun,
                "seconds": time.time() - self.begun,
                "commit": self._commit,
                "tmux": self._tmux,
                "processors": os.cpu_count(),
                "node": node_version(),
                "uis": self._uis,
                "n": self.count,
                "quick": self._quick,
                "rows": [asdict(kept) for kept in self.rows],
            }
            new = self.path.with_suffix(".new")
            new.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            new.replace(self.path)


def _first_line(*argv: str) -> str:
    """What a command says; empty if it cannot be asked."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True, cwd=Path(__file__).parent)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


HEAD = (
    f"{'ui':9} {'version':9} {'case':34} {'n':>4} {'once':>7} {'agree':>9} {'unpr':>4} {'defer':>5} {'later':>5} "
    f"{'s/call':>6} {'took':>5}"
)


def line(one: Row) -> str:
    """One line of the table."""
    once = f"{one.once}/{one.n}" if one.once or not one.withheld else "-"
    mark = "ok" if one.good else "BAD"
    proofs = " ".join(f"{name}:{count}" for name, count in sorted(one.proofs.items()))
    return (
        f"{one.ui:9} {one.version:9} {one.case:34} {one.n:4} {once:>7} {one.agree:>4}/{one.n:<4} {one.unproven:4} "
        f"{one.withheld:5} {one.retried:5} {one.seconds:6.2f} {one.took:5.0f}  {mark:3} {proofs} {one.broken}"
    )
