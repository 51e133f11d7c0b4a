"""Finding the input box: it is where the cursor is. Pure.

Read from the cursor's row upwards, over rows that start as the box's further rows do, to a row that starts with the
prompt. If a row of anything else comes first, the cursor is in no box, whatever the rest of the screen says. Rules,
borders and frames are hints that must not contradict; footers and status lines are not looked at.

Promises: `find` is a function of what the pane shows and the profile's composer alone, and never fails. A `Box` says
what stands before and behind the cursor, placeholder left out, and whether an empty box would look so (`empty`).
Columns are only nearly right where tmux and we disagree on a character's width.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from worker.terminal.cells import PLAIN, Cell, Row, is_gray, rows_of
from worker.terminal.profiles import Composer
from worker.terminal.tmux import Look

# At a row's start, whatever else the row carries: "── 3/4 ──", "─── ↑ 9 more ──", "── ⠼ Working ──".
_MORE = re.compile(r"↑|\bmore\b")
_DRAWN = "▋"  # Continue 1.5 draws its cursor as a character
_NOTHING = str.maketrans("", "", _DRAWN + "\u200b")  # Qwen 0.24 puts U+200B behind a draft
# Half a flag, alone: nobody types it. tmux 3.3a has a cell for each half, and a UI that has one for both blanks only
# the first (Vibe 3.0.2).
_HALF_FLAG = re.compile("(?<=\\s)[\U0001f1e6-\U0001f1ff](?!\\S)")


class Box(NamedTuple):
    """The composer as it was found on a screen; rows and columns count from 0."""

    first: int
    last: int
    prompt: int
    """The width of the prompt: the column of the cursor in an empty box."""
    before: str
    """What stands between prompt and cursor, rows joined with LF."""
    after: str
    """What stands from the cursor on and is not placeholder, rows joined with LF."""
    clipped: bool
    """Whether the start of what is in it has scrolled out of sight."""
    home: bool
    """Whether the cursor is where an empty box has it, and the box says what an empty one says."""

    @property
    def draft(self) -> str:
        """All that is in it and is not placeholder."""
        return (self.before + self.after).strip("\n")

    @property
    def empty(self) -> bool:
        """Whether nothing was typed into it."""
        return self.home and not self.before.strip() and not self.after


class _Span(NamedTuple):
    """Rows of a box, and how many characters of each are margin, frame and prompt."""

    first: int
    cut: Sequence[int]
    clipped: bool = False

    @property
    def last(self) -> int:
        return self.first + len(self.cut) - 1


def find(look: Look, rows: Sequence[Row], how: Composer) -> Box | None:
    """The box that the cursor is in, or None.

    Args:
        look: where the cursor is, and the pane's size.
        rows: what it shows, `cells.rows_of(look.screen)`.
        how: the profile's composer.
    """
    # tmux drops blanks at a row's end, those of a prompt too.
    lines = [row.text.ljust(look.width) for row in rows]
    for x, y in _cursors(look, rows, how):
        if y < len(lines) and x < look.width:
            span = _framed(lines, y, how) if how.frame else _prompted(lines, y, how)
            if span is not None and x >= span.cut[y - span.first]:
                return _read(rows, lines, span, (x, y), how)
    return None


def without_remains(look: Look, rows: Sequence[Row], how: Composer, before: Look) -> Box | None:
    """The box without the cells that it had when it was empty and has still: a UI believes that it has drawn over them.

    Where tmux gives an emoji fewer columns than the UI does, the placeholder's or an older text's cells stay behind it
    (Cline 3.0.65: the dots of "Ask anything..."; Vibe 3.0.2: half a flag). What a person types is neither.

    Args:
        look: where the cursor is, and the pane's size.
        rows: what it shows, `cells.rows_of(look.screen)`.
        how: the profile's composer.
        before: the pane when the box was seen empty.
    """
    old = rows_of(before.screen)
    empty = find(before, old, how)
    if empty is None or not empty.empty or before.width != look.width:
        return None
    cleaned = list(rows)
    for y in range(empty.first, min(empty.last + 1, len(old), len(rows))):
        border = how.right.search(old[y].text.ljust(look.width))
        inside = old[y].cells[empty.prompt : border.start() if border else None]
        stood = {cell for cell in inside if cell.char.strip() and (_muted(cell, how) or _is_half_flag(cell))}
        if stood:
            cleaned[y] = Row([(" " if cell in stood else cell.char, cell.style) for cell in rows[y].cells])
    return find(look, cleaned, how)


def _cursors(look: Look, rows: Sequence[Row], how: Composer) -> list[tuple[int, int]]:
    """Where the cursor may be: tmux's own, or those that the UI draws itself, lowest first."""
    if how.cursor != "drawn":
        hidden = how.cursor == "on" and not look.cursor_on
        shown = how.cursor == "off" and look.cursor_on
        return [] if hidden or shown else [(look.cursor_x, look.cursor_y)]
    found = []
    for y in range(len(rows) - 1, -1, -1):
        row = rows[y]
        if _DRAWN in row.text or any(style.drawn for _, style in row.runs):
            found += [(cell.column, y) for cell in row.cells if cell.style.drawn or cell.char == _DRAWN][::-1]
    return found


