"""A first profile from recorded screens of an agent: a draft that a person goes on with. Pure.

It finds the prompt left of the cursor of an empty box, rules around it, what further rows start with, and what a long
paste collapses to. What one agent does with Enter, dialogs and special texts no screen tells: `OPEN` asks for it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.terminal.cells import Row, Style, is_gray, rows_of
from worker.terminal.profiles import Composer, parse
from worker.terminal.screen import judge
from worker.terminal.tmux import Look

FIVE_LINES = "first of five lines\nsecond of five lines\nthird of five lines\nfourth of five lines\nfifth of five lines"
LONG = " ".join(f"word{number:04d}" for number in range(900))
"""What a person is asked to paste: 8 KB in one line."""

OPEN = (
    "pause: does Enter right behind a paste submit (0.1), or leave it in the box (0.3 and more)?",
    'enter while busy: does it queue the text, steer, or interrupt? If it interrupts: busy = "wait"',
    "a dialog that opens in the last moment: does Enter approve it? Then look for a key that does not (enter_busy)",
    "texts with / ! # @ in front or \\ behind: try each with send-message -v; see leading and trailing",
    "8 KB: does the agent get all of it, or does its marker name another size than 8099? Then max_chars",
    "the agent's own record of prompts, if it has one: [record]; it is the best proof",
)
"""What is left to decide."""


_SIZE = re.compile(r"\(\?P<\w+>\\d\+\)")
_SPINNER = "[⠁-⣿◐◓◑◒]"


@dataclass(slots=True)
class Proposal:
    """What was made out; empty where nothing was."""

    commands: list[str] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    start: str = ""
    line: str = ""
    ruled: bool = False
    cursor: str = ""
    placeholder: str = ""
    collapsed: list[str] = field(default_factory=list)
    busy: str = ""

    def toml(self, name: str, version: str) -> str:
        """The profile file."""
        lines = [f'name = "{name}"', f'about = "{name}"', f'measured = "{version}"', "", "[process]"]
        lines += [f"commands = [{_quoted(self.commands)}]"] if self.commands or not self.scripts else []
        lines += [f"scripts = [{_quoted(self.scripts)}]"] if self.scripts else []
        lines += ["", "[composer]"]
        lines += [f"start = {_literal(self.start)}"] if self.start else []
        lines += [f"line = {_literal(self.line)}"] if self.line else []
        lines += ["ruled = true"] if self.ruled or not self.start else []
        lines += [f'cursor = "{self.cursor}"'] if self.cursor else []
        lines += [f"placeholder = [{_literal(self.placeholder)}]"] if self.placeholder else []
        lines += [f"collapsed = [{', '.join(map(_literal, self.collapsed))}]"] if self.collapsed else []
        if self.busy:
            lines += ["", "[[signs]]", 'state = "busy"', f"screen = {_literal(self.busy)}"]
        lines += ["", "[typing]", "pause = 0.3", ""]
        return "\n".join(lines)

    @property
    def is_usable(self) -> bool:
        """Whether it is a profile that can be judged by."""
        return bool(self.commands or self.scripts) and bool(self.start or self.ruled)

    def judges(self, look: Look) -> str:
        """What it takes a screen for."""
        return judge(look, parse("x", self.toml("x", ""), "x")).state


def propose(screens: dict[str, Look], commands: Sequence[str], scripts: Sequence[str]) -> Proposal:
    """Make a draft.

    Args:
        screens: by step: `idle`, and what there is of `half a line`, `five lines`, `8 KB`, `busy`, `dialog`.
        commands: names of the agent's process that are nobody else's.
        scripts: parts of the path of its script.
    """
    made = Proposal(commands=list(commands), scripts=list(scripts))
    idle = screens["idle"]
    rows = rows_of(idle.screen)
    x, y = _cursor(idle, rows, made)
    row = rows[y] if y < len(rows) else Row([])
    before = "".join(cell.char for cell in row.cells if cell.column < x)
    if before.strip():
        made.start = "^" + _escaped(before)
    rule = Composer().rule
    around = [rows[at].text.lstrip() for at in (y - 1, y + 1) if 0 <= at < len(rows)]
    made.ruled = any(rule.match(one) for one in around)
    behind = "".join(cell.char for cell in row.cells if cell.column >= x and not _faint(cell.style))
    behind_all = "".join(cell.char for cell in row.cells if cell.column >= x)
    words = Composer().right.sub("", behind).strip()
    if words:
        made.placeholder = _escaped(words)
    if (half := screens.get("half a line")) is not None and made.start:
        made.start = _start(made.start, before, behind_all.strip(), half, made)
    if not made.cursor and "dialog" in screens and screens["dialog"].cursor_on != idle.cursor_on:
        made.cursor = "on" if idle.cursor_on else "off"
    if (five := screens.get("five lines")) is not None:
        made.line = _line(rows_of(five.screen))
    for step, text in (("8 KB", LONG), ("five lines", FIVE_LINES)):
        if (look := screens.get(step)) is not None and (mark := _marker(look, made, text)):
            _add_marker(made, mark)
    if (busy := screens.get("busy")) is not None and made.is_usable and made.judges(busy) != "busy":
        made.busy = _working(idle, busy)
    return made


def _start(start: str, before: str, words: str, half: Look, made: Proposal) -> str:
    """The prompt's pattern, if a box with text in it starts otherwise: `words` stand behind it in an empty one."""
    rows = rows_of(half.screen)
    y = _cursor(half, rows, made)[1]
    typed = rows[y].text if y < len(rows) else ""
    pairs = zip(before, typed, strict=False)
    common = before[: next((at for at, (one, other) in enumerate(pairs) if one != other), len(before))]
    if common in {"", before} or not common.strip():
        return start
    only = f"(?={_escaped(words[:12])})" if words else ""
    return f"^{_escaped(common)}(?:{_escaped(before[len(common) :])}{only})?"


