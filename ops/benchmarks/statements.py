"""How many statements something runs on ledgers that it opens itself, or that were opened meanwhile."""

import contextlib
import sqlite3
from collections.abc import Iterator


class Statements:
    """`count` of those that ran."""

    count = 0


@contextlib.contextmanager
def counted_statements() -> Iterator[Statements]:
    """Counts those of every connection that is opened while the block lasts."""
    found = Statements()
    connect = sqlite3.connect

    def note(_: str) -> None:
        found.count += 1

    def traced(*args: object, **more: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **more)  # type: ignore[call-overload]
        connection.set_trace_callback(note)
        return connection

    sqlite3.connect = traced  # type: ignore[assignment]
    try:
        yield found
    finally:
        sqlite3.connect = connect