def _prompted(lines: Sequence[str], y: int, how: Composer) -> _Span | None:
    """A box that starts with a prompt at a row's start or, without one, right below a rule."""
    top, head = y, None
    while how.start is None or (head := how.start.match(lines[top])) is None:
        if how.rule.match(lines[top]):
            bare = how.start is None
            if top == y or not (bare or _MORE.search(lines[top])):
                return None
            return _downwards(lines, top + 1, y, how, clipped=not bare)
        if not how.line.match(lines[top]):
            return None
        if top == 0:  # all from the screen's first row to the cursor may be the end of a taller box
            tall = how.start is not None and not how.ruled and y > 0
            return _downwards(lines, top, y, how, clipped=True) if tall else None
        top -= 1
    while top > 0 and how.line.match(lines[top - 1]) and how.start.match(lines[top - 1]):
        top -= 1  # further rows that start with the prompt, too (aider): the highest is the first
    scrolled = top == 0 and y > 0 and how.line.match(lines[0]) is not None
    return _downwards(lines, top, y, how, prompt=head.end(), clipped=scrolled and not how.ruled)


def _downwards(
    lines: Sequence[str], first: int, y: int, how: Composer, *, prompt: int | None = None, clipped: bool = False
) -> _Span | None:
    """The box that starts in row `first` and has the cursor in row `y`, down to its last row."""
    last = y
    while last + 1 < len(lines) and how.line.match(lines[last + 1]) and not how.rule.match(lines[last + 1]):
        if not how.ruled and not lines[last + 1].strip():
            break
        last += 1
    above = first > 0 and how.rule.match(lines[first - 1]) is not None
    below = last + 1 < len(lines) and how.rule.match(lines[last + 1]) is not None
    if how.ruled and not (above or below if how.start is not None else above and below):
        return None
    cut = [match.end() if (match := how.line.match(lines[row])) else 0 for row in range(first, last + 1)]
    if prompt is not None:
        cut[0] = prompt
    return _Span(first, cut, clipped)


def _framed(lines: Sequence[str], y: int, how: Composer) -> _Span | None:
    """A box whose rows all carry a frame, the last of which names the mode; a dialog in the same frame has none."""
    if how.frame is None or how.start is None or (prompt := how.start.match(lines[y])) is None:
        return None
    top = bottom = y
    while top > 0 and how.frame.match(lines[top - 1]):
        top -= 1
    while bottom + 1 < len(lines) and how.frame.match(lines[bottom + 1]):
        bottom += 1
    foot = lines[bottom + 1] if bottom + 1 < len(lines) else ""
    if bottom == y or how.foot.match(foot) is None or how.mode.search(lines[bottom]) is None:
        return None
    last = bottom - 1
    return _Span(top, [prompt.end()] * (last - top + 1))


