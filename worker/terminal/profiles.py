"""Agent profiles: what one agent's UI looks like and how it wants to be typed into, as data.

One TOML file per agent; `profiles/README.md` documents every key. The shipped ones lie beside that page, a
user's own in `~/.config/bus-watch/profiles/`, where a file of the same name replaces the shipped one.
`worker.terminal.box` and `worker.terminal.screen` give the composer and the signs their meaning,
`worker.terminal.submit` uses the rest.

Promises: what `load` gives is checked to the last key, with every pattern compiled; a mistake is a `ProfileError` that
names the file, the line where it can be told, and the key.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from worker.errors import ConfigError
from worker.terminal.old_profiles import modern

SHIPPED = Path(__file__).with_name("profiles")

Shown = Literal["dialog", "busy", "queued"]
Pattern = re.Pattern[str]

_RULE = re.compile(r"[╭╰┌└├]?[─━═▀▄▔╌]{2,}")
_RIGHT = re.compile(r"\s*[│┃]?\s*$")
_TWO_BLANKS = re.compile(r" {2}")
_ANYTHING = re.compile(r"")
# tmux's names for a key. None of those that interrupt, end or suspend a program is one that submits.
_KEY = re.compile(r"(?:[CMS]-)+[a-z0-9]|(?:[CMS]-)*(?:Enter|Tab|BTab|Space|Up|Down|Left|Right|Home|End|F\d\d?)")
_NO_KEY = frozenset(["C-c", "C-d", "C-z"])
_CLEARING = frozenset(["BSpace", "DC", "Escape"])
_INTERPRETER = re.compile(
    r"(?:node|nodejs|bun|bunx|deno|tsx|ts-node|python|pypy|ruby|perl|php|java|npm|npx|pnpm|yarn|uv|uvx|pipx|env|sudo|doas"
    r"|(?:ba|da|z|k|fi|tc|c)?sh)[\d.]*"
)


class ProfileError(ConfigError):
    """An agent profile cannot be used; the message names the file, the key and what is wrong."""

    code = "profile"
    exit_status = 75  # nothing was typed, and a mended file lets the message through


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a profile file."""


class Sign(_Table, frozen=True, kw_only=True):
    """Something that shows a state; every condition that is given must hold."""

    state: Shown
    title: Pattern | None = None
    screen: Pattern | None = None
    lines: int = 15
    composer: Literal["", "present", "absent"] = ""
    cursor: Literal["", "on", "off", "outside"] = ""


class Composer(_Table, frozen=True, kw_only=True):
    """What the input box looks like; see `box.find`. Patterns are matched at a row's start unless said otherwise."""

    start: Pattern | None = None
    """The prompt; None: the box is what stands between two rules."""
    line: Pattern = _TWO_BLANKS
    """What a further row starts with."""
    ruled: bool = False
    rule: Pattern = _RULE
    frame: Pattern | None = None
    foot: Pattern = _ANYTHING
    mode: Pattern = _ANYTHING
    """Searched in the last row of a frame."""
    right: Pattern = _RIGHT
    """Searched: what to take off the right of each row."""
    cursor: Literal["prompt", "on", "off", "drawn"] = "prompt"
    placeholder: tuple[Pattern, ...] = ()
    """What an empty box says, as a full match."""
    placeholder_is: Literal["", "dim", "theme"] = ""
    muted: frozenset[str] = frozenset()
    never_blank: bool = False
    loading: tuple[Pattern, ...] = ()
    """All that stands below the box while its keys go nowhere yet, as full matches."""
    greeting: Pattern | None = None
    """Searched: what stands right above the box while it is loading."""
    gone: Literal["unknown", "busy"] = "unknown"
    collapsed: tuple[Pattern, ...] = ()
    rewrites: Mapping[str, str] = {}


