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
    `loaded` is what it shows once it listens, where that is another thing than usual. `asks`: does it still ask before
    it runs a command? `drafts`: does what a person types go into the box (as it does not in vim's normal mode)?
    """

    name: str
    size: tuple[int, int] = (80, 24)
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str | Mapping[str, Any]] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    loaded: str = ""
    asks: bool = True
    drafts: bool = True

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

SIZES = tuple(Look(f"{width}x{height}", (width, height)) for width, height in ((80, 24), (60, 15), (40, 12), (30, 10)))
COLOURS = (
    Look("true colour", env={"COLORTERM": "truecolor"}),
    Look("256 colours", env={"TERM": "xterm-256color"}),
    Look("16 colours", env={"TERM": "xterm"}),
    Look("no colours", env={"NO_COLOR": "1"}),
)


def _themes(path: str, key: str, *names: str, **more: Any) -> tuple[Look, ...]:
    """One look for each theme, which is `key` (`a.b`: `b` in the object `a`) of the JSON file `path`."""
    looks = []
    for name in names:
        content: dict[str, Any] = {}
        *outer, last = key.split(".")
        inner = content
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[last] = name
        looks.append(Look(f"theme {name}", files={path: content}, **more))
    return tuple(looks)


STATUS_LINE = {"statusLine": {"type": "command", "command": r"printf '%s\n' 'main · 3 files' '────  ❯ 42% left'"}}
OWN_AGENT = {
    "default_agent": "reviewer",
    "agent": {"reviewer": {"mode": "primary", "description": "reads", "prompt": "You review."}},
}

OWN: dict[str, tuple[Look, ...]] = {
    "claude": (
        *_themes(".claude.json", "theme", "light", "dark-daltonized", "light-daltonized", "dark-ansi", "light-ansi"),
        Look("status line of two lines", files={".claude/settings.json": STATUS_LINE}),
        Look("vim, insert", files={".claude.json": {"editorMode": "vim"}}),
        Look("vim, normal", files={".claude.json": {"editorMode": "vim"}}, keys=("Escape",), drafts=False),
        Look("plan mode", args=("--permission-mode", "plan"), asks=False),
        Look("acceptEdits mode", args=("--permission-mode", "acceptEdits"), asks=False),
        Look("dontAsk mode", args=("--permission-mode", "dontAsk"), asks=False),
        Look("auto mode", args=("--permission-mode", "auto"), asks=False),
    ),
    "codex": (
        *(
            Look(
                f"status line {line}",
                args=("-c", f"tui.status_line={line}"),
                loaded=r"for agents|context left|f2 to view",
            )
            for line in (
                "[]",
                '["model-name"]',
                '["current-dir"]',
                '["context-remaining"]',
                '["model-with-reasoning", "context-remaining", "current-dir"]',
            )
        ),
        Look("alternate screen", args=("-c", 'tui.alternate_screen="always"')),
        Look("plan mode", keys=("BTab",)),
        Look("never asks", args=("-a", "never"), asks=False),
    ),
    "opencode": (
        *_themes(
            ".config/opencode/tui.json",
            "theme",
            "system",
            "solarized",
            "gruvbox",
            "github",
            "catppuccin",
            env={"COLORTERM": "truecolor"},
        ),
        Look("theme solarized in 256 colours", files={".config/opencode/tui.json": {"theme": "solarized"}}),
        Look("an agent of the owner's", files={".config/opencode/opencode.json": OWN_AGENT}),
        Look(
            "an agent of the owner's in true colour",
            files={".config/opencode/opencode.json": OWN_AGENT},
            env={"COLORTERM": "truecolor"},
        ),
        Look("plan mode", keys=("Tab",)),
    ),
    "gemini": (
        *_themes(
            ".gemini/settings.json",
            "ui.theme",
            "Default Light",
            "GitHub",
            "Dracula",
            "ANSI",
            "Solarized Dark",
            env={"COLORTERM": "truecolor"},
        ),
        Look("no footer", files={".gemini/settings.json": {"ui": {"hideFooter": True}}}),
        Look("no tips, no banner", files={".gemini/settings.json": {"ui": {"hideTips": True, "hideBanner": True}}}),
        Look("alternate screen", files={".gemini/settings.json": {"ui": {"useAlternateBuffer": True}}}),
        Look("auto_edit mode", args=("--approval-mode", "auto_edit")),
        Look("yolo mode", args=("--approval-mode", "yolo"), asks=False),
    ),
    "pi": (
        *_themes(".pi/agent/settings.json", "theme", "light", "dark"),
        Look("quiet", files={".pi/agent/settings.json": {"quietStartup": True}}),
    ),
    "aider": (
        Look("light", args=("--light-mode",)),
        Look("dark", args=("--dark-mode",)),
        Look("not pretty", args=("--no-pretty",)),
        Look("vim", args=("--vim",)),
        Look("ask mode", args=("--chat-mode", "ask"), asks=False),
    ),
    "ipython": (
        *(Look(f"colours {name}", args=(f"--colors={name}",)) for name in ("linux", "lightbg", "nocolor", "neutral")),
        Look("vi keys", args=("--TerminalInteractiveShell.editing_mode=vi",)),
    ),
}
"""What each UI's own settings change."""


CRASHES = {("opencode", "30x10")}
"""Where a UI itself ends: OpenCode 1.18.33 did, 3 of 3; the one that was looked at had crashed (signal 4)."""


def looks_of(ui: str) -> tuple[Look, ...]:
    """All the looks in which the UI of that name is tried, each once."""
    return tuple(look for look in (*SIZES, *COLOURS, *OWN.get(ui, ())) if (ui, look.name) not in CRASHES)
