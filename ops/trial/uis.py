"""The agent UIs of the trial: how each is installed, set up in a home of its own, and started.

Everything lies under one cache folder (`BUS_WATCH_TRIAL`, else `~/.cache/bus-watch-trial`); nothing of the person who
runs the trial is read or written: HOME, configuration and working directory are made for each run, and the only address
that a UI knows is the stand-in model's on loopback.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

KEY = "trial-key-that-opens-nothing-0123456789"


def cache() -> Path:
    """Where the UIs are installed: a folder that can be deleted at any time."""
    return Path(os.environ.get("BUS_WATCH_TRIAL") or Path.home() / ".cache" / "bus-watch-trial")


@dataclass(frozen=True)
class Start:
    """How to start a UI: `argv`, run in `cwd` with `env` and nothing else."""

    argv: list[str]
    env: dict[str, str]


@dataclass(frozen=True)
class UI:
    """One agent UI.

    `package` is what npm or pip installs. `set_up(home, cwd, base)` writes its configuration and says how to start it.
    `own_texts` match what the UI itself tells the model beside what a person typed. `overlays` are the keys that open
    and that close its menus and viewers, in which typed text would do who knows what, and what each is.
    `loaded` is a pattern that its screen shows once it listens. `moved` is one that a dialog shows if the keys of a
    message moved it, and Escape takes it back. `changes` is what the UI makes of any text that is
    pasted into it. `guards` are what its profile may put before or behind a text, beside spaces, so that it stays text.
    """

    name: str
    package: str
    program: str
    installer: str
    set_up: Callable[[Path, Path, str], Start]
    own_texts: tuple[str, ...] = ()
    overlays: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = ()
    loaded: str = r"\S"
    moved: str = ""
    changes: Callable[[str], str] = str
    guards: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Where its program lies once it is installed."""
        if self.installer == "npm":
            return cache() / "npm" / "node_modules" / ".bin" / self.program
        return cache() / "venv" / "bin" / self.program

    def is_own(self, text: str) -> bool:
        """Does `text` come from the UI itself?"""
        return any(re.match(pattern, text, re.DOTALL) for pattern in self.own_texts)

    def version(self) -> str:
        """What `--version` says, as far as it is a version."""
        done = subprocess.run(
            [self.path, "--version"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=_environment(cache()),
        )
        found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
        return found[0] if found else "unknown"


def install(uis: Mapping[str, UI], *, again: bool = False) -> None:
    """Install what is missing (`again`: update everything), through npm and pip as the machine has them set up."""
    missing = [ui for ui in uis.values() if again or not ui.path.exists()]
    for_npm = [ui.package for ui in missing if ui.installer == "npm"]
    for_pip = [ui.package for ui in missing if ui.installer == "pip"]
    if for_npm:
        folder = cache() / "npm"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}') if not (folder / "package.json").exists() else None
        npm = shutil.which("npm")
        if npm is None:
            raise SystemExit("the trial needs npm to install " + ", ".join(for_npm))
        subprocess.run([npm, "install", "--no-audit", "--no-fund", *for_npm], cwd=folder, check=True)
    if for_pip:
        venv = cache() / "venv"
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin" / "pip", "install", "--quiet", "--upgrade", *for_pip], check=True)


def _environment(home: Path) -> dict[str, str]:
    """The least a terminal program needs."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TERM": "tmux-256color",
        "LANG": "C.UTF-8",
        "SHELL": "/bin/bash",
        "USER": os.environ.get("USER", "trial"),
    }


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def _codex(home: Path, cwd: Path, base: str) -> Start:
    _write(
        home / ".codex" / "config.toml",
        f"""model = "fake"
model_provider = "fake"
check_for_update_on_startup = false
approval_policy = "on-request"
sandbox_mode = "read-only"
[model_providers.fake]
name = "fake"
base_url = "{base}/v1"
wire_api = "responses"
env_key = "TRIAL_KEY"
[projects."{cwd}"]
trust_level = "trusted"
""",
    )
    return Start([str(UIS["codex"].path), "--no-alt-screen"], _environment(home) | {"TRIAL_KEY": KEY})


def _opencode(home: Path, cwd: Path, base: str) -> Start:
    del cwd
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": f"{base}/v1", "apiKey": KEY},
        "models": {"fake": {}},
    }
    config = {
        "model": "fake/fake",
        "small_model": "fake/fake",
        "autoupdate": False,
        "permission": {"bash": "ask"},
        "provider": {"fake": provider},
    }
    _write(home / ".config" / "opencode" / "opencode.json", json.dumps(config))
    quiet = {"OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_AUTOUPDATE": "1"}
    return Start([str(UIS["opencode"].path)], _environment(home) | quiet)


def _claude(home: Path, cwd: Path, base: str) -> Start:
    config = {
        "hasCompletedOnboarding": True,
        "theme": "dark",
        "customApiKeyResponses": {"approved": [KEY[-20:]], "rejected": []},
        "projects": {str(cwd): {"hasTrustDialogAccepted": True}},
    }
    _write(home / ".claude.json", json.dumps(config))
    own = {
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": base,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }
    return Start([str(UIS["claude"].path)], _environment(home) | own)


def _gemini(home: Path, cwd: Path, base: str) -> Start:
    del cwd
    security = {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": False}}
    general = {"disableAutoUpdate": True, "disableUpdateNag": True, "enableAutoUpdate": False}
    config = {"security": security, "general": general, "privacy": {"usageStatisticsEnabled": False}}
    _write(home / ".gemini" / "settings.json", json.dumps(config))
    return Start(
        [str(UIS["gemini"].path)], _environment(home) | {"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": base}
    )


ESCAPE = ("Escape",)

UIS = {
    ui.name: ui
    for ui in (
        UI(
            "codex",
            "@openai/codex",
            "codex",
            "npm",
            _codex,
            loaded=r" · /",
            own_texts=(
                r"<environment_context>",
                r"# AGENTS\.md",
                r"<user_instructions>",
                r"<permissions",
                r"<turn_aborted>",
            ),
            overlays=(
                (("/model", "Enter"), ESCAPE, "the choice of a model"),
                (("/permissions", "Enter"), ESCAPE, "the choice of permissions"),
                (("C-t",), ("q",), "the transcript viewer"),
            ),
        ),
        UI(
            "opencode",
            "opencode-ai",
            "opencode",
            "npm",
            _opencode,
            moved="Always allow",
            overlays=(
                (("C-p",), ESCAPE, "the command palette"),
                (("/models", "Enter"), ESCAPE, "the choice of a model"),
            ),
        ),
        UI(
            "claude",
            "@anthropic-ai/claude-code",
            "claude",
            "npm",
            _claude,
            own_texts=(r"\s*<system-reminder>", r"\[Request interrupted"),
            changes=lambda text: unicodedata.normalize("NFC", text.replace("\t", "    ")),
            overlays=(
                (("/model", "Enter"), ESCAPE, "the choice of a model"),
                (("C-o",), ("C-o",), "the transcript viewer"),
                (("C-r",), ESCAPE, "the search in the history"),
                (("/help", "Enter"), ESCAPE, "the help"),
            ),
        ),
        UI(
            "gemini",
            "@google/gemini-cli",
            "gemini",
            "npm",
            _gemini,
            own_texts=(r"This is the Gemini CLI", r"<session_context>"),
            guards=("> ", " ."),
            overlays=(
                (("/model", "Enter"), ESCAPE, "the choice of a model"),
                (("/settings", "Enter"), ESCAPE, "the settings"),
                (("C-r",), ESCAPE, "the search in the history"),
            ),
        ),
    )
}
