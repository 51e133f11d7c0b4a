"""Check the ledger, back it up while the worker runs, or move it to a server that several hosts share.

`check` looks for damage in the file and for rows that contradict each other. `backup FILE` copies a consistent
moment of it; put the copy in place of a damaged ledger while no worker runs. `move` takes everything along, once; see
docs/fleet.md.
"""

import argparse
import os
import sys
from pathlib import Path

from worker.cli import ledger_move, options, output
from worker.errors import UsageError
from worker.ledger import configured, integrity
from worker.ledger.errors import LedgerCorruptError

EXAMPLES = f"""examples:
  bus-watch ledger check
  bus-watch ledger backup ~/bus-watch-ledger-backup.db
{ledger_move.EXAMPLES}"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    options.add_json(parser)
    parser.add_argument("action", choices=("check", "backup", "move"), help="what to do")
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="where the backup goes; it must not exist")
    ledger_move.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings = options.settings(args)
    moving = args.back or any(one is not None for one in (args.to, args.to_file, args.to_env))
    if moving and args.action != "move":
        raise UsageError(f"--to and --back go with `move`, not with `{args.action}`")
    if args.action == "move":
        return ledger_move.move(args, settings)
    if args.action == "backup":
        if args.file is None:
            print("bus-watch ledger backup: say which FILE", file=sys.stderr)
            return 64
        if settings.is_fleet:
            raise UsageError("the ledger is in PostgreSQL: back it up with pg_dump, or as the server's others are")
        return _backup(settings.ledger_file, args.file)
    try:
        with configured.reading(settings) as db:
            problems = integrity.problems(db)
    except LedgerCorruptError as error:  # so much that it cannot even be looked at
        problems = [str(error)]
    if args.json:
        output.print_json({"ledger": configured.name_of(settings), "problems": problems})
    else:
        print(f"ledger: {configured.name_of(settings)}")
        for problem in problems:
            print(f"FAIL {problem}")
        print("OK ledger sound" if not problems else f"FAIL {len(problems)} problem(s)")
    return int(bool(problems))


def _backup(ledger: Path, target: Path) -> int:
    if not ledger.exists():
        print(f"bus-watch ledger backup: there is no ledger at {ledger}", file=sys.stderr)
        return 1
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        print(f"bus-watch ledger backup: {target}: {error.strerror}", file=sys.stderr)
        return 1
    integrity.backup(ledger, target)
    print(f"wrote {target} ({target.stat().st_size} bytes)")
    return 0
