"""`ops/trial/run`: install the UIs, run the rounds, print the table and write the results."""

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from ops.trial.installing import InstallError, cache, ensure_node
from ops.trial.kept import keep, newest, table, write_page
from ops.trial.plan import QUICK, Case, plan, quick
from ops.trial.recording import FOLDER
from ops.trial.results import HEAD, Results, Row, line, row
from ops.trial.rounds import BrokenError
from ops.trial.sessions import LIVE, Session
from ops.trial.states import record
from ops.trial.stopping import go_on, listen
from ops.trial.terminal import descendants, end_processes
from ops.trial.uis import UI, UIS

DESCRIPTION = """Real agent UIs, each in a tmux of its own, are sent messages with send-message; a stand-in
model on loopback writes down what they submit, and that is the truth. Installs the UIs through npm into a cache folder
($BUS_WATCH_TRIAL, else ~/.cache/bus-watch-trial); touches no home but the ones it makes there.

In the table: "n" messages were sent, "once" of them arrived exactly once and whole ("-": none was to be
typed), "agree" is for how many the verdict says what the log says; "unproven" verdicts claim nothing and are
never counted as agreeing."""


INTERRUPTED = 130


_FAILED = (BrokenError, SystemExit, OSError, ValueError, subprocess.SubprocessError)


def trial(ui: UI, cases: Mapping[str, Case], count: int, keep: Callable[[Row], None]) -> None:
    """All the rounds of one UI, in one session while it looks the same; after one that breaks, in a new one.

    A UI that cannot even be started is given up: its next round would end as this one did.
    """
    left = dict(cases)
    while left:
        begun = time.monotonic()
        try:
            with Session(ui, next(iter(left.values())).look) as session:
                _rounds(session, left, count, keep, begun)
        except _FAILED as error:
            go_on()
            broken = f"{type(error).__name__}: {error}"
            keep(row(ui, next(iter(left), "its end"), [], broken, took=time.monotonic() - begun))
            return


def _rounds(session: Session, left: dict[str, Case], count: int, keep: Callable[[Row], None], begun: float) -> None:
    """Run what is `left`, and take it away, until one breaks; the UI began to start when it was `begun`."""
    for name in list(left):
        case = left.pop(name)
        broken, outcomes = "", []
        try:
            session.wear(case.look)
            outcomes = case.run(session, count)
        except _FAILED as error:
            go_on()
            broken = f"{type(error).__name__}: {error}"
        now = time.monotonic()
        keep(row(session.ui, name, outcomes, broken, took=now - begun))
        begun = now
        if broken:
            return


def _clean(running: Sequence[Future[None]]) -> bool:
    """After an interruption: end what was started, in whatever thread it is; whether all of it is gone."""
    for session in list(LIVE):
        session.stop()
    end_processes(descendants(os.getpid()) - {os.getpid()})
    wait(running, timeout=20)
    for session in LIVE:
        print(f"{session.ui.name}: {session.home} and {session.cwd} are left", file=sys.stderr)
    return not LIVE


def _installed(ui: UI, *, newest: bool) -> UI | None:
    """Install `ui`, if need be in its pinned version, as the newest one may not be complete; None: it cannot be had."""
    for version in (UI.newest, lambda pinned: pinned) if newest else (lambda pinned: pinned,):
        try:
            wanted = version(ui)
            wanted.package.install()
        except InstallError as error:
            print(f"{ui.name}: {error}", file=sys.stderr)
        else:
            return wanted
    return None


def _all_installed(names: Sequence[str], *, newest: bool) -> list[UI]:
    """Those that can be had; several at a time, as each asks a registry and starts its program to see its version."""
    if any(UIS[name].package.installer == "npm" for name in names):
        with contextlib.suppress(InstallError):  # each says so itself
            ensure_node()
    pool = ThreadPoolExecutor(4)
    try:
        found = pool.map(lambda name: _installed(UIS[name], newest=newest), names)
        return [ui for ui in found if ui is not None]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _only(cases: Mapping[str, Case], parts: Sequence[str]) -> dict[str, Case]:
    """The cases that are called one of `parts`, or, if no case is called so, contain it."""
    names = {name for part in parts for name in ([part] if part in cases else [n for n in cases if part in n])}
    return {name: case for name, case in cases.items() if name in names}


def main() -> int:
    """The command. 0: everything held; 1: something did not; 130: interrupted, and nothing is left of it."""
    parser = argparse.ArgumentParser(
        prog="ops/trial/run", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ui", default=",".join(UIS), help="which, with commas between (default: %(default)s)")
    parser.add_argument("-n", type=int, help="messages a case (default: 30, with --quick 2)")
    parser.add_argument(
        "--case",
        action="append",
        help="only this case, or those that contain this; may be repeated. Cases: "
        + "; ".join(dict.fromkeys(name for ui in UIS.values() for name in plan(ui))).replace("%", "%%"),
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"has a UI drifted? Newest versions, only: {'; '.join(QUICK)}"
    )
    parser.add_argument("--jobs", type=int, help="UIs at a time (default: 2, with --quick 3)")
    parser.add_argument("--out", type=Path, help="where the results go, as JSON (default: in the cache folder)")
    parser.add_argument("--newest", action="store_true", help="the newest versions of the UIs, not the pinned ones")
    parser.add_argument("--record", action="store_true", help="record the UIs' screens anew as fixtures instead")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where --record puts them")
    parser.add_argument(
        "--table",
        type=Path,
        nargs="+",
        metavar="RESULTS",
        help="run nothing: print a Markdown table of these results",
    )
    parser.add_argument(
        "--keep",
        type=Path,
        nargs="*",
        metavar="RESULTS",
        help="run nothing: add these results to ops/trial/results, and make the tables of docs/terminals.md anew",
    )
    args = parser.parse_args()
    if args.table:
        print(table(newest(args.table), UIS))
        return 0
    if args.keep is not None:
        print(f"{keep(args.keep)} rounds added")
        write_page()
        return 0
    names = args.ui.split(",")
    unknown = set(names) - set(UIS)
    if unknown:
        parser.error(f"there is no UI called {', '.join(sorted(unknown))}")
    parts = args.case or [""]
    cases = quick if args.quick else plan
    count = args.n or (2 if args.quick else 30)
    jobs = args.jobs or (3 if args.quick else 2)
    started = time.monotonic()
    listen()
    running: list[Future[None]] = []
    try:
        chosen = _all_installed(names, newest=args.newest or args.quick)
        if args.record:
            for ui in chosen:
                print(f"{ui.name}: {len(record(ui, args.folder))} screens")
            return 0
        begun = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime())
        results = Results(args.out or cache() / "results" / f"{begun}.json", count, chosen, quick=args.quick)
        pool = ThreadPoolExecutor(max(1, jobs))  # not as a context manager, which waits before it is told to stop
        running += [pool.submit(trial, ui, _only(cases(ui), parts), count, results.keep) for ui in chosen]
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
    lasted = f"{(time.monotonic() - started) / 60:.1f} minutes"
    print(f"{sum(one.good for one in rows)} of {len(rows)} rounds good in {lasted}; {results.path}")
    return 0 if all(one.good for one in rows) and len(chosen) == len(names) else 1
