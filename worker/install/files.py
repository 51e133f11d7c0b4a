"""Files that `install` writes: shown before they are replaced, written whole or not at all, and remembered.

What was written is listed beside the configuration (`<stem>-installed.json`), so that `uninstall` takes away exactly
that.
"""

import contextlib
import difflib
import fcntl
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from worker.atomic_files import write_atomically
from worker.credentials import shown_name
from worker.errors import BusWatchError
from worker.install.errors import InstallError

FileKind = Literal["config", "token", "service", "line"]
Comparison = Literal["new", "same", "different"]


@dataclass(frozen=True, slots=True)
class Planned:
    """A file as it shall be.

    `kind`: `config` and `token` outlive `uninstall`, a `service` file is ours as a whole, of a `line` file only `line`
    is (one line or more). `owner` is a uid and gid, for files that root writes for the user of a service.
    """

    path: Path
    content: str
    kind: FileKind
    mode: int = 0o644
    line: str = ""
    owner: tuple[int, int] | None = None


@contextlib.contextmanager
def alone(path: Path, patience: float = 30.0) -> Iterator[None]:
    """From reading the file at `path` until it is written, no other command of ours changes one in its folder.

    Else two at once would each write what it had read, and the agent that the one has added would be gone. The folder
    itself is locked (flock(2) takes one), so that nothing is left behind; where there is none, the nearest above it.

    Args:
        path: the file that is to change.
        patience: seconds for which others may be at work.

    Raises:
        InstallError: somebody else was at work all the time.
    """
    folder = path.absolute().parent
    while not folder.is_dir():
        folder = folder.parent
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        until = time.monotonic() + patience
        while not _taken(descriptor):
            if time.monotonic() > until:
                raise InstallError(f"another command has been changing files in {folder} for {patience:g} s: see ps")
            time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def comparison(planned: Planned) -> Comparison:
    """How the file on the disk compares. A configuration is compared as JSON: its layout is its owner's business."""
    try:
        found = planned.path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return "new"
    except UnicodeDecodeError:
        return "different"
    except OSError as error:
        raise _failure(planned.path, error) from None
    if found == planned.content:
        return "same"
    if planned.kind == "config":
        with contextlib.suppress(json.JSONDecodeError):
            return "same" if json.loads(found) == json.loads(planned.content) else "different"
    return "different"


def diff(planned: Planned) -> str:
    """What replacing the file would change; tokens are never shown."""
    if planned.kind == "token":
        return f"{planned.path}: holds another token\n"
    before = planned.path.read_text(encoding="utf-8", errors="replace")
    if planned.kind == "config":
        with contextlib.suppress(json.JSONDecodeError):  # in our layout: what changes is what it says
            before = json.dumps(json.loads(before), indent=2, ensure_ascii=False)
    lines = difflib.unified_diff(
        before.splitlines(), planned.content.splitlines(), str(planned.path), f"{planned.path} (new)", lineterm=""
    )
    return _without_tokens("\n".join(lines)) + "\n"


def _without_tokens(text: str) -> str:
    text = re.sub(r'("(?:token|sentry_dsn)"\s*:\s*)"(?:[^"\\]|\\.)*"?', r'\1"***"', text)
    return re.sub(r'("token_env"\s*:\s*)"((?:[^"\\]|\\.)*)"?', _named, text)


def _named(found: re.Match[str]) -> str:
    shown = found[2] if shown_name(found[2]) == found[2] else "***"
    return f'{found[1]}"{shown}"'


def shown(planned: Planned) -> str:
    """The content for `--dry-run`; tokens are never shown."""
    return "***\n" if planned.kind == "token" else _without_tokens(planned.content)


def write(planned: Planned) -> None:
    """Write the file, and the folders above it. Raises BusWatchError, with nothing changed but folders."""
    folder_mode = 0o700 if planned.kind in {"config", "token"} else 0o755
    try:
        _make_folder(planned.path.parent, folder_mode, planned.owner)
        write_atomically(planned.path, planned.content.encode(), mode=planned.mode, owner=planned.owner)
    except OSError as error:
        raise _failure(planned.path, error) from None


