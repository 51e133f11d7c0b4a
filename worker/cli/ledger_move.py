"""`bus-watch ledger move`: the whole ledger into a PostgreSQL server for several hosts, and back into the file."""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from worker import __version__
from worker.cli import output
from worker.credentials import SecretSource
from worker.errors import UsageError
from worker.ledger import configured, departures, hosts, this_host
from worker.ledger.departures import Moved, MoveRefusedError, Route
from worker.ledger.errors import LedgerError, LedgerMissingError
from worker.ledger.living import living_workers
from worker.ledger.port import Ledger, Tx
from worker.ledger.sqlite import SqliteLedger
from worker.secret import Secret
from worker.settings import Settings
from worker.transports.locks import any_worker_lives, boot_id

EXAMPLES = """  bus-watch ledger move --to-file ~/.sos/ledger-url
  bus-watch ledger move --back
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    of_move = parser.add_argument_group("move", "The worker is stopped, and nothing runs.")
    where = of_move.add_mutually_exclusive_group()
    where.add_argument("--to", metavar="URL", help="a server, postgresql://USER@HOST/DATABASE, with no password in it")
    where.add_argument("--to-file", metavar="FILE", help="the same; the URL is in this file (0600), password and all")
    where.add_argument("--to-env", metavar="NAME", help="or in this environment variable")
    where.add_argument("--back", action="store_true", help="from the server that the configuration names to the file")


class _Ends(NamedTuple):
    """The two ledgers of a move."""

    file: SqliteLedger
    server: Ledger
    server_name: str


def move(args: argparse.Namespace, settings: Settings) -> int:
    """Move it, and say what that means."""
    source = _url(args, settings)
    if any_worker_lives(settings.files_dir):
        raise MoveRefusedError("a worker runs here: stop it first (systemctl --user stop bus-watch, or Ctrl-C)")
    if not args.back and not settings.ledger_file.exists():
        raise LedgerMissingError(f"there is no ledger at {settings.ledger_file}: nothing is to be moved")
    with _opened(settings, source) as ends:
        return _back(args, settings, ends) if args.back else _to(args, settings, ends)


def _url(args: argparse.Namespace, settings: Settings) -> SecretSource:
    """Where the server's URL is read. UsageError: nowhere, or where all can read it."""
    if args.to is not None:
        if _has_password(args.to):
            raise UsageError(
                "--to: a password in a command line can be read by everybody on this machine, and stays in the shell's "
                "history: write the URL to a file (chmod 600) and say --to-file FILE; change that password"
            )
        return SecretSource("--to", "URL", "ledger_url", literal=Secret(args.to))
    if args.to_file is not None or args.to_env is not None:
        return SecretSource("ledger move", "URL", "ledger_url", file=args.to_file, variable=args.to_env)
    if settings.ledger_url_source is None:
        raise UsageError(
            "the configuration names no server: say where to, with --to-file FILE, which holds "
            "postgresql://USER:PASSWORD@HOST/DATABASE"
            if not args.back
            else "the configuration names no server to come back from: ledger_url_file is missing"
        )
    return settings.ledger_url_source


def _has_password(url: str) -> bool:
    authority = url.partition("://")[2].partition("/")[0]
    return ":" in authority.rpartition("@")[0] or "password=" in url


@contextmanager
def _opened(settings: Settings, source: SecretSource) -> Iterator[_Ends]:
    server, name = configured.server(source, moved_too=True)
    try:
        settings.files_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = SqliteLedger(settings.ledger_file, moved_too=True)
        try:
            yield _Ends(file, server, name)
        finally:
            file.close()
    finally:
        server.close()


def _to(args: argparse.Namespace, settings: Settings, ends: _Ends) -> int:
    told = _Progress(quiet=args.json)
    host = this_host.make_known(settings)
    with _unfinished():
        moved = departures.move(
            ends.file,
            ends.server,
            Route(str(settings.ledger_file), ends.server_name, host.name),
            now=time.time(),
            told=told,
            join=lambda tx: hosts.register(
                tx,
                host,
                boot_id=boot_id(),
                version=__version__,
                fingerprint=hosts.fingerprint(settings),
                now=tx.now(),
            ),
        )
    return _said(
        args,
        moved,
        come=str(settings.ledger_file),
        gone=ends.server_name,
        then=None
        if settings.is_fleet
        else f"now name it in {settings.config_path}, for example: "
        f'"ledger_url_file": "{args.to_file or "~/.sos/ledger-url"}"; then: bus-watch doctor',
    )


def _back(args: argparse.Namespace, settings: Settings, ends: _Ends) -> int:
    here = str(settings.ledger_file)
    ends.server.read(lambda db: _refuse_living_hosts(db, settings))
    gone = ends.file.read(departures.departure)
    if gone is None and not ends.file.read(departures.is_empty):
        raise MoveRefusedError(
            f"{here} is a ledger that has not moved: move it to the server too (bus-watch ledger move), or set it aside"
        )
    if gone is not None and not gone.done:
        if not ends.server.read(lambda db: departures.arrived(db, gone.move)):
            departures.take_back(ends.file, gone)
            return _said(args, None, come=ends.server_name, gone=here, then="nothing had been moved: it is open again")
        departures.finish(ends.file, gone)
    with _unfinished():
        moved = departures.move(
            ends.server,
            ends.file,
            Route(ends.server_name, here, host=""),
            now=time.time(),
            told=_Progress(quiet=args.json),
        )
    then = f"now take ledger_url_file out of {settings.config_path}; then: bus-watch doctor"
    return _said(args, moved, come=ends.server_name, gone=here, then=then)


def _refuse_living_hosts(db: Tx, settings: Settings) -> None:
    if alive := sorted({row["host"] for row in living_workers(db, settings)}):
        raise MoveRefusedError(
            f"workers run on {', '.join(alive)}: stop those of all hosts first, for all of them lose this ledger"
        )


@contextmanager
def _unfinished() -> Iterator[None]:
    """Say how to go on where the move was begun."""
    try:
        yield
    except LedgerError as error:
        raise LedgerError(
            f"{error}; the move has not ended, and nobody works with the ledger meanwhile: say the same again, or take "
            "it back with --back"
        ) from error


class _Progress:
    """How far it is, for whoever waits at a terminal."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet or not sys.stderr.isatty()
        self._next = 0.0

    def __call__(self, table: str, rows: int) -> None:
        if not self._quiet and time.monotonic() >= self._next:
            self._next = time.monotonic() + 1.0
            print(f"{table}: {rows} rows", file=sys.stderr)


def _said(args: argparse.Namespace, moved: Moved | None, *, come: str, gone: str, then: str | None) -> int:
    rows = {name: count for name, count in moved.rows.items() if count} if moved else {}
    met = moved.met if moved else {}
    if args.json:
        output.print_json(
            {"from": come, "to": gone, "moved": moved is not None, "rows": rows, "met": met, "next": then}
        )
        return 0
    if moved is not None:
        counts = ", ".join(f"{name} {rows.get(name, 0)}" for name in ("messages", "deliveries", "attempts", "outbox"))
        output.write(output.wrapped(f"moved {come} to {gone}: {counts}", "  ") + "\n")
        if met:
            shared = ", ".join(f"{name} {count}" for name, count in met.items())
            output.write(output.wrapped(f"known there already, and now one: {shared}", "  ") + "\n")
    if then:
        output.write(output.wrapped(then, "  ") + "\n")
    return 0
