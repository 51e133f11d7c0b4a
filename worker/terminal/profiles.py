"""Agent profiles: what one agent's UI looks like and how it wants to be typed into, as data.

One TOML file per agent; `profiles/README.md` documents every key. The shipped ones lie beside that page, a
user's own in `~/.config/bus-watch/profiles/`, where a file of the same name replaces the shipped one.
`worker.terminal.screen` gives the states their meaning; `worker.terminal.submit` uses the rest.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.errors import ConfigError

SHIPPED = Path(__file__).with_name("profiles")
STATES = ("dialog", "busy", "queued")


class ProfileError(ConfigError):
    """An agent profile cannot be used; the message names the file, the key and what is wrong."""

    code = "profile"
    exit_status = 75  # nothing was typed, and a mended file lets the message through


@dataclass(frozen=True, slots=True)
class Sign:
    """Something that shows a state; every condition that is given must hold."""

    state: str
    title: re.Pattern[str] | None
    screen: re.Pattern[str] | None
    lines: int
    composer: str
    cursor: str


@dataclass(frozen=True, slots=True)
class Composer:
    """Where the input box is on the screen."""

    start: re.Pattern[str] | None
    above: re.Pattern[str] | None
    end: re.Pattern[str] | None
    end_required: bool
    line: re.Pattern[str] | None
    line_required: bool
    right: re.Pattern[str] | None
    placeholder: tuple[re.Pattern[str], ...]
    muted: frozenset[str]
    collapsed: tuple[re.Pattern[str], ...]
    cursor: str


@dataclass(frozen=True, slots=True)
class Typing:
    """How the UI wants to be typed into; times in seconds."""

    pause: float
    enter: str
    enter_busy: str
    """The keys that submit while the agent is busy, when a dialog can open under them; empty: `enter`."""
    still: float
    young: float
    young_still: float
    busy: str
    tabs: int
    leading: Mapping[str, str]
    trailing: Mapping[str, str]
    max_chars: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of line in a JSON-lines record that is a prompt."""

    where: Mapping[str, Any]
    text: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Record:
    """Where the agent writes down what it was told."""

    format: str
    paths: tuple[str, ...]
    wait: float
    entries: tuple[Entry, ...]
    query: str


@dataclass(frozen=True, slots=True)
class Profile:
    """One agent's UI; `composer` is None only for `generic`, which looks at nothing."""

    name: str
    about: str
    measured: str
    commands: frozenset[str]
    scripts: tuple[str, ...]
    composer: Composer | None
    signs: tuple[Sign, ...]
    typing: Typing
    record: Record | None


class _Table:
    """One table of a profile file, read key by key, so that what is left over is a mistake worth naming."""

    def __init__(self, where: str, data: object) -> None:
        if not isinstance(data, dict):
            raise ProfileError(f"{where}: expected a table")
        self.where = where
        self._left: dict[str, Any] = dict(data)

    def take(self, key: str, default: Any) -> Any:
        """The value of `key`, which must be of the default's kind (whole numbers pass for decimals)."""
        value = self._left.pop(key, default)
        wanted = (int, float) if isinstance(default, float) else type(default)
        if not isinstance(value, wanted) or (isinstance(value, bool) and not isinstance(default, bool)):
            raise ProfileError(f"{self.where}: `{key}` must be like {default!r}, it is {value!r}")
        return value

    def choice(self, key: str, *choices: str) -> str:
        value: str = self.take(key, choices[0])
        if value not in choices:
            raise ProfileError(f"{self.where}: `{key}` is {value!r}; it can be {', '.join(map(repr, choices))}")
        return value

    def pattern(self, key: str) -> re.Pattern[str] | None:
        text: str = self.take(key, "")
        return self._compile(key, text) if text else None

    def strings(self, key: str) -> list[str]:
        value: list[Any] = self.take(key, [])
        if not all(isinstance(one, str) for one in value):
            raise ProfileError(f"{self.where}: `{key}` must be a list of strings")
        return value

    def patterns(self, key: str) -> tuple[re.Pattern[str], ...]:
        return tuple(self._compile(key, text) for text in self.strings(key))

    def mapping(self, key: str) -> dict[str, Any]:
        value: dict[str, Any] = self.take(key, {})
        return value

    def texts(self, key: str) -> dict[str, str]:
        value = self.mapping(key)
        if not all(isinstance(one, str) for one in value.values()):
            raise ProfileError(f"{self.where}: `{key}` must map texts to texts")
        return value

    def tables(self, key: str) -> list["_Table"]:
        value: list[Any] = self.take(key, [])
        return [_Table(f"{self.where} [[{key}]] {number}", one) for number, one in enumerate(value, 1)]

    def table(self, key: str) -> "_Table":
        return _Table(f"{self.where} [{key}]", self.take(key, {}))

    def has(self, key: str) -> bool:
        return key in self._left

    def finish(self) -> None:
        if self._left:
            raise ProfileError(f"{self.where}: unknown key `{min(self._left)}`")

    def _compile(self, key: str, text: str) -> re.Pattern[str]:
        try:
            return re.compile(text)
        except re.error as why:
            raise ProfileError(f"{self.where}: `{key}` is no regular expression: {why}") from None


