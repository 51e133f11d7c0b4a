"""Which host of a fleet this is: its name, and the random id that proves that it is the same one as before.

Both stand in the file `host` of the folder of receipts. They belong together: whoever has the name is believed about
attempts whose receipts lie there, and nowhere else.
"""

import contextlib
import os
import re
import socket
from pathlib import Path
from typing import NamedTuple

from worker.atomic_files import write_atomically
from worker.errors import ConfigError
from worker.ledger.errors import from_os
from worker.settings import Settings

NAME = "host"
_LONGEST = 64


class Host(NamedTuple):
    """A host of a fleet."""

    name: str
    id: str


def known(settings: Settings) -> str:
    """This host's name, for whoever only looks; empty where there is no fleet, or nothing has run here yet."""
    if not settings.is_fleet:
        return ""
    found = _read(settings.files_dir / NAME)
    return found.name if found is not None else settings.host or ""


def establish(settings: Settings) -> Host | None:
    """This host, made known to itself at its first start; None where there is no fleet.

    Raises ConfigError, where the configuration has another name than this folder, and LedgerError, where the folder
    cannot be written.
    """
    return make_known(settings) if settings.is_fleet else None


def make_known(settings: Settings) -> Host:
    """The same for one that is about to join a fleet."""
    path = settings.files_dir / NAME
    try:
        settings.files_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = _read(path)
        if found is None:
            keep(settings.files_dir, Host(settings.host or _of_the_machine(), os.urandom(16).hex()))
            found = _read(path)
    except OSError as error:
        raise from_os(error, path) from error
    if found is None:
        raise ConfigError(f"{path} is damaged: it must hold this host's name and id; move it away to be a new host")
    if settings.host is not None and settings.host != found.name:
        raise ConfigError(
            f'this host has been {found.name}, says {path}: set "host" back, or, where nothing of it is left to '
            "deliver, move that file away to be a new host"
        )
    return found


def keep(folder: Path, host: Host) -> None:
    """Write it down, unless somebody else has: complete or not at all. OSError."""
    partial = folder / f".{NAME}.new.{os.getpid()}"
    write_atomically(partial, f"{host.name} {host.id}\n".encode())
    with contextlib.suppress(FileExistsError):
        os.link(partial, folder / NAME)
    partial.unlink()


def _read(path: Path) -> Host | None:
    """What stands there; None: nothing that can be used. OSError."""
    try:
        words = path.read_text("ascii").split()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return Host(*words) if len(words) == 2 else None


def _of_the_machine() -> str:
    """The machine's name, as far as it can be a host's."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()).strip("-._")[:_LONGEST]
    return name or "host"
