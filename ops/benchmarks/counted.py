"""The consumer with its commits counted: `python -m ops.benchmarks.counted FILE worker.app.huey ...`.

Writes `{"full": N, "normal": N}` to FILE at its end. Counting wraps every SQLite connection, so it is never timed.
"""

import atexit
import json
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any, Self, cast

COUNTS = {"full": 0, "normal": 0}
_LOCK = threading.Lock()


class Cursor(sqlite3.Cursor):
    """A cursor whose connection counts."""

    def execute(self, sql: str, parameters: Any = ()) -> Self:  # noqa: D102 - sqlite3's methods, here and below
        super().execute(sql, parameters)
        cast("Connection", self.connection).note(sql)
        return self


class Connection(sqlite3.Connection):
    """A connection that counts what it commits: by `commit`, and by a write outside of any transaction."""

    synchronous = "full"
    seen = 0

    def cursor(self, factory: Any = Cursor) -> Any:  # noqa: D102 - sqlite3's
        return super().cursor(factory)

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:  # noqa: D102 - sqlite3's
        cursor = super().execute(sql, parameters)
        self.note(sql)
        return cursor

    def commit(self) -> None:  # noqa: D102 - sqlite3's
        super().commit()
        self.count()

    def note(self, sql: str) -> None:
        """Look at what has been executed."""
        if sql.replace(" ", "").lower() == "pragmasynchronous=normal":
            self.synchronous = "normal"
        if not self.in_transaction:
            self.count()

    def count(self) -> None:
        """One commit, if anything has changed since the last one."""
        if self.total_changes != self.seen:
            self.seen = self.total_changes
            with _LOCK:
                COUNTS[self.synchronous] += 1


def main() -> None:
    target = Path(sys.argv.pop(1))
    connect = sqlite3.connect

    def counted(*args: Any, factory: type[sqlite3.Connection] = sqlite3.Connection, **more: Any) -> sqlite3.Connection:
        return connect(*args, factory=type("Counted", (Connection, factory), {}), **more)

    sqlite3.connect = counted  # type: ignore[assignment]  # as far as it is called here
    atexit.register(lambda: target.write_text(json.dumps(COUNTS), encoding="ascii"))
    from huey.bin.huey_consumer import consumer_main  # noqa: PLC0415 - after the connections are counted

    consumer_main()


if __name__ == "__main__":
    main()
