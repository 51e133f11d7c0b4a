"""Recorded screens: what a pane showed at one moment, in a file, so that a profile can be tried without the agent.

A recording is `FOLDER/STATE-N.json`: the fields of the pane, and `profile`, `state`, `version` (of the agent), `about`
(what was done to get there). It holds the whole screen: files are 0600, and a person looks through one before it is
shared.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.atomic_files import write_atomically
from worker.terminal.screen import Judgement
from worker.terminal.tmux import Look

STATES = ("idle", "draft", "busy", "queued", "dialog", "copy-mode", "unknown")
"""What a screen can be judged to be; `unknown`: nothing that a profile should take for a place to type."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded screen, and what it must be judged to be."""

    path: Path
    state: str
    about: str
    look: Look

    def agrees(self, seen: Judgement) -> bool:
        """Whether `seen` is what this screen must be judged to be."""
        if self.state == "unknown":
            return seen.state not in {"idle", "busy"}
        if self.state == "queued":
            return seen.state == "busy"
        if self.state == "copy-mode":
            return True  # the screen behind it may be any; that somebody scrolls is tmux's to say
        if self.state == "dialog":
            return seen.state in {"dialog", "unknown"}  # nothing is typed into either
        return seen.state == self.state


def save(look: Look, folder: Path, *, profile: str, state: str, version: str, about: str) -> Path:
    """Write the screen as the next recording of that state; its path. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    number = 1
    while (path := folder / f"{state}-{number}.json").exists():
        number += 1
    content: dict[str, Any] = {
        "profile": profile,
        "state": state,
        "version": version,
        "about": about,
        "text": look.screen,
        "cursor_x": look.cursor_x,
        "cursor_y": look.cursor_y,
        "cursor_flag": int(look.cursor_on),
        "pane_width": look.width,
        "pane_height": look.height,
        "pane_in_mode": int(look.in_mode),
        "pane_dead": int(look.dead),
        "pane_title": look.title,
    }
    write_atomically(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    return path


def load(folder: Path) -> list[Recording]:
    """Every recording in the folder, by name; what is none is left out."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            found.append(Recording(path, str(saved["state"]), str(saved["about"]), look_of(saved)))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def look_of(saved: Mapping[str, Any]) -> Look:
    """The screen of a recording, as the submitter would get it. KeyError, ValueError or TypeError if it is none."""
    return Look(
        dead=bool(saved["pane_dead"]),
        in_mode=bool(saved["pane_in_mode"]),
        input_off=False,
        synchronized=False,
        pid=0,
        tty="",
        cursor_x=int(saved["cursor_x"]),
        cursor_y=int(saved["cursor_y"]),
        cursor_on=bool(saved["cursor_flag"]),
        width=int(saved["pane_width"]),
        height=int(saved["pane_height"]),
        title=str(saved["pane_title"]),
        screen=str(saved["text"]),
    )
