"""What `doctor` asks a server before it is trusted with a ledger.

Nothing here is specific to us but its severity: a server that answers before it has written forgets deliveries that
were made, and one between that gives each statement another session breaks what we rely on.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import psycopg


class Fault(NamedTuple):
    """What is wrong; `bad`: the promise does not hold with it."""

    bad: bool
    words: str


def faults(parameters: Mapping[str, str]) -> Iterator[Fault]:
    """All that can be told. psycopg.Error: it cannot be asked."""
    with psycopg.connect(**cast("dict[str, Any]", parameters), autocommit=True) as connection:
        yield from _durability(connection)
        yield from _standbys(connection)
        yield from _history(connection)
        if _has_a_pooler(connection):
            yield from _pooler(connection, parameters)


def _durability(connection: "psycopg.Connection[Any]") -> Iterator[Fault]:
    for name, what in (
        ("fsync", "a crash of its machine loses what was delivered"),
        ("full_page_writes", "a crash of its machine may damage the ledger"),
    ):
        if _setting(connection, name) != "on":
            yield Fault(True, f"{name} is off: {what}; set it on")
    connection.execute("set synchronous_commit = on")
    if _setting(connection, "synchronous_commit") == "off":
        yield Fault(True, "synchronous_commit stays off: commits are lost in a crash; something between resets it")


def _standbys(connection: "psycopg.Connection[Any]") -> Iterator[Fault]:
    rows = connection.execute("select application_name, sync_state from pg_stat_replication").fetchall()
    behind = sorted(str(name) for name, state in rows if state == "async")
    if behind:
        yield Fault(
            False,
            f"standby {', '.join(behind)} is asynchronous: a failover to it forgets commits, and what was to run is "
            "held then until bus-watch resume; name it in synchronous_standby_names",
        )
    if any(state is None for _, state in rows):
        yield Fault(
            False, "it has standbys, and does not say which are asynchronous: grant us pg_monitor, or look there"
        )


def _history(connection: "psycopg.Connection[Any]") -> Iterator[Fault]:
    try:
        connection.execute("select system_identifier, pg_walfile_name(pg_current_wal_lsn()) from pg_control_system()")
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction):
        yield Fault(
            False,
            "it does not tell its timeline: after a failover nobody notices what it has forgotten; grant us execute on "
            "pg_control_system() and pg_walfile_name(pg_lsn)",
        )


def _has_a_pooler(connection: "psycopg.Connection[Any]") -> bool:
    """Whether the session's number is not the one that we were told at the start: something between gave its own."""
    row = connection.execute("select pg_backend_pid()").fetchone()
    return row is not None and int(row[0]) != connection.info.backend_pid


def _pooler(connection: "psycopg.Connection[Any]", parameters: Mapping[str, str]) -> Iterator[Fault]:
    """Whether it gives each transaction another session: what was set in one is gone while that is another's."""
    words = (
        "a pooler in transaction mode is between: LISTEN, prepared statements and settings break there; use its "
        "session mode, or connect directly"
    )
    mark = "bus-watch-doctor"
    with contextlib.ExitStack() as stack:
        try:
            connection.execute("select set_config('bus_watch.probe', %s, false)", (mark,))
            for _ in range(2):  # others in the session that was ours
                other = stack.enter_context(psycopg.connect(**cast("dict[str, Any]", parameters)))
                other.execute("select 1")
            row = connection.execute("select current_setting('bus_watch.probe', true)").fetchone()
        except psycopg.Error:
            yield Fault(True, words)
            return
    if row is None or row[0] != mark:
        yield Fault(True, words)
    else:
        yield Fault(False, "a pooler in session mode is between: that works; it must not be in transaction mode")


def _setting(connection: "psycopg.Connection[Any]", name: str) -> str:
    row = connection.execute("select current_setting(%s)", (name,)).fetchone()
    return "" if row is None else str(row[0])
