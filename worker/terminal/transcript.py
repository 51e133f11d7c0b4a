"""The agent's own record of what it was told: the best proof there is. Read only, never written.

Only what was appended after our Enter counts. The formats are other people's: whatever is missing, locked or
changed means "no proof", never an error.
"""

import contextlib
import glob
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct

from worker import process_table
from worker.terminal.profiles import Entry, Record
from worker.terminal.text import squeeze

_MAX_READ = 8 * 1024 * 1024
_LATEST = 64 * 1024  # bytes at a record's end that tell how the last prompt fared
_VARIABLE = re.compile(r"\{env:([A-Za-z0-9_]+)\|((?:[^{}]|\{home\})*)\}")


class Surroundings(Struct, frozen=True):
    """Where the agent's process lives, which decides where its record lies."""

    home: str
    directory: str
    environment: Mapping[str, str]


class Proof(Struct, frozen=True):
    """An entry that is our message: what it says of it, and in which file it stands."""

    verdict: str
    path: str


def surroundings(pid: int, directory: Callable[[], str]) -> Surroundings:
    """Home, working directory and environment of the process `pid` of this host.

    Linux tells those of the process itself, if it is the caller's own; elsewhere they are guessed: this
    process's environment, and what `directory` gives, which asks tmux.
    """
    environment = process_table.environment(pid)
    if environment is None:
        environment = dict(os.environ)
    where = process_table.link(pid, "cwd") or directory()
    return Surroundings(environment.get("HOME", ""), where, environment)


def expand(path: str, where: Surroundings) -> str:
    """Fill in a profile's record path; the result is a glob, in which what was filled in is literal."""
    filled = _VARIABLE.sub(lambda match: _variable(match, where), path)
    filled = filled.replace("{home}", glob.escape(where.home))
    return filled.replace("{cwd_dashed}", re.sub(r"[^A-Za-z0-9]", "-", where.directory))


def _variable(match: re.Match[str], where: Surroundings) -> str:
    value = where.environment.get(match.group(1), "")
    return glob.escape(value) if value else match.group(2)


