"""Recorded screens: what a UI really showed, kept as a fixture with which its profile is tested.

A fixture is `FOLDER/PROFILE/STATE-N.json`: the fields of `terminal.Screen`, and `profile`, `state`, `version` (of
the UI), `about` (what was done to get there).
"""

import json
import re
import socket
from dataclasses import asdict
from pathlib import Path

from ops.trial.terminal import Screen

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "screens"
STATES = ("idle", "draft", "busy", "queued", "dialog", "copy-mode", "unknown")
"""What a screen can be judged to be; `unknown`: nothing that a profile should take for a place to type."""


def save(screen: Screen, *, profile: str, state: str, version: str, about: str, folder: Path = FOLDER) -> Path:
    """Write `screen` as the next fixture of that profile and state; its path.

    Nothing of the machine gets in: the home and the host's name become others of the same length, so that each cell
    stays where it was.
    """
    place = folder / profile
    place.mkdir(parents=True, exist_ok=True)
    number = 1
    while (path := place / f"{state}-{number}.json").exists():
        number += 1
    content = {"profile": profile, "state": state, "version": version, "about": about, **asdict(screen)}
    written = {key: impersonal(value) if isinstance(value, str) else value for key, value in content.items()}
    path.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def impersonal(text: str, home: str | None = None, host: str | None = None) -> str:
    """`text` with other names for this machine's home and host, as long as they were."""
    home, host = home or str(Path.home()), host or socket.gethostname()
    text = text.replace(home, f"/home{'/me' if len(home) > 7 else ''}".ljust(len(home), "_")[: len(home)])
    return re.sub(rf"\b{re.escape(host)}\b", "host".ljust(len(host), "_")[: len(host)], text)