class Typing(_Table, frozen=True, kw_only=True):
    """How the UI wants to be typed into; times in seconds."""

    pause: float = 0.3
    enter: str = "Enter"
    enter_busy: str = ""
    """The keys that submit while the agent is busy, when a dialog can open under them; empty: `enter`."""
    still: float = 0.04
    """How long an empty box must be seen unchanged before anything is pasted into it."""
    young: float = 6.0
    young_still: float = 1.5
    clear: str = ""
    """The keys that take text out of the box, pressed until it is empty; empty: it cannot be taken out."""
    dialog_safe: Literal["yes", "no"] = "no"
    """Whether it is proven that a dialog which opens in the last moment is not answered."""
    busy: Literal["type", "wait"] = "type"
    front_busy: str = ""
    """What goes in front of a text while the agent is busy, and only then; its record does not have it."""
    tabs: int = 0
    leading: Mapping[str, str] = {}
    trailing: Mapping[str, str] = {}
    max_chars: int = 0


class Entry(_Table, frozen=True, kw_only=True):
    """One kind of line in a JSON-lines record that is a prompt."""

    where: Mapping[str, Any] = {}
    text: str = ""
    verdict: Literal["submitted", "queued"] = "submitted"


class Record(_Table, frozen=True, kw_only=True):
    """Where the agent writes down what it was told."""

    format: Literal["jsonl", "json", "strings", "sqlite"] = "jsonl"
    """An object a line; one document that is written anew each time; a string a line; a database."""
    paths: tuple[str, ...] = ()
    items: str = ""
    """json: the dotted key of the list whose elements are looked through; empty: the document is that list."""
    wrapper: Pattern | None = None
    """Matched in full: what the agent puts around a prompt; the group `text` is the prompt."""
    wait: float = 4.0
    entries: tuple[Entry, ...] = ()
    query: str = ""
    errors: tuple[Entry, ...] = ()
    """Lines behind a prompt that say why it woke nobody; `verdict` means nothing there."""
    error_wait: float = 0.5
    """Seconds for which one is waited for, behind a prompt."""


class Runs(_Table, frozen=True, kw_only=True):
    """What the pane's foreground process group must execute."""

    commands: frozenset[str] = frozenset()
    scripts: tuple[str, ...] = ()


class Profile(_Table, frozen=True, kw_only=True):
    """One agent's UI; `composer` is None only for `generic`, which looks at nothing."""

    name: str = ""
    about: str = ""
    measured: str = ""
    process: Runs = Runs()
    composer: Composer | None = None
    signs: tuple[Sign, ...] = ()
    typing: Typing = Typing()
    record: Record | None = None

    @property
    def commands(self) -> frozenset[str]:
        """Names that a process of the agent may have."""
        return self.process.commands

    @property
    def scripts(self) -> tuple[str, ...]:
        """Parts of the path of a script that such a process interprets."""
        return self.process.scripts


TABLES: Mapping[str, type[msgspec.Struct]] = {
    "": Profile,
    "process": Runs,
    "composer": Composer,
    "signs": Sign,
    "typing": Typing,
    "record": Record,
    "record.entries": Entry,
    "record.errors": Entry,
}


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
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as why:
        raise ProfileError(f"{where}: {why}") from None
    if data.get("name") != name:
        raise ProfileError(f'{where}: `name` must be "{name}", like the file')
    try:
        profile = msgspec.convert(modern(data), Profile, dec_hook=_pattern)
    except msgspec.ValidationError as why:
        from worker.terminal.mistakes import Mistake  # noqa: PLC0415 - only a mistake pays for it

        mistake = Mistake.of(str(why))
        raise ProfileError(f"{where}{mistake.line_in(text)}: {mistake.explained(data, TABLES)}") from None
    _check(profile, where)
    return profile


def _pattern(kind: type, value: object) -> object:
    """A regular expression from its text; msgspec asks for whatever it does not know itself."""
    if kind is not Pattern and getattr(kind, "__origin__", kind) is not re.Pattern:
        raise NotImplementedError(f"no key is a {kind}")  # what msgspec asks a hook for: it then says so itself
    if not isinstance(value, str):
        raise ValueError("must be a regular expression in quotes")  # noqa: TRY004 - msgspec turns a ValueError into its own
    try:
        return re.compile(value)
    except re.error as why:
        raise ValueError(f"no regular expression: {why}") from None


def _check(profile: Profile, where: str) -> None:
    """What one key alone cannot say.

    Raises:
        ProfileError: keys contradict each other, or one has a value that makes no sense.
    """
    wrong = [
        *_wrong_process(profile),
        *(_wrong_composer(profile.composer, profile.typing) if profile.composer is not None else []),
        *_wrong_signs(profile.signs),
        *_wrong_keys(profile.typing),
        *(_wrong_record(profile.record) if profile.record is not None else []),
    ]
    if wrong:
        raise ProfileError(f"{where}: {wrong[0]}")


