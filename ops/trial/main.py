"""`ops/trial/run`: install the UIs, run the rounds, print the table and write the results."""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ops.trial.recording import FOLDER
from ops.trial.rounds import ROUNDS, BrokenError
from ops.trial.sending import NOT_TYPED, Outcome
from ops.trial.sessions import LIVE, Session
from ops.trial.states import record
from ops.trial.stopping import go_on, listen
from ops.trial.terminal import descendants, end_processes
from ops.trial.installing import cache
from ops.trial.uis import UI, UIS

DESCRIPTION = """Real agent UIs, each in a tmux of its own, are sent messages with send-message; a stand-in
model on loopback writes down what they submit, and that is the truth. Installs the UIs through npm into a cache folder
($BUS_WATCH_TRIAL, else ~/.cache/bus-watch-trial); touches no home but the ones it makes there.

In the table: "n" messages were sent, "once" of them arrived exactly once and whole ("-": none was to be
typed), "agree" is for how many the verdict says what the log says; "unproven" verdicts claim nothing and are
never counted as agreeing."""


HONEST = frozenset({"dialog opening"})
"""Rounds in which nobody can always know: there a verdict must not be false, but may be "unproven"."""

INTERRUPTED = 130


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
    """How many were held back at first, and typed later."""
    seconds: float
    """Median of a call."""
    proofs: dict[str, int]
    broken: str
    outcomes: list[dict[str, Any]]

    @property
    def good(self) -> bool:
        """Nothing false, and, but for a dialog that opens between paste and Enter, nothing left unproven."""
        honest = self.agree + (self.unproven if self.case in HONEST else 0)
        return not self.broken and honest == self.n and (self.case in HONEST or self.once + self.withheld == self.n)


def row(ui: UI, version: str, case: str, outcomes: list[Outcome], broken: str = "") -> Row:
    """Count."""
    seconds = sorted(outcome.seconds for outcome in outcomes)
    proofs: dict[str, int] = {}
    for outcome in outcomes:
        proof = outcome.proof.split(" ")[0] or outcome.verdict
        proofs[proof] = proofs.get(proof, 0) + 1
    return Row(
        ui=ui.name,
        version=version,
        case=case,
        n=len(outcomes),
        once=sum(outcome.once for outcome in outcomes),
        agree=sum(outcome.agrees and outcome.verdict != "unproven" for outcome in outcomes),
        unproven=sum(outcome.verdict == "unproven" for outcome in outcomes),
        withheld=sum(outcome.verdict in NOT_TYPED and not outcome.times for outcome in outcomes),
        retried=sum(outcome.calls > 1 and outcome.verdict not in NOT_TYPED for outcome in outcomes),
        seconds=seconds[len(seconds) // 2] if seconds else 0.0,
        proofs=proofs,
        broken=broken,
        outcomes=[outcome.as_json() for outcome in outcomes],
    )


def trial(ui: UI, cases: Sequence[str], count: int, keep: Callable[[Row], None]) -> None:
    """All the rounds of one UI, in one session; a round that breaks is followed by a new session."""
    version = ui.package.version
    left = list(cases)
    while left:
        with Session(ui) as session:
            session.ready()
            while left:
                case = left.pop(0)
                broken, outcomes = "", []
                try:
                    outcomes = ROUNDS[case](session, count)
                except (BrokenError, SystemExit, OSError, ValueError, subprocess.SubprocessError) as error:
                    go_on()
                    broken = f"{type(error).__name__}: {error}"
                keep(row(ui, version, case, outcomes, broken))
                if broken:
                    break


class Results:
    """The rows so far, in a file that is whole after each of them: a long trial may be stopped."""

    def __init__(self, path: Path, count: int) -> None:
        self.path, self.count = path, count
        self.begun = time.time()
        self.rows: list[Row] = []
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)

    def keep(self, one: Row) -> None:
        """Add a row, and tell of it on standard error."""
        with self._lock:
            print(line(one), file=sys.stderr, flush=True)
            self.rows.append(one)
            self.rows.sort(key=lambda kept: kept.ui)  # stable: in the order of the rounds
            result = {
                "begun": self.begun,
                "seconds": time.time() - self.begun,
                "processors": os.cpu_count(),
                "n": self.count,
                "rows": [{**asdict(kept), "good": kept.good} for kept in self.rows],
            }
            new = self.path.with_suffix(".new")
            new.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            new.replace(self.path)


