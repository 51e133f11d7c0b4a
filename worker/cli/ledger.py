"""Check the ledger, or back it up while the worker runs.

`check` looks for damage in the file and for rows that contradict each other. `backup FILE` copies a consistent
moment of it; put the copy in place of a damaged ledger while no worker runs.
"""

import argparse
import os
import sqlite3
import sys
from pathlib import Path

from worker.cli import common, ledger_view
from worker.ledger.errors import translated

EXAMPLES = """examples:
  bus-watch ledger check
  bus-watch ledger backup ~/bus-watch-ledger-backup.db
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    common.add_config(parser)
    common.add_json(parser)
    parser.add_argument("action", choices=("check", "backup"), help="what to do")
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="where the backup goes; it must not exist")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings = common.settings(args)
    if args.action == "backup":
        if args.file is None:
            print("bus-watch ledger backup: say which FILE", file=sys.stderr)
            return 64
        return _backup(settings.ledger_file, args.file)
    with ledger_view.ledger_of(settings) as db:
        problems = _check(db)
    if args.json:
        common.print_json({"ledger": str(settings.ledger_file), "problems": problems})
    else:
        print(f"ledger: {settings.ledger_file}")
        for problem in problems:
            print(f"FAIL {problem}")
        print("OK ledger sound" if not problems else f"FAIL {len(problems)} problem(s)")
    return int(bool(problems))


def _check(db: sqlite3.Connection) -> list[str]:
    """Damage first; where there is none, the rules that every transaction keeps."""
    damage = [row[0] for row in db.execute("pragma integrity_check(20)") if row[0] != "ok"]
    if damage:
        return [*damage, "the file is damaged: stop the worker, put a backup in its place, keep the damaged file"]
    problems = [
        f"{table} row {row} points to a {parent} that is not there"
        for table, row, parent, _ in db.execute("pragma foreign_key_check")
    ]
    for words, query in _RULES:
        count = db.execute(query).fetchone()[0]
        if count:
            problems.append(f"{count} {words}")
    return problems


_RULES = (
    (
        "lane(s) with more than one running delivery",
        "select count(*) from (select 1 from deliveries where state = 'running' group by lane having count(*) > 1)",
    ),
    (
        "running deliveries without an attempt",
        """select count(*) from deliveries d where state = 'running'
           and not exists (select 1 from attempts a where a.id = d.attempt_id and a.ended_at is null)""",
    ),
    (
        "finished message(s) with a delivery that is not final",
        """select count(*) from messages m where m.state <> 'open' and exists
           (select 1 from deliveries d where d.message = m.id
            and d.state in ('waiting', 'running', 'retrying', 'held'))""",
    ),
)


def _backup(ledger: Path, target: Path) -> int:
    if not ledger.exists():
        print(f"bus-watch ledger backup: there is no ledger at {ledger}", file=sys.stderr)
        return 1
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        print(f"bus-watch ledger backup: {target}: {error.strerror}", file=sys.stderr)
        return 1
    source = sqlite3.connect(f"{ledger.absolute().as_uri()}?mode=ro", uri=True)
    copy = sqlite3.connect(target)
    try:
        source.backup(copy)
    except sqlite3.Error as error:
        raise translated(error, ledger) from error
    finally:
        copy.close()
        source.close()
    print(f"wrote {target} ({target.stat().st_size} bytes)")
    return 0