def _wrong_process(profile: Profile) -> Iterator[str]:
    if profile.composer is None and (profile.commands or profile.scripts):
        yield "a [composer] is needed, or nothing would ever be seen"
    if vague := [one for one in profile.commands if is_vague(one)]:
        yield f"[process]: {min(vague)!r} runs everything; name the script, or its module"
    if short := [one for one in profile.scripts if not one.strip("/. ")]:
        yield f"[process]: the script {short[0]!r} is part of every path; name a folder that only this agent has"


def is_vague(command: str) -> bool:
    """Whether a process of that name may run anything: an interpreter, a shell, a launcher."""
    return _INTERPRETER.fullmatch(command) is not None


def _wrong_composer(how: Composer, typing: Typing) -> Iterator[str]:
    if how.start is None and (not how.ruled or how.frame is not None):
        yield "[composer]: give `start`, or `ruled = true` for a box between two rules"
    if how.gone == "busy" and typing.busy != "wait":
        yield '[composer]: `gone = "busy"` needs `busy = "wait"` in [typing], or a paste could go anywhere'


def _wrong_signs(signs: Iterable[Sign]) -> Iterator[str]:
    for number, sign in enumerate(signs, 1):
        if not (sign.title or sign.screen or sign.composer or sign.cursor):
            yield f"[[signs]] {number}: a sign needs a condition, or it would always hold"


def _wrong_keys(typing: Typing) -> Iterator[str]:
    for key, keys in (("enter", typing.enter), ("enter_busy", typing.enter_busy)):
        if not keys and key == "enter":
            yield "[typing]: `enter` names no key"
        for one in keys.split(" ") if keys else []:
            if not _KEY.fullmatch(one) or one in _NO_KEY:
                yield f"[typing]: `{key}` is {keys!r}: {one!r} is no key that submits"
    for one in typing.clear.split(" ") if typing.clear else []:
        if not _KEY.fullmatch(one) and one not in _CLEARING:
            yield f"[typing]: `clear` is {typing.clear!r}: {one!r} is no key that tmux knows"


def _wrong_record(record: Record) -> Iterator[str]:
    if not (record.paths and (record.entries or record.query or record.format == "strings")):
        yield "[record]: needs `paths`, and `entries` (jsonl, json) or a `query` (sqlite)"
    if record.items and record.format != "json":
        yield '[record]: `items` is for `format = "json"`'
    if record.wrapper is not None and "text" not in record.wrapper.groupindex:
        yield "[record]: `wrapper` needs a group `(?P<text>...)` for the prompt"
    if not all(one.text for one in record.entries):
        yield "[[record.entries]]: `text` says which key holds the prompt"
    if not all(one.text and one.where for one in record.errors):
        yield "[[record.errors]]: `where` says which lines are errors, `text` which key holds the words"


def user_directory(environment: Mapping[str, str]) -> Path:
    """Where a person keeps profiles of their own."""
    base = environment.get("XDG_CONFIG_HOME", "")
    home = environment.get("HOME") or "~"
    return (Path(base) if base.startswith("/") else Path(home).expanduser() / ".config") / "bus-watch/profiles"


def path_of(name: str, directories: Iterable[Path]) -> Path:
    """The file of the profile called `name`, in the first of the directories that has it.

    Raises:
        ProfileError: there is none.
    """
    searched = list(directories)
    for directory in searched:
        path = directory / f"{name}.toml"
        if "/" not in name and path.is_file():
            return path
    known = ", ".join(names(searched))
    raise ProfileError(f"no profile is called {name!r}; there are: {known}")


def load(name: str, directories: Iterable[Path]) -> Profile:
    """The profile called `name`, from the first of the directories that has it.

    Raises:
        ProfileError: there is none, or it cannot be used.
    """
    path = path_of(name, directories)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as why:
        raise ProfileError(f"{path}: cannot be read: {why}") from None
    return parse(name, text, str(path))


def names(directories: Iterable[Path]) -> list[str]:
    """Every profile's name, sorted."""
    return sorted({path.stem for one in directories if one.is_dir() for path in one.glob("*.toml")})