def _read(rows: Sequence[Row], lines: Sequence[str], span: _Span, cursor: tuple[int, int], how: Composer) -> Box:
    """What stands in the box, on both sides of the cursor."""
    x, y = cursor
    before: list[str] = []
    behind: list[list[Cell]] = []
    by_mode = _as_mode_row(rows, span, how)
    for number, cut in enumerate(span.cut, span.first):
        border = how.right.search(lines[number])
        part: Sequence[Cell] = rows[number].cells[cut : border.start() if border else None]
        at = next((at for at, cell in enumerate(part) if (number, cell.column) >= (y, x)), len(part))
        if number <= y:
            before.append(_text([cell for cell in part[:at] if by_mode is None or cell.style.colour != by_mode[0]]))
        if number >= y:
            behind.append(list(part[at:]))
    typed = "\n".join(before)
    ghost = "\n".join(map(_text, behind)).strip()
    solid = "\n".join(_text([cell for cell in part if not _muted(cell, how)]) for part in behind)
    solid = _HALF_FLAG.sub(" ", solid).strip()
    untouched = not typed.strip()
    if untouched and solid and _is_placeholder(rows, behind, by_mode, how):
        solid = ""
    # In a frame there is a blank row above the text, and one below it.
    last = max((y + at for at, part in enumerate(behind) if _text(part).strip()), default=y)
    top = y == span.first if how.frame is None else y <= span.first + 1 and span.last <= last + 1
    home = untouched and top and not span.clipped and x == span.cut[y - span.first]
    return Box(
        first=span.first,
        last=span.last,
        prompt=span.cut[0],
        before=typed.strip("\n"),
        after=solid,
        clipped=span.clipped,
        home=home and bool(ghost or not how.never_blank),
    )


def _is_placeholder(
    rows: Sequence[Row], behind: Sequence[Sequence[Cell]], by_mode: tuple[str, frozenset[str]] | None, how: Composer
) -> bool:
    """Whether what stands behind the cursor, and is neither dim nor gray, is what an empty box says all the same."""
    shown = [cell for part in behind for cell in part if _text([cell]).strip()]
    if shown and _is_cursor(shown):
        if len(shown) > 1 and all(_muted(cell, how) for cell in shown[1:]):
            return True  # a cursor drawn on a placeholder's first letter
        del shown[0]
    colours = {cell.style.colour for cell in shown}
    if len(colours) > 1:
        return False  # a UI colours what is typed (`@path`), and not what it says itself
    if by_mode is not None and colours:
        muted, typed = by_mode
        if colours <= {muted} | typed:
            return colours == {muted}
    if how.placeholder_is == "dim" and any(style != PLAIN for row in rows for text, style in row.runs if text.strip()):
        return False  # this screen shows how things are drawn, so that a placeholder would be dim
    words = [_text(part).strip() for part in behind]
    whole = {"".join(words), " ".join(filter(None, words))}
    return any(one.fullmatch(text) for one in how.placeholder for text in whole)


def _is_cursor(shown: Sequence[Cell]) -> bool:
    """Whether the first cell looks like a cursor that the UI draws: reversed, underlined, or alone on its background.

    Qwen 0.24 does either of the last two, as its terminal's colours are. A whole row on one background is none.
    """
    first = shown[0].style
    return first.drawn or (first.ground != "" and all(cell.style.ground != first.ground for cell in shown[1:]))


def _as_mode_row(rows: Sequence[Row], span: _Span, how: Composer) -> tuple[str, frozenset[str]] | None:
    """The colour of muted text in a frame's last row, and those of its other text; None where they say nothing.

    Themes colour as they like, but what separates agent and model there is muted, and the model is not. What is muted
    before the cursor is the rest of a placeholder, where wide characters were drawn over it (all opencode 1.18).
    """
    if how.frame is None or span.last + 1 >= len(rows):
        return None
    cells = rows[span.last + 1].cells
    text = "".join(cell.char for cell in cells)
    mark = how.mode.search(text)
    if mark is None:
        return None
    muted = cells[mark.start(1) if mark.groups() else mark.start()].style.colour
    others = frozenset(cell.style.colour for cell in cells[mark.end() :] if not cell.char.isspace()) - {muted}
    return (muted, others) if muted and others else None


def _muted(cell: Cell, how: Composer) -> bool:
    style = cell.style
    return style.dim or style.colour in how.muted or (how.placeholder_is != "theme" and is_gray(style.colour))


def _is_half_flag(cell: Cell) -> bool:
    return _HALF_FLAG.search(f" {cell.char} ") is not None


def _text(part: Sequence[Cell]) -> str:
    return "".join(cell.char for cell in part).translate(_NOTHING)
