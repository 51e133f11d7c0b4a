"""Both kinds of ledger, for the tests that hold for each: what the ledger, the claims and the engine promise."""

from collections.abc import Callable
from pathlib import Path

from tests.world.postgres import Server
from worker.ledger.port import Ledger
from worker.ledger.postgres import PostgresLedger
from worker.ledger.sqlite import SqliteLedger
from worker.secret import Secret


def at(url: str) -> PostgresLedger:
    """The ledger at a URL."""
    secret = Secret(url)
    return PostgresLedger(lambda: secret)


def opener(kind: str, server: Callable[[], Server]) -> Callable[[Path], Ledger]:
    """What opens the ledger that SQLite would have at a path: that one, or a schema of the server."""
    schemas: dict[Path, str] = {}

    def postgres(path: Path) -> Ledger:
        if path in schemas:  # it was open before
            return at(server().url(schemas[path]))
        schemas[path] = f"test{len(schemas)}"
        return at(server().emptied(schemas[path]))

    return SqliteLedger if kind == "sqlite" else postgres
