"""What the embedded bus keeps: agents, streams and who is present. One SQLite file, one writer process.

Tokens are stored as SHA-256 only. Stream ids follow Redis's rule: milliseconds of the clock, never smaller than the
stream's last.
"""

import hashlib
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from worker import durable
from worker.bus.embedded import shares
from worker.bus.embedded.errors import EmbeddedBusError
from worker.bus.wire import LARGEST_ID_PART, clean, stream_name

PRESENCE_LIFE = 600.0
"""Seconds without a heartbeat after which an agent is no longer a peer."""

_PROJECTS_PER_AGENT = 64  # in which one agent is present
_SCHEMA_VERSION = 2
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)

_SCHEMA = """
create table agents (
  name text primary key,
  token_sha256 text not null unique,
  project text,
  created_at text not null
) strict;
create table messages (
  stream text not null,
  ms integer not null,
  seq integer not null,
  message_id text not null,
  source text not null,
  target text not null,
  text text not null,
  project text,
  timestamp text not null,
  primary key (stream, ms, seq)
) strict, without rowid;
create table presence (
  name text not null,
  project text not null,
  tool text not null,
  summary text not null,
  registered_at text not null,
  last_seen text not null,
  last_seen_at real not null,
  primary key (name, project)
) strict, without rowid;
"""

_COLUMNS = "stream, ms, seq, message_id, source, target, text, project, timestamp"


