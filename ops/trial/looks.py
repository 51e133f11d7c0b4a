"""What a UI can look like: its size, theme, colours, status line, mode."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Look:
    """One look: the pane's `size`, arguments and environment of the UI, and what stands in its configuration.

    `files` are added to those that the UI's set-up wrote, by their path under its home (`{cwd}/` for its working
    directory): text goes behind what is there, keys into the JSON object. `keys` are pressed once it has started.
    """

    name: str
    size: tuple[int, int] = (80, 24)
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str | Mapping[str, Any]] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    loaded: str = ""

    def dress(self, home: Path, cwd: Path) -> None:
        """Write its part of the configuration."""
        for name, content in self.files.items():
            path = home / name.format(cwd=cwd)
            path.parent.mkdir(parents=True, exist_ok=True)
            old = path.read_text(encoding="utf-8") if path.exists() else ""
            if isinstance(content, str):
                path.write_text(old + content, encoding="utf-8")
            else:
                path.write_text(json.dumps(json.loads(old or "{}") | content), encoding="utf-8")


PLAIN = Look("200x50", (200, 50))
