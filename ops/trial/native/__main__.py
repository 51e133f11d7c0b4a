"""Try `wake`'s channels against real agent UIs and the stand-in model.

    python -m ops.trial.native codex [-n 20] [--only "busy;draft"] [--via auto] [--out FILE [--more]]
    python -m ops.trial.native codex --times [-n 20]     /send to its record, by its channel and typed, in turn
    python -m ops.trial.native --week [--messages 500 --kills 50] [--out FILE [--resume]]
    python -m ops.trial.native --doctor                  eight UIs open, and what doctor says of each
    python -m ops.trial.native --table FILE              the table of a file of results

Prints one line a case: of so many messages, how many arrived exactly once and whole, what `wake` said of them and by
which channel, and its milliseconds. The judge is the model's log. Exit status 1: something was not as it must be.
"""

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from ops.trial.native import eight, table, times, week
from ops.trial.native.cases import CASES
from ops.trial.native.trial import Case, Trial, line, mark_of, ready_for_channels, row
from ops.trial.sessions import Session
from ops.trial.uis import UIS


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ui", nargs="?", choices=sorted(UIS))
    parser.add_argument("-n", type=int, default=20, help="messages a case (%(default)s)")
    parser.add_argument("--only", default="", help="cases, by semicolon")
    parser.add_argument("--via", default="auto")
    parser.add_argument("--out", type=Path, help="a file that gets a line of JSON for each result")
    parser.add_argument("--more", action="store_true", help="FILE's last result of a case is a part, and this is more")
    parser.add_argument("--limit", type=float, default=0.0, help="seconds after which no further case begins")
    parser.add_argument("--times", action="store_true")
    parser.add_argument("--week", action="store_true")
    parser.add_argument("--messages", type=int, default=500, help="of a week (%(default)s)")
    parser.add_argument("--kills", type=int, default=50, help="of a week's worker (%(default)s)")
    parser.add_argument("--resume", action="store_true", help="a week goes on where FILE says that it was cut off")
    parser.add_argument("--doctor", action="store_true")
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # what was started is ended with it
    if options.table:
        print(table.of(options.table))
        return 0
    if options.week:
        return week.run(options)
    if options.doctor:
        return eight.run()
    if options.ui is None:
        parser.error("name a UI, or --week, --doctor or --table")
    if options.times:
        for found in times.run(options):
            print(f"{found['ui']:9} {found['case']:34} p50 {found['p50_ms']} ms, p95 {found['p95_ms']} ms, {found}")
            keep(options, found)
        return 0
    return _cases(options)


def _cases(options: argparse.Namespace) -> int:
    ui = ready_for_channels(options.ui)
    good, began = True, time.monotonic()
    with Session(ui) as session:
        session.ready(300)  # with a plugin OpenCode fetches a package of its own at its first start
        trial = Trial(session, options.via)
        for name, run in CASES.items():
            if options.only and name not in options.only.split(";"):
                continue
            if options.limit and time.monotonic() - began > options.limit:
                print(f"{name}: not begun, the time is over")
                continue
            case = Case(name)
            cut: SystemExit | None = None
            try:
                run(trial, case, options.n)
            except SystemExit as why:  # what was done until then is kept
                cut = why
                trial.wait([mark_of(text) for text, _ in case.sent[-1:]], 10.0)
            except Exception as why:  # noqa: BLE001 - the other cases are wanted, too
                case.notes.append(f"the case failed: {type(why).__name__}: {why}")
            found = row(trial, case)
            print(line(found), flush=True)
            keep(options, found)
            if cut is not None:
                raise cut
            good = good and not found["wrong"]
        if (session.cwd / "stolen").exists() or (Path.cwd() / "stolen").exists():
            print("! a text ran as a command")
            good = False
    return 0 if good else 1


def keep(options: argparse.Namespace, found: dict[str, Any]) -> None:
    """Add a result to the file."""
    if options.more:
        found = found | {"more": True}
    if options.out:
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