class Watch:
    """Looks for one message in a record, from the moment at which it is made."""

    def __init__(self, record: Record, where: Surroundings, text: str) -> None:
        self._record = record
        self._globs = [expand(one, where) for one in record.paths] if where.home else []
        self._text = text
        self._started_ms = int(time.time() * 1000)
        self._read = dict(self.files())
        self.mixed = False
        """Whether our text was seen inside a prompt that holds other words on the same lines."""
        self.was_failing = self._failing()
        """Whether an error was what the record had last, when this was made."""
        self._documents = {path: self._standing(path) for path in self._read} if record.format == "json" else {}

    @property
    def available(self) -> bool:
        """Whether there is a record at all."""
        return bool(self._read) or any(True for _ in self.files())

    def look(self) -> Proof | None:
        """The proof, if the record has it by now."""
        if self._record.format == "sqlite":
            return self._look_in_databases()
        if self._record.format == "json":
            return self._look_in_documents()
        for path, size in self.files():
            start = self._read.get(path, 0)
            if size <= start:
                continue
            chunk = self._tail(path, start)
            for line in chunk[: chunk.rfind(b"\n") + 1].split(b"\n")[:-1]:
                self._read[path] = start = start + len(line) + 1
                verdict = self._verdict(line)
                if verdict:
                    return Proof(verdict, path)
        return None

    def error(self, path: str) -> str:
        """The words of an error that the record at `path` has by now behind what was read; empty if it has none."""
        chunk = self._tail(path, self._read.get(path, 0))
        for line in chunk[: chunk.rfind(b"\n") + 1].splitlines():
            if said := self._error(line):
                return said
        return ""

    def _error(self, line: bytes) -> str:
        data = _parsed(line) if self._record.errors else None
        return next((_text_of(one, data) or "an error" for one in self._record.errors if _matches(one, data)), "")

    def _failing(self) -> bool:
        """Whether the newest file's last prompt was followed by an error."""
        if not self._record.errors or not self._read:
            return False
        path = max(self._read, key=_modified)
        chunk = self._tail(path, max(0, self._read[path] - _LATEST))
        for line in reversed(chunk.splitlines()):
            if self._error(line):
                return True
            data = _parsed(line)
            if any(_matches(one, data) for one in self._record.entries):
                return False
        return False

    def files(self) -> Iterator[tuple[str, int]]:
        """The record's files that are there, and their sizes in bytes."""
        for pattern in self._globs:
            for path in glob.iglob(pattern):  # noqa: PTH207  the pattern is absolute; Path.glob takes none
                with contextlib.suppress(OSError):
                    yield path, Path(path).stat().st_size

    @staticmethod
    def _tail(path: str, start: int) -> bytes:
        try:
            with Path(path).open("rb") as file:
                file.seek(start)
                return file.read(_MAX_READ)
        except OSError:
            return b""

    def _verdict(self, line: bytes) -> str:
        return self._verdict_of(_parsed(line))

    def _verdict_of(self, data: Any) -> str:
        if self._record.format == "strings":
            return "submitted" if isinstance(data, str) and self._ours(data) else ""
        for entry in self._record.entries:
            if _matches(entry, data) and self._ours(_text_of(entry, data)):
                return entry.verdict
        return ""

    def _look_in_documents(self) -> Proof | None:
        """A document is written anew each time: it is proof if our message stands in it once more than before."""
        for path, _ in self.files():
            before = self._documents.get(path, _NOTHING)
            if _stamp(path) == before.stamp:
                continue
            now = self._standing(path)
            if len(now.verdicts) > len(before.verdicts):
                return Proof(now.verdicts[-1], path)
            self._documents[path] = _Standing(now.stamp, before.verdicts)
        return None

    def _standing(self, path: str) -> "_Standing":
        stamp = _stamp(path)  # before it is read: what is written meanwhile is read again
        data = _parsed(self._tail(path, 0))
        items = _dig(data, self._record.items) if self._record.items else data
        found = [self._verdict_of(one) for one in items] if isinstance(items, list) else []
        return _Standing(stamp, tuple(one for one in found if one))

    def _look_in_databases(self) -> Proof | None:
        import sqlite3  # noqa: PLC0415  only opencode needs it, and it is slow to load

        for path, _ in self.files():
            with contextlib.suppress(sqlite3.Error, ValueError):
                database = sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True, timeout=0.2)
                try:
                    for (said,) in database.execute(self._record.query, (self._started_ms,)):
                        if isinstance(said, str) and self._ours(said):
                            return Proof("submitted", path)
                finally:
                    database.close()
        return None

    def _ours(self, said: str) -> bool:
        """Whether a prompt is our message, alone or whole lines among queued ones (gemini joins them)."""
        if (wrapper := self._record.wrapper) is not None and (inside := wrapper.fullmatch(said.strip())) is not None:
            said = inside["text"]
        ours = squeeze(self._text)
        if squeeze(said) == ours:
            return True
        if ours not in squeeze(said):
            return False
        wanted = [squeeze(one) for one in self._text.split("\n") if one.strip()]
        lines = [squeeze(one) for one in said.split("\n") if one.strip()]
        if any(lines[at : at + len(wanted)] == wanted for at in range(len(lines))):
            return True
        self.mixed = True
        return False


class _Standing(NamedTuple):
    """How often our message stands in a document, and as what, when that had this size and time."""

    stamp: tuple[int, int] | None
    verdicts: tuple[str, ...]


_NOTHING = _Standing(None, ())


def _stamp(path: str) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        known = Path(path).stat()
        return known.st_size, known.st_mtime_ns
    return None


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _matches(entry: Entry, data: Any) -> bool:
    return all(_dig(data, key) == wanted for key, wanted in entry.where.items())


def _modified(path: str) -> float:
    with contextlib.suppress(OSError):
        return Path(path).stat().st_mtime
    return 0.0


def _dig(data: Any, path: str) -> Any:
    for key in path.split("."):
        if not isinstance(data, dict):
            return None
        data = data.get(key)
    return data


def _text_of(entry: Entry, data: Any) -> str:
    found = _dig(data, entry.text)
    parts = found if isinstance(found, list) else [found]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return "\n".join(one for one in texts if isinstance(one, str))