def tighten(planned: Planned) -> bool:
    """Take the mode of a private file that is otherwise right back to what it shall be; true if that was needed."""
    if planned.kind not in {"config", "token"} or stat.S_IMODE(planned.path.stat().st_mode) == planned.mode:
        return False
    planned.path.chmod(planned.mode)
    return True


def make_folder(folder: Path, owner: tuple[int, int] | None) -> bool:
    """Make a private folder, and those above it; true if it was not there. Raises BusWatchError."""
    if folder.is_dir():
        return False
    try:
        _make_folder(folder, 0o700, owner)
    except OSError as error:
        raise _failure(folder, error) from None
    return True


def _make_folder(folder: Path, mode: int, owner: tuple[int, int] | None) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent, mode, owner)
    folder.mkdir(mode=mode)
    folder.chmod(mode)
    if owner is not None:
        os.chown(folder, *owner)


def _failure(path: Path, error: OSError) -> BusWatchError:
    return BusWatchError(f"{path}: {error.strerror}")


@dataclass(slots=True)
class Manifest:
    """What `install` has written for one configuration."""

    path: Path
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def beside(cls, config: Path) -> "Manifest":
        """The list that lies beside a configuration; an empty one where there is none."""
        path = config.with_name(f"{config.stem}-installed.json")
        try:
            stored = json.loads(path.read_bytes())
            return cls(path, {entry["path"]: entry for entry in stored["files"]})
        except FileNotFoundError:
            return cls(path)
        except (OSError, ValueError, KeyError, TypeError):
            raise BusWatchError(f"{path} cannot be read; look at it, or move it away") from None

    def add(self, files: Iterable[Planned]) -> None:
        """Remember these as written by us."""
        for planned in files:
            self.entries[str(planned.path)] = {
                "path": str(planned.path),
                "kind": planned.kind,
                "sha256": digest(planned.content.encode()),
                "line": planned.line,
            }

    def planned(self, owner: tuple[int, int] | None = None) -> Planned:
        """The list itself, as a file to write."""
        content = json.dumps({"files": list(self.entries.values())}, indent=2) + "\n"
        return Planned(self.path, content, "config", 0o600, owner=owner)

    def of_kind(self, *kinds: FileKind) -> list[dict[str, Any]]:
        """The entries of these kinds."""
        return [entry for entry in self.entries.values() if entry["kind"] in kinds]


def digest(content: bytes) -> str:
    """What is compared to see whether a file is still as it was written."""
    return hashlib.sha256(content).hexdigest()


def remove(entry: dict[str, Any]) -> str:
    """Take one listed file, or our line in it, away. Returns a sentence about what was done, or why not."""
    path = Path(entry["path"])
    try:
        found = path.read_bytes()
        if entry["kind"] == "line":
            return _remove_line(path, found.decode("utf-8", "surrogateescape"), entry["line"])
        if digest(found) != entry["sha256"] and entry["kind"] != "config":
            return f"left {path}: it was changed since it was written"
        path.unlink()
    except FileNotFoundError:
        return f"gone already: {path}"
    except OSError as error:
        raise _failure(path, error) from None
    return f"removed {path}"


def _remove_line(path: Path, text: str, line: str) -> str:
    kept = [other for other in text.splitlines(keepends=True) if other.rstrip("\n") not in line.splitlines()]
    if len(kept) == len(text.splitlines()):
        return f"left {path}: our line in it was changed since it was written"
    if any(other.strip() and not other.startswith("#") for other in kept):
        path.write_text("".join(kept), encoding="utf-8", errors="surrogateescape")
        return f"removed our line from {path}"
    path.unlink()
    return f"removed {path}"


def compare(plans: Sequence[Planned]) -> dict[Comparison, list[Planned]]:
    """The plans by what they would do."""
    found: dict[Comparison, list[Planned]] = {"new": [], "same": [], "different": []}
    for planned in plans:
        found[comparison(planned)].append(planned)
    return found
