"""Who may fill the embedded bus how far: nobody can fill the disk.

A stream keeps its newest messages, and a source (`agent:NAME`) has a share of streams and bytes. Within its share
nothing that is younger than a week makes room for it; it is told so instead.
"""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Any

from worker.bus.embedded.errors import QuotaError

KEPT_PER_STREAM = 100_000
"""Messages; the oldest go first. More than this in one page no client can ask for."""

BYTES_PER_AGENT = 256 * 1024 * 1024
"""What one agent's messages may take in all streams, with `_ROW_BYTES` for each beside its text."""

STREAMS_PER_AGENT = 2_048
"""How many streams one agent may begin: those that it was the first to send to."""

KEPT_SECONDS = 7 * 86_400.0
"""Younger messages of an agent never make room for its new ones; a worker gives up on a delivery after five days."""

_ROW_BYTES = 1_024
_MAKE_ROOM_BY = 1_000  # messages at once: an append stays short

SCHEMA = """
create table streams (
  name text primary key,
  begun_by text not null,
  messages integer not null
) strict, without rowid;
create index streams_by_agent on streams (begun_by);
create table shares (
  source text primary key,
  bytes integer not null
) strict, without rowid;
create index messages_by_source on messages (source, ms);
"""

_SIZE = f"{_ROW_BYTES} + length(cast(text as blob))"

COUNT = f"""
insert into streams select stream, min(source), count(*) from messages group by stream;
insert into shares select source, sum({_SIZE}) from messages group by source;
"""  # noqa: S608 - constants only


def book(db: sqlite3.Connection, *, source: str, stream: str, text: str, now: int) -> None:
    """Count a message that is about to come, and make room for it in its stream and in its source's share.

    Inside the transaction that adds it; `now` in milliseconds. QuotaError if the source has had its share.
    """
    size = _ROW_BYTES + len(text.encode())
    row = db.execute("select messages from streams where name = ?", (stream,)).fetchone()
    if row and row[0] >= KEPT_PER_STREAM:
        _remove(db, "where stream = ? order by ms, seq limit ?", (stream, row[0] + 1 - KEPT_PER_STREAM))
    if _full(db, source, size, begins=row is None):
        old = now - int(KEPT_SECONDS * 1000)
        _remove(db, "where source = ? and ms < ? order by ms limit ?", (source, old, _MAKE_ROOM_BY))
        reason = _full(db, source, size, begins=row is None)
        if reason:
            raise QuotaError(reason)
    db.execute(
        "insert into streams values (?, ?, 1) on conflict (name) do update set messages = messages + 1",
        (stream, source),
    )
    db.execute(
        "insert into shares values (?, ?) on conflict (source) do update set bytes = bytes + excluded.bytes",
        (source, size),
    )


def _full(db: sqlite3.Connection, source: str, size: int, *, begins: bool) -> str:
    """Why there is no room for a message of `source`; empty if there is. `begins`: it would begin a stream."""
    row = db.execute("select bytes from shares where source = ?", (source,)).fetchone()
    if row and row[0] + size > BYTES_PER_AGENT:
        return (
            f"The messages of {source} fill its share of this bus ({BYTES_PER_AGENT:,} bytes). "
            "Those older than a week make room for new ones."
        )
    if begins:
        begun = db.execute("select count(*) from streams where begun_by = ?", (source,)).fetchone()[0]
        if begun >= STREAMS_PER_AGENT:
            return f"{source} was the first to send to {begun:,} agents or projects, and may not begin more."
    return ""


def _remove(db: sqlite3.Connection, which: str, parameters: Sequence[Any]) -> None:
    rows = db.execute(
        "delete from messages where (stream, ms, seq) in "  # noqa: S608 - constants only
        f"(select stream, ms, seq from messages {which}) returning stream, source, {_SIZE}",
        parameters,
    ).fetchall()
    counts, sizes = Counter(stream for stream, _, _ in rows), Counter[str]()
    for _, source, size in rows:
        sizes[source] += size
    db.executemany(
        "update streams set messages = messages - ? where name = ?", [(n, name) for name, n in counts.items()]
    )
    db.executemany("delete from streams where name = ? and messages <= 0", [(name,) for name in counts])
    db.executemany(
        "update shares set bytes = max(0, bytes - ?) where source = ?", [(n, name) for name, n in sizes.items()]
    )
