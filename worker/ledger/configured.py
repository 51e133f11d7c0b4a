"""The ledger that the settings name: the file beside `state_path`, or a schema of a PostgreSQL server.

The one place that knows which. PostgreSQL's driver (extra `fleet`) is loaded for the latter only.
"""

import contextlib
from collections.abc import Iterator
from types import ModuleType

from worker.credentials import SecretSource
from worker.errors import BusWatchError, ConfigError
from worker.ledger import opening
from worker.ledger.errors import LedgerError
from worker.ledger.port import Ledger, Tx
from worker.ledger.sqlite import SqliteLedger
from worker.settings import Settings


def open_ledger(settings: Settings) -> Ledger:
    """Open it for reading and writing; a file is created, or brought up to date.

    A server is asked at the first use. ConfigError, where the URL or the driver is missing; the other LedgerErrors.
    """
    source = settings.ledger_url_source
    if source is None:
        return SqliteLedger(settings.ledger_file)
    opened: Ledger = _driver().PostgresLedger(source.read)
    return opened


def server(source: SecretSource, *, moved_too: bool = False) -> tuple[Ledger, str]:
    """The ledger in the server whose URL this is, and what to call it; `moved_too`: also where it has moved away.

    ConfigError, where the URL or the driver is missing.
    """
    opened = _driver().PostgresLedger(source.read, moved_too=moved_too)
    return opened, opened.place


@contextlib.contextmanager
def reading(settings: Settings) -> Iterator[Tx]:
    """One moment of it, for a command that only looks: nothing is created, migrated or written.

    Raises LedgerMissingError, LedgerTooNewError and the other LedgerErrors; ConfigError as `open_ledger`.
    """
    source = settings.ledger_url_source
    if source is None:
        with opening.reading(settings.ledger_file) as db:
            yield db
    else:
        with contextlib.closing(_driver().PostgresLedger(source.read)) as ledger, ledger.one_moment() as db:
            yield db


def is_begun(settings: Settings) -> bool:
    """Whether there may be something to read: a server is not asked here."""
    return settings.is_fleet or settings.ledger_file.exists()


def name_of(settings: Settings) -> str:
    """What to call it: a path, or a server and a database, without user and password."""
    source = settings.ledger_url_source
    if source is None:
        return str(settings.ledger_file)
    try:
        _driver()
        from worker.ledger import postgres_url  # noqa: PLC0415 - psycopg, which may be missing

        return postgres_url.shown(postgres_url.parameters(source.read()))
    except BusWatchError:
        return "postgresql://"


def server_faults(settings: Settings) -> list[tuple[bool, str]]:
    """What is wrong with the server of a fleet's ledger, each with whether the promise does not hold with it.

    Raises LedgerError, where it cannot be asked, and ConfigError as `open_ledger`.
    """
    source = settings.ledger_url_source
    if source is None:
        return []
    import psycopg  # noqa: PLC0415 - it is an extra, and slow to load

    from worker.ledger import postgres_url, server_health  # noqa: PLC0415 - the same

    try:
        return [(one.bad, one.words) for one in server_health.faults(postgres_url.parameters(source.read()))]
    except psycopg.Error as error:
        raise LedgerError(str(error).strip().splitlines()[0]) from None


def _driver() -> ModuleType:
    try:
        from worker.ledger import postgres  # noqa: PLC0415 - psycopg takes 100 ms to load, and is an extra
    except ImportError:
        raise ConfigError("ledger_url needs an extra; install it with: pip install 'bus-watch[fleet]'") from None
    return postgres