def _add_marker(made: Proposal, mark: str) -> None:
    """Keep a marker's pattern; of two alike the one that names the size, as it tells a paste that was cut."""
    shape = _SIZE.sub(r"\\d+", mark)
    alike = next((one for one in made.collapsed if _SIZE.sub(r"\\d+", one) == shape), "")
    if not alike:
        made.collapsed.append(mark)
    elif alike == shape:
        made.collapsed[made.collapsed.index(alike)] = mark


def _working(idle: Look, busy: Look) -> str:
    """The pattern of a row that shows only while it works: one with a spinner, or that says what Escape does."""
    known = {row.text.strip() for row in rows_of(idle.screen)}
    for row in reversed([row for row in rows_of(busy.screen) if row.text.strip()][-15:]):
        if row.text.strip() not in known and re.search(rf"(?i){_SPINNER}|\besc\b", row.text):
            return "^" + re.sub(r"\d+", r"\\d+", re.sub(_SPINNER, _SPINNER, _escaped(row.text.rstrip()[:30])))
    return ""


def _faint(style: Style) -> bool:
    return style.dim or is_gray(style.colour) or style.drawn


def _cursor(idle: Look, rows: Sequence[Row], made: Proposal) -> tuple[int, int]:
    """Where the cursor is; a UI that parks the terminal's own draws one."""
    here = rows[idle.cursor_y].text if idle.cursor_y < len(rows) else ""
    if not idle.cursor_on and not here.strip():
        for y in range(len(rows) - 1, -1, -1):
            if drawn := [cell for cell in rows[y].cells if cell.style.drawn or cell.char == "▋"]:
                made.cursor = "drawn"
                return drawn[0].column, y
    return idle.cursor_x, idle.cursor_y


def _line(rows: Sequence[Row]) -> str:
    """What the second row of the five starts with."""
    for row in rows:
        at = row.text.find("second of five")
        if at >= 0:
            return "^" + _escaped(row.text[:at])
    return ""


def _marker(look: Look, made: Proposal, text: str) -> str:
    """What stands in the box instead of the text, with its numbers made patterns."""
    rows = rows_of(look.screen)
    words = text.split()
    for row in rows[::-1]:
        shown = row.text
        if not made.start or re.match(made.start, shown) is None or words[-1] in shown or words[1] in shown:
            continue
        found = re.search(r"\S.*\d.*", re.sub(made.start, "", Composer().right.sub("", shown), count=1))
        if found is None:
            return ""
        sizes = {str(len(text)): r"(?P<chars>\d+)", str(text.count("\n") + 1): r"(?P<lines>\d+)"}
        parts = re.split(r"(\d+)", found[0].strip().rstrip("\u200b "))
        used: set[str] = set()
        made_of = []
        for at, part in enumerate(parts):
            counted = part.isdigit() and not parts[at - 1].endswith("#")  # `#1` is a number of its own
            pattern = sizes.get(part, r"\d+") if counted else r"\d+" if part.isdigit() else _escaped(part)
            if pattern.startswith("(?P") and pattern in used:
                pattern = r"\d+"
            used.add(pattern)
            made_of.append(pattern)
        return "".join(made_of)
    return ""


def _escaped(text: str) -> str:
    """As a pattern, without the backslashes that make it hard to read."""
    return re.sub(r"\\([ #\-&~])", r"\1", re.escape(text))


def _quoted(words: Sequence[str]) -> str:
    return ", ".join('"' + one.replace("\\", "\\\\").replace('"', '\\"') + '"' for one in words)


def _literal(pattern: str) -> str:
    """A TOML string; a literal one unless it holds a quote."""
    if "'" not in pattern and pattern.isprintable():
        return f"'{pattern}'"
    return (
        '"'
        + "".join(
            one
            if one.isprintable() and one not in '"\\'
            else f"\\u{ord(one):04x}"
            if ord(one) < 0x10000
            else f"\\U{ord(one):08x}"
            for one in pattern
        )
        + '"'
    )
