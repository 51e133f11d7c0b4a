"""Files of the agents' own, which their owners write: read as they are, and replaced whole where they lie."""

import json
from pathlib import Path
from typing import Any

from worker.atomic_files import write_atomically
from worker.install.errors import InstallError


def read(path: Path) -> str:
    """What is there; empty where nothing is. InstallError."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as why:
        raise InstallError(f"{path}: {why}") from None


def parsed(text: str) -> dict[str, Any]:
    """The settings in the text of a JSON file. InstallError: there are none."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError) as why:  # comments, perhaps
        raise InstallError(f"it is not valid JSON, so nothing was changed: {why}") from None
    if not isinstance(found, dict):
        raise InstallError("it holds no settings, so nothing was changed")
    return found


def write(path: Path, text: str) -> None:
    """Replace the file at once, with the mode that it has; one that is empty now is taken away.

    Raises:
        InstallError: it cannot be, or its owner has made it read-only.
    """
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
        if not mode & 0o200:
            raise InstallError(f"{path} is read-only, so nothing was changed")
        if not text:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path.resolve(), text.encode(), mode=mode)  # in place of what a link leads to, not of the link
    except OSError as why:
        raise InstallError(f"{path}: {why.strerror}") from None
