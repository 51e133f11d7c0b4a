"""What an agent's own channel needs on this machine, and making and undoing it: `bus-watch agent setup`."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path

from worker.atomic_files import write_atomically
from worker.install.errors import InstallError

OURS = "// bus-watch:"
"""How a plugin of ours begins; a file that begins otherwise is somebody else's."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What one agent's channel needs."""

    words: tuple[str, ...]
    """For a person, a sentence each."""
    path: Path | None = None
    content: str = ""


def agents() -> tuple[str, ...]:
    """The agents that have a channel of their own."""
    return ("claude", "codex", "opencode")


def setup_of(agent: str, environment: Mapping[str, str]) -> Setup:
    """What the channel of `agent` (one of `agents`) needs for the user whose environment this is."""
    home = Path(environment.get("HOME") or "~").expanduser()
    if agent == "codex":
        there = importlib.util.find_spec("wsproto") is not None
        extra = "the extra `native` is installed" if there else "it needs: pip install 'bus-watch[native]'"
        return Setup((f"codex needs no setting of its own; {extra}", "it is used where one codex runs in a directory"))
    if agent == "claude":
        accepting = (
            "a session that bypasses permissions takes messages only with this in its settings.json, which lets every "
            'other session of yours speak to it: {"crossSessionInbound": "accept"}'
        )
        return Setup(("claude needs no setting of its own, from version 2.1.224 on", accepting))
    base = environment.get("XDG_CONFIG_HOME", "")
    folder = (Path(base) if base.startswith("/") else home / ".config") / "opencode" / "plugin"
    words = ("opencode needs a plugin of ours; it is loaded when opencode starts",)
    content = resources("worker.terminal.channels").joinpath("plugins", "opencode.js").read_text(encoding="utf-8")
    return Setup(words, folder / "bus-watch.js", content)


def state_of(setup: Setup) -> str:
    """`none needed`, `missing`, `there`, `old` (another version of ours) or `foreign` (somebody else's file)."""
    if setup.path is None:
        return "none needed"
    try:
        found = setup.path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return "missing"
    except OSError as why:
        raise InstallError(f"{setup.path}: {why.strerror}") from None
    if found == setup.content:
        return "there"
    return "old" if found.startswith(OURS) else "foreign"


def write(setup: Setup) -> None:
    """Make what is missing. InstallError: somebody else's file is in its place."""
    if setup.path is None or state_of(setup) == "there":
        return
    _check(setup.path, setup)
    try:
        setup.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(setup.path, setup.content.encode(), mode=0o600)
    except OSError as why:
        raise InstallError(f"{setup.path}: {why.strerror}") from None


def undo(setup: Setup) -> None:
    """Take away what `write` made. InstallError: somebody else's file is in its place."""
    if setup.path is None or state_of(setup) == "missing":
        return
    _check(setup.path, setup)
    try:
        setup.path.unlink(missing_ok=True)
    except OSError as why:
        raise InstallError(f"{setup.path}: {why.strerror}") from None


def _check(path: Path, setup: Setup) -> None:
    if state_of(setup) == "foreign":
        raise InstallError(f"{path} is not ours: move it away")