def parse(name: str, text: str, where: str) -> Profile:
    """Read one profile.

    Args:
        name: what the profile is called; the file must say the same.
        text: the TOML.
        where: the file's name, for the error.

    Raises:
        ProfileError: a key is unknown, missing or of the wrong kind.
    """
    try:
        top = _Table(where, tomllib.loads(text))
    except tomllib.TOMLDecodeError as why:
        raise ProfileError(f"{where}: {why}") from None
    if top.take("name", "") != name:
        raise ProfileError(f'{where}: `name` must be "{name}", like the file')
    process = top.table("process")
    composer = _composer(top.table("composer")) if top.has("composer") else None
    profile = Profile(
        name=name,
        about=top.take("about", ""),
        measured=top.take("measured", ""),
        commands=frozenset(process.strings("commands")),
        scripts=tuple(process.strings("scripts")),
        composer=composer,
        signs=tuple(_sign(one) for one in top.tables("signs")),
        typing=_typing(top.table("typing")),
        record=_record(top.table("record")) if top.has("record") else None,
    )
    process.finish()
    top.finish()
    if composer is None and (profile.commands or profile.scripts):
        raise ProfileError(f"{where}: a [composer] is needed, or nothing would ever be seen")
    return profile


def _composer(table: _Table) -> Composer:
    found = Composer(
        start=table.pattern("start"),
        above=table.pattern("above"),
        end=table.pattern("end"),
        end_required=table.take("end_required", default=False),
        line=table.pattern("line"),
        line_required=table.take("line_required", default=False),
        right=table.pattern("right"),
        placeholder=table.patterns("placeholder"),
        muted=frozenset(table.strings("muted")),
        collapsed=table.patterns("collapsed"),
        cursor=table.choice("cursor", "prompt", "any", "off"),
    )
    if found.start is None and (found.end is None or found.line is None):
        raise ProfileError(f"{table.where}: give `start`, or both `line` and `end`")
    table.finish()
    return found


def _sign(table: _Table) -> Sign:
    sign = Sign(
        state=table.choice("state", *STATES),
        title=table.pattern("title"),
        screen=table.pattern("screen"),
        lines=table.take("lines", 15),
        composer=table.choice("composer", "", "present", "absent"),
        cursor=table.choice("cursor", "", "on", "off", "outside"),
    )
    table.finish()
    if not (sign.title or sign.screen or sign.composer or sign.cursor):
        raise ProfileError(f"{table.where}: a sign needs a condition, or it would always hold")
    return sign


def _typing(table: _Table) -> Typing:
    typing = Typing(
        pause=float(table.take("pause", 0.3)),
        enter=table.choice("enter", "Enter", "C-m"),
        enter_busy=table.choice("enter_busy", "", "Tab", "Right Enter"),
        still=float(table.take("still", 0.25)),
        young=float(table.take("young", 6.0)),
        young_still=float(table.take("young_still", 1.5)),
        busy=table.choice("busy", "type", "wait"),
        tabs=table.take("tabs", 0),
        leading=table.texts("leading"),
        trailing=table.texts("trailing"),
        max_chars=table.take("max_chars", 0),
    )
    table.finish()
    return typing


def _record(table: _Table) -> Record:
    record = Record(
        format=table.choice("format", "jsonl", "sqlite"),
        paths=tuple(table.strings("paths")),
        wait=float(table.take("wait", 4.0)),
        entries=tuple(_entry(one) for one in table.tables("entries")),
        query=table.take("query", ""),
    )
    table.finish()
    if not record.paths or not (record.entries or record.query):
        raise ProfileError(f"{table.where}: needs `paths`, and `entries` (jsonl) or a `query` (sqlite)")
    return record


def _entry(table: _Table) -> Entry:
    entry = Entry(
        where=table.mapping("where"),
        text=table.take("text", ""),
        verdict=table.choice("verdict", "submitted", "queued"),
    )
    table.finish()
    if not entry.text:
        raise ProfileError(f"{table.where}: `text` says which key holds the prompt")
    return entry


def user_directory(environment: Mapping[str, str]) -> Path:
    """Where a person keeps profiles of their own."""
    base = environment.get("XDG_CONFIG_HOME", "")
    home = environment.get("HOME") or "~"
    return (Path(base) if base.startswith("/") else Path(home).expanduser() / ".config") / "bus-watch/profiles"


def load(name: str, directories: Iterable[Path]) -> Profile:
    """The profile called `name`, from the first of the directories that has it.

    Raises:
        ProfileError: there is none, or it cannot be used.
    """
    searched = list(directories)
    for directory in searched:
        path = directory / f"{name}.toml"
        if "/" not in name and path.is_file():
            return parse(name, path.read_text(encoding="utf-8"), str(path))
    known = ", ".join(names(searched))
    raise ProfileError(f"no profile is called {name!r}; there are: {known}")


def names(directories: Iterable[Path]) -> list[str]:
    """Every profile's name, sorted."""
    return sorted({path.stem for one in directories if one.is_dir() for path in one.glob("*.toml")})
