"""What an agent's own channel needs on this machine, and making and undoing it: `bus-watch agent setup`."""

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from worker.install import owners_files
from worker.install.errors import InstallError

OURS = "// bus-watch:"
"""How a plugin of ours begins; a file that begins otherwise is somebody else's."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What one agent's channel needs: nothing but what the words say."""

    words: tuple[str, ...]
    """For a person, a sentence each."""
    path: Path | None = None
    """The file that has it."""
    content: str = ""
    """What is put there."""

    def state(self) -> str:
        """`none needed`, `missing`, `there`, `old` (another version of ours) or `foreign` (somebody else's).

        Raises:
            InstallError: the file cannot be read.
        """
        return "none needed"

    def write(self) -> None:
        """Make what is missing. InstallError: it cannot be made, or somebody else's is in its place."""

    def undo(self) -> None:
        """Take away what `write` made. InstallError: it cannot be, or somebody else's is in its place."""

    def parts(self) -> "tuple[Setup, ...]":
        """What it consists of, a file each."""
        return (self,)


@dataclass(frozen=True, slots=True)
class Both(Setup):
    """A plugin, and a setting of the owner's without which it is not loaded; `path` and `content` are the plugin's."""

    setting: Setup = field(kw_only=True)
    plugin: Setup = field(kw_only=True)

    def parts(self) -> tuple[Setup, ...]:
        """See `Setup.parts`."""
        return (self.setting, self.plugin)

    def state(self) -> str:
        """See `Setup.state`; of the part that is not there, if there is one."""
        return next((state for one in self.parts() if (state := one.state()) != "there"), "there")

    def write(self) -> None:
        """See `Setup.write`; nothing is made where one part is somebody else's."""
        for one in sorted(self.parts(), key=lambda part: part.state() != "foreign"):
            one.write()

    def undo(self) -> None:
        """See `Setup.undo`."""
        self.plugin.undo()  # the setting may have been the owner's before


class Plugin(Setup):
    """A file of ours that the agent loads."""

    def state(self) -> str:
        """See `Setup.state`."""
        found = _read(self.path)
        if found is None:
            return "missing"
        if found == self.content:
            return "there"
        return "old" if found.startswith(OURS) else "foreign"

    def write(self) -> None:
        """See `Setup.write`."""
        if self._ours() != "there" and self.path is not None:
            owners_files.write(self.path, self.content)

    def undo(self) -> None:
        """See `Setup.undo`."""
        if self.path is None or self._ours() == "missing":
            return
        try:
            self.path.unlink(missing_ok=True)
        except OSError as why:
            raise InstallError(f"{self.path}: {why.strerror}") from None

    def _ours(self) -> str:
        state = self.state()
        if state == "foreign":
            raise InstallError(f"{self.path} is not ours: move it away")
        return state


class Setting(Setup):
    """A key of the agent's own settings, or of a section of them; `content` is a JSON document with only that."""

    def state(self) -> str:
        """See `Setup.state`."""
        section, key, value = self._wanted()
        settings = self._settings()
        found = settings.get(section) if section else settings
        if section and not isinstance(found, dict | None):
            return "foreign"
        there = found.get(key) if isinstance(found, dict) else None
        return "missing" if there is None else "there" if there == value else "foreign"

    def write(self) -> None:
        """See `Setup.write`."""
        section, key, value = self._wanted()
        state = self.state()
        if state == "foreign":
            name = f"{section}.{key}" if section else key
            raise InstallError(f"{name} is set to something else in {self.path}: change it by hand")
        if state == "missing":
            settings = self._settings()
            if section:
                settings[section] = (settings.get(section) or {}) | {key: value}
            else:
                settings[key] = value
            self._replace(settings)

    def undo(self) -> None:
        """See `Setup.undo`."""
        section, key, _ = self._wanted()
        if self.state() != "there":
            return
        settings = self._settings()
        del (settings[section] if section else settings)[key]
        if section and not settings[section]:
            del settings[section]
        self._replace(settings)

    def _wanted(self) -> tuple[str, str, object]:
        """Section (empty: none), key and value."""
        ((name, value),) = json.loads(self.content).items()
        if not isinstance(value, dict):
            return "", name, value
        ((key, inner),) = value.items()
        return name, key, inner

    def _settings(self) -> dict[str, Any]:
        text = owners_files.read(self.path) if self.path else ""
        try:
            return owners_files.parsed(text)
        except InstallError as why:
            raise InstallError(f"{self.path}: {why}; add by hand: {self.content}") from None

    def _replace(self, settings: dict[str, Any]) -> None:
        if self.path:
            owners_files.write(self.path, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")


def agents() -> tuple[str, ...]:
    """The agents that have a channel of their own."""
    return ("claude", "codex", "copilot", "opencode", "pi", "qwen")


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
    if agent == "qwen":
        accepting = (
            "qwen holds what comes from outside for review, unless this is in its settings, which lets every other "
            "session of yours speak to it; it is read when qwen starts"
        )
        path = _folder(environment.get("QWEN_HOME", ""), home / ".qwen") / "settings.json"
        return Setting((accepting,), path, json.dumps({"agents": {"crossSessionInbound": "accept"}}))
    if agent == "copilot":
        folder = _folder(environment.get("COPILOT_HOME", ""), home / ".copilot")
        needs = (
            "copilot needs an extension of ours, and its experimental features, of which extensions are one; "
            "both are read when copilot starts; --undo leaves those features on, since they may be yours"
        )
        extension = folder / "extensions" / "bus-watch" / "extension.mjs"
        plugin = Plugin((needs,), extension, _plugin("copilot.mjs"))
        setting = Setting((), folder / "settings.json", json.dumps({"experimental": True}))
        return Both((needs,), extension, plugin.content, plugin=plugin, setting=setting)
    if agent == "pi":
        folder = _folder(environment.get("PI_CODING_AGENT_DIR", ""), home / ".pi" / "agent") / "extensions"
    else:
        folder = _folder(environment.get("XDG_CONFIG_HOME", ""), home / ".config") / "opencode" / "plugin"
    words = (f"{agent} needs a plugin of ours; it is loaded when {agent} starts",)
    return Plugin(words, folder / "bus-watch.js", _plugin(f"{agent}.js"))


def _plugin(name: str) -> str:
    return resources("worker.terminal.channels").joinpath("plugins", name).read_text(encoding="utf-8")


def _folder(named: str, usual: Path) -> Path:
    return Path(named) if named.startswith("/") else usual


def _read(path: Path | None) -> str | None:
    """The file's text; None: there is none."""
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as why:
        raise InstallError(f"{path}: {why.strerror}") from None