def line(one: Row) -> str:
    """One line of the table."""
    once = f"{one.once}/{one.n}" if one.once or not one.withheld else "-"
    mark = "ok" if one.good else "BAD"
    proofs = " ".join(f"{name}:{count}" for name, count in sorted(one.proofs.items()))
    return (
        f"{one.ui:9} {one.version:9} {one.case:28} {one.n:4} {once:>7} {one.agree:>4}/{one.n:<4} {one.unproven:4} "
        f"{one.withheld:4} {one.retried:5} {one.seconds:6.2f}  {mark:3} {proofs} {one.broken}"
    )


HEAD = (
    f"{'ui':9} {'version':9} {'case':28} {'n':>4} {'once':>7} {'agree':>9} {'unpr':>4} {'held':>4} {'later':>5} "
    f"{'s/call':>6}"
)


def _clean(running: Sequence[Future[None]]) -> bool:
    """After an interruption: end what was started, in whatever thread it is; whether all of it is gone."""
    for session in list(LIVE):
        session.stop()
    end_processes(descendants(os.getpid()) - {os.getpid()})
    wait(running, timeout=20)
    for session in LIVE:
        print(f"{session.ui.name}: {session.home} and {session.cwd} are left", file=sys.stderr)
    return not LIVE


def main() -> int:
    """The command. 0: everything held; 1: something did not; 130: interrupted, and nothing is left of it."""
    parser = argparse.ArgumentParser(
        prog="ops/trial/run", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ui", default=",".join(UIS), help="which, with commas between (default: %(default)s)")
    parser.add_argument("-n", type=int, default=30, help="messages a case (default: %(default)s)")
    parser.add_argument(
        "--case",
        action="append",
        help="only this case, or those that contain this; may be repeated. Cases: "
        + "; ".join(ROUNDS).replace("%", "%%"),
    )
    parser.add_argument("--jobs", type=int, default=2, help="UIs at a time (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="where the results go, as JSON (default: in the cache folder)")
    parser.add_argument("--update", action="store_true", help="install the newest versions of the UIs first")
    parser.add_argument("--record", action="store_true", help="record the UIs' screens anew as fixtures instead")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where --record puts them")
    args = parser.parse_args()
    unknown = set(args.ui.split(",")) - set(UIS)
    if unknown:
        parser.error(f"there is no UI called {', '.join(sorted(unknown))}")
    chosen = {name: UIS[name] for name in args.ui.split(",")}
    parts = args.case or [""]
    cases = [case for case in ROUNDS if any(part == case or (part not in ROUNDS and part in case) for part in parts)]
    listen()
    running: list[Future[None]] = []
    try:
        for ui in chosen.values():
            ui.package.install()
        if args.record:
            for ui in chosen.values():
                print(f"{ui.name}: {len(record(ui, args.folder))} screens")
            return 0
        begun = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime())
        results = Results(args.out or cache() / "results" / f"{begun}.json", args.n)
        pool = ThreadPoolExecutor(max(1, args.jobs))  # not as a context manager, which waits before it is told to stop
        running += [pool.submit(trial, ui, cases, args.n, results.keep) for ui in chosen.values()]
        while wait(running, timeout=1.0).not_done:
            pass  # a wait without end may never hear of a signal that another thread was given
        for done in running:
            done.result()
    except KeyboardInterrupt as by:
        print(f"interrupted ({by}); ending what was started", file=sys.stderr)
        # No thread may hold up the end: each of them has had its time to unwind.
        os._exit(INTERRUPTED if _clean(running) else 1)
    rows = results.rows
    print(HEAD, *(line(one) for one in rows), sep="\n")
    print(f"{sum(one.good for one in rows)} of {len(rows)} rounds good; {results.path}")
    return 0 if all(one.good for one in rows) else 1
