"""Who may look: one-time links, the cookies that they are exchanged for, and bearers that only read.

What is kept is the hash of each, as the name of an empty file that only its owner can read; its age is the file's. So
whoever can write to that folder is who gives access, a link can be used up once only, whatever process serves it, and
what was given outlives a restart.
"""

import hashlib
import secrets
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from worker.errors import BusWatchError


class AccessError(BusWatchError):
    """Where the web view keeps who may look cannot be used."""

    code = "web_access"


class Kind(StrEnum):
    """What a token is good for."""

    LINK = "link"
    """To be exchanged for a session, once, within ten minutes."""
    SESSION = "session"
    """A browser's cookie, for 30 days: looks and acts."""
    READER = "reader"
    """A bearer for programs, until its file is removed: looks only."""


SECONDS = {Kind.LINK: 600.0, Kind.SESSION: 30 * 86400.0, Kind.READER: float("inf")}


class Tokens:
    """Those of one ledger. `folder` is made when the first is given."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def new(self, kind: Kind) -> str:
        """Give one, and forget those that are too old.

        Raises:
            AccessError: it cannot be written down.
        """
        token = secrets.token_urlsafe(32)
        try:
            for folder in (self._folder.parent, self._folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._forget(lambda file, kind: not _young(file, kind))
            self._file(token, kind).touch(mode=0o600, exist_ok=False)
        except OSError as error:
            raise AccessError(f"{self._folder}: {error.strerror}: nobody can be let in") from None
        return token

    def admits(self, token: str, kind: Kind) -> bool:
        """Whether this token was given, and is not too old."""
        return bool(token) and _young(self._file(token, kind), kind)

    def exchange(self, link: str) -> str | None:
        """A session for a link, which is used up; None: it was used before, is too old, or was never given.

        Raises:
            AccessError: the session cannot be written down.
        """
        file = self._file(link, Kind.LINK)
        young = _young(file, Kind.LINK)
        try:
            file.unlink()
        except OSError:
            return None
        return self.new(Kind.SESSION) if young else None

    def forget_all(self) -> int:
        """Take back everything that was given; how much that was.

        Raises:
            AccessError: something cannot be taken back.
        """
        try:
            return self._forget(lambda *_: True)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise AccessError(f"{self._folder}: {error.strerror}: remove what is in it by hand") from None

    def _forget(self, chosen: Callable[[Path, Kind], bool]) -> int:
        count = 0
        for file in self._folder.iterdir():
            kind = file.name.partition("-")[0]
            if kind in SECONDS and chosen(file, Kind(kind)):
                file.unlink(missing_ok=True)
                count += 1
        return count

    def _file(self, token: str, kind: Kind) -> Path:
        return self._folder / f"{kind}-{hashlib.sha256(token.encode('utf-8', 'replace')).hexdigest()}"


def _young(file: Path, kind: Kind) -> bool:
    try:
        return time.time() - file.stat().st_mtime < SECONDS[kind]
    except OSError:
        return False


def of_forms(session: str) -> str:
    """What a page of this session sends with what it does, and no other page can know."""
    return hashlib.sha256(f"csrf:{session}".encode("utf-8", "replace")).hexdigest()
