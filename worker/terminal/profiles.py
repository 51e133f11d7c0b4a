"""Agent profiles: what one agent's UI looks like and how it wants to be typed into, as data.

`profiles/README.md` documents every key, `worker.terminal.profile_files` finds and reads the files.
`worker.terminal.box` and `worker.terminal.screen` give the composer and the signs their meaning,
`worker.terminal.submit` uses the rest.

Promises: what `parse` gives is checked to the last key, with every pattern compiled; a mistake is a `ProfileError` that
names the file, the line where it can be told, and the key. Pure.
"""

import re
import threading
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from worker.errors import ConfigError
from worker.terminal.old_profiles import modern

Shown = Literal["dialog", "busy", "queued"]
Pattern = re.Pattern[str]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=600)]

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
# Folders of a path that say nothing of what runs.
_ANYWHERE = re.compile(
    r"\.{0,2}|~|usr|opt|home|root|local|\.local|share|s?bin|\.bin|lib|lib64|libexec|src|dist|build|out|node_modules"
    r"|site-packages|dist-packages|venv|\.venv|env|python[\d.]*|node|versions?|v?[\d.]+|(?:cli|index|main)(?:\.\w+)?"
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
    lines: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 15
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

    pause: Seconds = 0.3
    enter: str = "Enter"
    enter_busy: str = ""
    """The keys that submit while the agent is busy, when a dialog can open under them; empty: `enter`."""
    again: Literal["yes", "no"] = "yes"
    """Whether they may be repeated while our text is still seen in the box; "no": an empty box does something else."""
    still: Seconds = 0.04
    """How long an empty box must be seen unchanged before anything is pasted into it."""
    young: Seconds = 6.0
    young_still: Seconds = 1.5
    clear: str = ""
    """The keys that take text out of the box, pressed until it is empty; empty: it cannot be taken out."""
    dialog_safe: Literal["yes", "no"] = "no"
    """Whether it is proven that a dialog which opens in the last moment is not answered."""
    busy: Literal["type", "wait"] = "type"
    front_busy: str = ""
    """What goes in front of a text while the agent is busy, and only then; its record does not have it."""
    tabs: Annotated[int, msgspec.Meta(ge=0, le=16)] = 0
    replaces: Mapping[str, str] = {}
    """What the agent would take out of any text, and what is sent in its place."""
    mentions: Literal["keep", "words", "paths", "all"] = "keep"
    """Which `@` get a blank behind them, as the agent would read the file that they name; see `text.unmentioned`."""
    commands: Literal["first", "anywhere"] = "first"
    """"anywhere": each word `/word` is sent as `//word`, as the agent would run that anywhere (`text.unnamed`)."""
    leading: Mapping[str, str] = {}
    trailing: Mapping[str, str] = {}
    max_chars: Annotated[int, msgspec.Meta(ge=0)] = 0


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
    wait: Seconds = 4.0
    entries: tuple[Entry, ...] = ()
    query: str = ""
    errors: tuple[Entry, ...] = ()
    """Lines behind a prompt that say why it woke nobody; `verdict` means nothing there."""
    error_wait: Seconds = 0.5
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


class _Wrong(NamedTuple):
    """A mistake that no key shows by itself: where, and what it is."""

    table: str
    key: str
    words: str
    number: int = 0
    """Which of several tables of that name, from 0."""


_ALONE = threading.Lock()
"""msgspec 0.22.0 ends the process if several threads convert to a class for the first time, one in six times."""


def parse(name: str, text: str, where: str) -> Profile:
    """Read one profile.

    Args:
        name: what the profile is called; the file must say the same.
        text: the TOML.
        where: the file's name, for the error.

    Raises:
        ProfileError: a key is unknown, missing or of the wrong kind.
    """
    data = _tables(text, where)
    if data.get("name") != name:
        raise _mistaken(where, text, _Wrong("", "name", f'`name` must be "{name}", like the file'))
    try:
        with _ALONE:
            profile = msgspec.convert(modern(data), Profile, dec_hook=_pattern)
    except msgspec.ValidationError as why:
        from worker.terminal.mistakes import Mistake  # noqa: PLC0415 - only a mistake pays for it

        mistake = Mistake.of(str(why))
        raise ProfileError(f"{where}{mistake.line_in(text)}: {mistake.explained(data, TABLES)}") from None
    if wrong := next(_wrong(profile), None):
        raise _mistaken(where, text, wrong)
    return profile


def _tables(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as why:
        line = re.search(r" \(at line (\d+), column \d+\)$", str(why))
        raise ProfileError(f"{where}{f':{line.group(1)}' if line else ''}: {why}") from None
    except (ValueError, RecursionError) as why:  # a number of 5,000 digits, 1,000 brackets
        raise ProfileError(f"{where}: no TOML that can be read: {why}") from None


def _mistaken(where: str, text: str, wrong: _Wrong) -> ProfileError:
    from worker.terminal.mistakes import line_of  # noqa: PLC0415 - only a mistake pays for it

    return ProfileError(f"{where}{line_of(text, wrong.table, wrong.key, wrong.number)}: {wrong.words}")


def _pattern(kind: type, value: object) -> object:
    """A regular expression from its text; msgspec asks for whatever it does not know itself."""
    if kind is not Pattern and getattr(kind, "__origin__", kind) is not re.Pattern:
        raise NotImplementedError(f"no key is a {kind}")  # what msgspec asks a hook for: it then says so itself
    if not isinstance(value, str):
        raise ValueError("must be a regular expression in quotes")  # noqa: TRY004 - msgspec turns a ValueError into its own
    try:
        return re.compile(value)
    except (re.error, OverflowError, RecursionError) as why:
        raise ValueError(f"no regular expression: {why}") from None


def _wrong(profile: Profile) -> Iterator[_Wrong]:
    """What one key alone cannot say: keys that contradict each other, or a value that makes no sense."""
    yield from _wrong_process(profile)
    if profile.composer is not None:
        yield from _wrong_composer(profile.composer, profile.typing)
    yield from _wrong_signs(profile.signs)
    yield from _wrong_keys(profile.typing)
    yield from _wrong_guards(profile.typing)
    if profile.record is not None:
        yield from _wrong_record(profile.record)


def _wrong_process(profile: Profile) -> Iterator[_Wrong]:
    if profile.composer is None and (profile.commands or profile.scripts):
        yield _Wrong("process", "", "a [composer] is needed, or nothing would ever be seen")
    if vague := [one for one in profile.commands if is_vague(one)]:
        words = f"[process]: {min(vague)!r} runs everything; name the script, or its module"
        yield _Wrong("process", "commands", words)
    for one in profile.scripts:
        if all(_ANYWHERE.fullmatch(part.strip()) for part in one.split("/")):
            words = f"[process]: the script {one!r} is part of many paths; name a folder that only this agent has"
            yield _Wrong("process", "scripts", words)


def is_vague(command: str) -> bool:
    """Whether a process of that name may run anything: an interpreter, a shell, a launcher."""
    return _INTERPRETER.fullmatch(command) is not None


def _wrong_composer(how: Composer, typing: Typing) -> Iterator[_Wrong]:
    if how.start is None and (not how.ruled or how.frame is not None):
        yield _Wrong("composer", "", "[composer]: give `start`, or `ruled = true` for a box between two rules")
    if how.gone == "busy" and typing.busy != "wait":
        words = '[composer]: `gone = "busy"` needs `busy = "wait"` in [typing], or a paste could go anywhere'
        yield _Wrong("composer", "gone", words)


def _wrong_signs(signs: Iterable[Sign]) -> Iterator[_Wrong]:
    for number, sign in enumerate(signs):
        if not (sign.title or sign.screen or sign.composer or sign.cursor):
            words = f"[[signs]] {number + 1}: a sign needs a condition, or it would always hold"
            yield _Wrong("signs", "state", words, number)


def _wrong_keys(typing: Typing) -> Iterator[_Wrong]:
    for key, keys in (("enter", typing.enter), ("enter_busy", typing.enter_busy)):
        if not keys and key == "enter":
            yield _Wrong("typing", key, "[typing]: `enter` names no key")
        for one in keys.split(" ") if keys else []:
            if not _KEY.fullmatch(one) or one in _NO_KEY:
                yield _Wrong("typing", key, f"[typing]: `{key}` is {keys!r}: {one!r} is no key that submits")
    for one in typing.clear.split(" ") if typing.clear else []:
        if not _KEY.fullmatch(one) and one not in _CLEARING:
            words = f"[typing]: `clear` is {typing.clear!r}: {one!r} is no key that tmux knows"
            yield _Wrong("typing", "clear", words)


def _wrong_guards(typing: Typing) -> Iterator[_Wrong]:
    """What is put around a text is pasted as it stands, and a control character in a paste is a key."""
    given = {
        "replaces": typing.replaces,
        "leading": typing.leading,
        "trailing": typing.trailing,
        "front_busy": {"": typing.front_busy},
    }
    if "" in typing.replaces:
        yield _Wrong("typing", "replaces", "[typing]: `replaces` has an empty text, which stands everywhere")
    for key, guards in given.items():
        if bad := next((one for one in guards.values() if not one.isprintable()), ""):
            yield _Wrong(
                "typing", key, f"[typing]: `{key}` has {bad!r}: only characters that can be seen are put there"
            )


def _wrong_record(record: Record) -> Iterator[_Wrong]:
    if not (record.paths and (record.entries or record.query or record.format == "strings")):
        words = "[record]: needs `paths`, and `entries` (jsonl, json) or a `query` (sqlite)"
        yield _Wrong("record", "format", words)
    if record.items and record.format != "json":
        yield _Wrong("record", "items", '[record]: `items` is for `format = "json"`')
    if record.wrapper is not None and "text" not in record.wrapper.groupindex:
        yield _Wrong("record", "wrapper", "[record]: `wrapper` needs a group `(?P<text>...)` for the prompt")
    for number, one in enumerate(record.entries):
        if not one.text:
            words = "[[record.entries]]: `text` says which key holds the prompt"
            yield _Wrong("record.entries", "where", words, number)
    for number, one in enumerate(record.errors):
        if not (one.text and one.where):
            words = "[[record.errors]]: `where` says which lines are errors, `text` which key holds the words"
            yield _Wrong("record.errors", "where", words, number)