@dataclass(frozen=True, slots=True)
class RegisteredAgent:
    """Who a token belongs to. `project`, if any, overrides the one in a request."""

    name: str
    project: str | None
    created_at: str


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One entry of a stream."""

    stream: str
    ms: int
    seq: int
    message_id: str
    source: str
    target: str
    text: str
    project: str | None
    timestamp: str

    @property
    def entry_id(self) -> str:
        """`MS-SEQ`."""
        return f"{self.ms}-{self.seq}"


class BusStore:
    """The file at `path`, created (0600, its directory 0700) if missing. Safe to share between threads.

    `on_arrival` is called with the stream after each new message, in the thread that appended it. Raises
    EmbeddedBusError for a file that is not a bus's or is of a newer version; sqlite3.Error for what the disk does.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
        path.chmod(0o600)
        self._clock = clock
        self._lock = threading.RLock()
        self.on_arrival: Callable[[str], object] | None = None
        self._db = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
        # Of its own, so that nobody who asks whose a token is waits for a commit: in WAL mode readers do not.
        self._tokens = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)
        try:
            self._open(path)
        except BaseException:
            self.close()
            raise

    def _open(self, path: Path) -> None:
        try:
            version = self._db.execute("pragma user_version").fetchone()[0]
            if version > _SCHEMA_VERSION:
                raise EmbeddedBusError(f"{path} was written by a newer bus-watch; it was left untouched.")
            self._db.execute("pragma journal_mode = wal")
            # A message that was answered with "queued" survives power loss.
            durable.sync_commits(self._db)
            with self._transaction():
                version = self._db.execute("pragma user_version").fetchone()[0]
                if version == 0:
                    self._execute_all(_SCHEMA)
                if version < 2:
                    self._execute_all(shares.SCHEMA + shares.COUNT)
                self._db.execute(f"pragma user_version = {_SCHEMA_VERSION}")
        except sqlite3.DatabaseError as error:
            raise EmbeddedBusError(f"{path} cannot be used as a bus: {error}.") from None

    def _execute_all(self, statements: str) -> None:
        for statement in statements.split(";\n"):
            self._db.execute(statement)

    def close(self) -> None:
        """Close the file; nothing else may be called afterwards."""
        with self._lock:
            self._tokens.close()
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(sql, parameters).fetchall()

    def add_agent(self, name: str, project: str | None = None) -> str:
        """Register an agent; returns its token, which is stored nowhere."""
        for word in (name, project):
            if word is not None and not is_name(word):
                raise EmbeddedBusError(
                    f"{word!r} is no name: lowercase letters, digits, '.', '_' and '-', at most 64, "
                    "beginning with a letter or digit."
                )
        token = secrets.token_urlsafe(32)
        try:
            with self._transaction():
                self._db.execute(
                    "insert into agents (name, token_sha256, project, created_at) values (?, ?, ?, ?)",
                    (name, _digest(token), project, self._timestamp()),
                )
        except sqlite3.IntegrityError:
            raise EmbeddedBusError(
                f"{name} has a token already. `bus-watch bus --remove-agent {name}` first makes it invalid."
            ) from None
        return token

    def remove_agent(self, name: str) -> None:
        """Make an agent's token invalid; its messages stay."""
        with self._transaction():
            if not self._db.execute("delete from agents where name = ?", (name,)).rowcount:
                raise EmbeddedBusError(f"{name} is no agent of this bus; see `bus-watch bus --list-agents`.")
            self._db.execute("delete from presence where name = ?", (name,))

    def agents(self) -> list[RegisteredAgent]:
        """All agents by name."""
        return [
            RegisteredAgent(*row) for row in self._rows("select name, project, created_at from agents order by name")
        ]

    def agent_of(self, token: str) -> RegisteredAgent | None:
        """Whose token this is. To be asked in one thread."""
        found = self._tokens.execute(
            "select name, project, created_at from agents where token_sha256 = ?", (_digest(token),)
        ).fetchone()
        return RegisteredAgent(*found) if found else None

    def append(self, *, source: str, to: str, text: str, project: str | None) -> StoredMessage:
        """Put a message at the end of the stream of agent `to`. QuotaError if `source` has had its share."""
        stream = stream_name(to, project)
        now = int(self._clock() * 1000)
        text = clean(text)
        with self._transaction():
            last = self._db.execute(
                "select ms, seq from messages where stream = ? order by ms desc, seq desc limit 1", (stream,)
            ).fetchone() or (0, 0)
            ms, seq = (now, 0) if now > last[0] else (last[0], last[1] + 1)
            message = StoredMessage(
                stream, ms, seq, secrets.token_hex(16), source, f"agent:{to}", text, project, self._timestamp()
            )
            shares.book(self._db, source=source, stream=stream, text=text, now=now)
            self._db.execute(
                f"insert into messages ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constant
                (
                    *(message.stream, message.ms, message.seq, message.message_id, message.source),
                    *(message.target, message.text, message.project, message.timestamp),
                ),
            )
        if self.on_arrival is not None:
            self.on_arrival(stream)
        return message

    def page(self, agent: str, project: str | None, limit: int, since: tuple[int, int] | None) -> list[StoredMessage]:
        """One inbox page, newest first: the newest `limit`, or of each stream the next `limit` after `since`.

        The project's stream and the global one are merged and cut to `limit` together, as the bridge does.
        """
        found: list[StoredMessage] = []
        for stream in self.streams_of(agent, project):
            if since is None:
                found += self._messages("where stream = ? order by ms desc, seq desc limit ?", (stream, limit))
            else:
                found += self.after(stream, since, limit)
        return sorted(found, key=lambda message: (message.ms, message.seq), reverse=True)[:limit]

    def after(self, stream: str, since: tuple[int, int], limit: int) -> list[StoredMessage]:
        """The next `limit` entries of one stream after an id, oldest first."""
        ms, seq = (min(part, LARGEST_ID_PART) for part in since)
        return self._messages(
            "where stream = ? and (ms, seq) > (?, ?) order by ms, seq limit ?", (stream, ms, seq, limit)
        )

    def newest(self, stream: str) -> tuple[int, int]:
        """The id of a stream's last entry, (0, 0) without one."""
        messages = self._messages("where stream = ? order by ms desc, seq desc limit 1", (stream,))
        return (messages[0].ms, messages[0].seq) if messages else (0, 0)

    def _messages(self, rest: str, parameters: Sequence[Any]) -> list[StoredMessage]:
        rows = self._rows(f"select {_COLUMNS} from messages {rest}", parameters)  # noqa: S608 - constants only
        return [StoredMessage(*row) for row in rows]

    @staticmethod
    def streams_of(agent: str, project: str | None) -> list[str]:
        """The streams that make up an agent's inbox."""
        return [stream_name(agent, name) for name in ([project, None] if project else [None])]

    def announce(self, name: str, project: str | None, tool: str, summary: str) -> None:
        """Put an agent among the peers."""
        stamp = self._timestamp()
        with self._transaction():
            self._db.execute(
                "insert or replace into presence values (?, ?, ?, ?, ?, ?, ?)",
                (name, project or "", clean(tool), clean(summary), stamp, stamp, self._clock()),
            )
            self._db.execute(
                "delete from presence where last_seen_at <= ? or name = ? and project not in "
                "(select project from presence where name = ? order by last_seen_at desc limit ?)",
                (self._clock() - PRESENCE_LIFE, name, name, _PROJECTS_PER_AGENT),
            )

    def heartbeat(self, name: str, project: str | None) -> None:
        """Keep an agent among the peers."""
        with self._transaction():
            self._db.execute(
                "update presence set last_seen = ?, last_seen_at = ? where name = ? and project = ?",
                (self._timestamp(), self._clock(), name, project or ""),
            )

    def peers(self, project: str | None) -> list[dict[str, str]]:
        """Who announced itself and is alive; of one project, or everybody."""
        names = ("name", "project", "tool", "summary", "registered_at", "last_seen")
        rows = self._rows(
            f"select {', '.join(names)} from presence "  # noqa: S608 - constants only
            "where last_seen_at > ? and (? is null or project = ?) order by name",
            (self._clock() - PRESENCE_LIFE, project, project),
        )
        return [dict(zip(names, row, strict=True)) for row in rows]

    def lengths(self, project: str | None) -> list[tuple[str, int]]:
        """How many messages each agent's stream holds, in one project or in the global scope."""
        prefix = stream_name("", project)
        rows = self._rows(
            "select name, messages from streams where name >= ? and name < ? order by name",
            (prefix, prefix + "\U0010ffff"),
        )
        return [(stream.removeprefix(prefix), count) for stream, count in rows]

    def _timestamp(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_name(word: object) -> bool:
    """Whether this can name an agent or a project."""
    return isinstance(word, str) and _NAME.fullmatch(word) is not None


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
