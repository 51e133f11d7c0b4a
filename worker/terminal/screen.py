"""Reading a captured screen with a profile's eyes. Pure.

A capture is `tmux capture-pane -e` output: lines of text with SGR sequences. Colours matter, because
placeholders look like drafts except that they are dim or gray.
"""

import re
from dataclasses import dataclass

from worker.terminal.profiles import Composer, Profile, Sign
from worker.terminal.text import squeeze
from worker.terminal.tmux import Look

_SEQUENCE = re.compile(
    r"\x1b(?:\[([0-9;:]*)m|\[[0-9;:?]*[A-Za-ln-z]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Z0-9]|[\x0e\x0f=>])"
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its text, and for each character whether it is muted and whether it is reversed."""

    text: str
    muted: tuple[bool, ...]
    reversed: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Box:
    """The composer as it was found on a screen."""

    first: int
    last: int
    prompt: int
    """The width of the prompt: the column of the cursor in an empty box."""
    draft: str
    """What is in it and is not placeholder, lines joined with LF."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a screen means: `idle`, `busy`, `draft`, `dialog` or `unknown`, and why."""

    state: str
    why: str
    busy: bool
    queued: bool
    box: Box | None
    outside: str
    """The text outside the box, without white space."""


def lines_of(screen: str, muted: frozenset[str] = frozenset(), width: int = 0) -> list[Line]:
    """Take the SGR sequences out of a capture.

    Args:
        screen: `capture-pane -p -e` output; attributes carry over from line to line, as tmux writes them.
        muted: foreground colours (`90`, `38;5;8`, `38;2;R;G;B`) that count as dim.
        width: columns to fill each line up to with blanks: tmux drops those at a line's end, those of a
        prompt too.
    """
    dim = reverse = False
    colour = ""
    found = []
    for raw in screen.split("\n"):
        text: list[str] = []
        dims: list[bool] = []
        reverses: list[bool] = []
        position = 0
        for sequence in [*_SEQUENCE.finditer(raw), None]:
            piece = raw[position : sequence.start() if sequence else len(raw)]
            text.append(piece)
            dims += [dim or colour in muted] * len(piece)
            reverses += [reverse] * len(piece)
            if sequence is None:
                break
            position = sequence.end()
            if sequence.group(1) is not None:
                dim, reverse, colour = _apply(sequence.group(1), dim=dim, reverse=reverse, colour=colour)
        blanks = width - len(dims)
        text.append(" " * blanks)
        found.append(Line("".join(text), (*dims, *[False] * blanks), (*reverses, *[False] * blanks)))
    return found


def _apply(codes: str, *, dim: bool, reverse: bool, colour: str) -> tuple[bool, bool, str]:
    words = codes.replace(":", ";").split(";")
    while words:
        code = words.pop(0) or "0"
        if code == "0":
            dim, reverse, colour = False, False, ""
        elif code == "2":
            dim = True
        elif code == "22":
            dim = False
        elif code in {"7", "27"}:
            reverse = code == "7"
        elif code in {"38", "48", "58"}:
            size = {"5": 2, "2": 4}.get(words[0] if words else "", 0)
            chosen = ";".join([code, *words[:size]])
            del words[:size]
            colour = chosen if code == "38" else colour
        elif code == "39":
            colour = ""
        elif code.isdigit() and (30 <= int(code) <= 37 or 90 <= int(code) <= 97):
            colour = code
    return dim, reverse, colour


def find_box(lines: list[Line], how: Composer) -> Box | None:
    """The composer on the screen, or None."""
    span = _by_prompt(lines, how) if how.start else _by_frame(lines, how)
    if span is None:
        return None
    first, last, widths = span
    rows = []
    for number, width in zip(range(first, last + 1), widths, strict=True):
        rows.append(_unmuted(lines[number], width, how))
    draft = "\n".join(rows).strip("\n")
    whole = "\n".join(lines[number].text[width:] for number, width in zip(range(first, last + 1), widths, strict=True))
    if any(one.search(whole) for one in how.placeholder):
        draft = ""
    return Box(first, last, widths[0], "" if not draft.strip() else draft)


def _by_prompt(lines: list[Line], how: Composer) -> tuple[int, int, list[int]] | None:
    for first in range(len(lines) - 1, -1, -1):
        prompt = how.start.search(lines[first].text) if how.start else None
        if prompt is None:
            continue
        if how.above is not None and (first == 0 or not how.above.search(lines[first - 1].text)):
            continue
        widths, last, ended = [prompt.end()], first, False
        for number in range(first + 1, len(lines)):
            text = lines[number].text
            indent = how.line.search(text) if how.line else None
            if how.end is not None and how.end.search(text):
                ended = True
                break
            if how.line_required and indent is None:
                break
            widths.append(indent.end() if indent else 0)
            last = number
        if how.end_required and not ended:
            continue
        return first, last, widths
    return None


def _by_frame(lines: list[Line], how: Composer) -> tuple[int, int, list[int]] | None:
    if how.line is None or how.end is None:
        return None
    for end in range(len(lines) - 1, 0, -1):
        if not how.end.search(lines[end].text):
            continue
        widths: list[int] = []
        first = end
        while first > 0 and (prefix := how.line.search(lines[first - 1].text)) is not None:
            first -= 1
            widths.insert(0, prefix.end())
        return (first, end - 1, widths) if widths else None
    return None


def _unmuted(line: Line, width: int, how: Composer) -> str:
    """The part of a box's row that somebody typed."""
    text, end = line.text, len(line.text)
    if how.right is not None and (border := how.right.search(text)) is not None:
        end = border.start()
    kept = [" " if line.muted[at] else text[at] for at in range(min(width, end), end)]
    inverse = [at for at in range(min(width, end), end) if line.reversed[at] and not line.muted[at]]
    solid = [at for at in range(min(width, end), end) if not line.muted[at] and not text[at].isspace()]
    if solid == inverse[:1] and len(solid) == 1 and any(line.muted[width:end]):
        return ""  # a drawn cursor on the placeholder's first letter
    return "".join(kept).rstrip()


def judge(look: Look, profile: Profile) -> Seen:
    """What the pane shows, by its profile. `profile.composer` must not be None."""
    how = profile.composer
    if how is None:
        raise ValueError(f"the profile {profile.name} has no composer to look for")
    lines = lines_of(look.screen, how.muted, look.width)
    box = find_box(lines, how)
    others = [one.text for number, one in enumerate(lines) if box is None or not box.first <= number <= box.last]
    lowest = [one for one in others if one.strip()]
    holds = {"dialog": "", "busy": "", "queued": ""}
    live = True
    for sign in profile.signs:
        why = _holds(sign, look, box, lowest)
        holds[sign.state] = holds[sign.state] or why
        # Busy, and the cursor says so: what looks like the box is the last input, which is being worked on.
        live = live and not (why and sign.state == "busy" and sign.cursor)
    box = box if live else None
    busy, queued = bool(holds["busy"]), bool(holds["queued"])
    outside = squeeze("".join(others))
    if holds["dialog"]:
        state, why = "dialog", f"a dialog is open ({holds['dialog']})"
    elif box is None:
        state = "busy" if busy else "unknown"
        why = holds["busy"] or f"the {profile.name} profile finds no input box on the screen"
    elif box.draft:
        state, why = "draft", "there is text in the input box"
    elif how.cursor == "prompt" and not busy and not _at_prompt(look, box):
        state, why = "draft", "the cursor is not where an empty input box has it"
    elif how.cursor == "off" and look.cursor_on:
        state, why = "unknown", "the cursor is on, which this input box never shows"
    else:
        state, why = ("busy", holds["busy"]) if busy else ("idle", "the input box is empty")
    return Seen(state, why, busy, queued, box, outside)


def _at_prompt(look: Look, box: Box) -> bool:
    return look.cursor_x == box.prompt and box.first <= look.cursor_y <= box.last


def _holds(sign: Sign, look: Look, box: Box | None, lowest: list[str]) -> str:
    """What shows the sign, for people; empty if it does not hold."""
    shown = []
    if sign.title is not None:
        if not sign.title.search(look.title):
            return ""
        shown.append("by the title")
    if sign.composer:
        if (sign.composer == "present") != (box is not None):
            return ""
        shown.append(f"input box {sign.composer}")
    if sign.cursor:
        inside = box is not None and box.first <= look.cursor_y <= box.last
        if not {"on": look.cursor_on, "off": not look.cursor_on, "outside": not inside}[sign.cursor]:
            return ""
        shown.append(f"cursor {sign.cursor}")
    if sign.screen is not None:
        if not any(sign.screen.search(one) for one in lowest[-sign.lines :]):
            return ""
        shown.append(f"screen shows {sign.screen.pattern!r}")
    return ", ".join(shown)


def holds_ours(draft: str, text: str, how: Composer) -> str:
    """Whether the box's draft is our text.

    Args:
        draft: `Box.draft`.
        text: what was pasted.
        how: the profile's composer.

    Returns:
        `whole`; `tail` (the box shows only the end of it); `collapsed` (a placeholder of fitting size stands
        for it); `mixed` (ours and something else); or empty (not ours).
    """
    shown, ours = squeeze(draft), squeeze(text)
    if not shown or not ours:
        return ""
    if shown == ours:
        return "whole"
    if ours.endswith(shown) and len(shown) >= min(len(ours), 16):
        return "tail"
    for pattern in how.collapsed:
        if (mark := pattern.search(draft)) is not None and _fits(mark, text):
            rest = squeeze(draft[: mark.start()]) + squeeze(draft[mark.end() :])
            return "collapsed" if rest in ours else "mixed"
    return "mixed" if ours in shown else ""


def ours_on(look: Look, seen: Seen, text: str, how: Composer) -> str:
    """Like `holds_ours`, for what is on the screen now; `tail` too if our text has pushed the prompt off its top."""
    if seen.state == "dialog":
        return ""
    if seen.box is not None:
        return holds_ours(seen.box.draft, text, how)
    rows = [one.text for one in lines_of(look.screen, width=look.width)][: look.cursor_y + 1]
    if how.start is None or len(rows) < look.height // 2 or not rows[-1].strip():
        return ""
    shown = squeeze("".join(how.line.sub("", one, count=1) if how.line else one for one in rows))
    return "tail" if len(shown) > look.width and squeeze(text).endswith(shown) else ""


def _fits(mark: re.Match[str], text: str) -> bool:
    groups = mark.groupdict()
    if groups.get("lines"):
        return abs(int(groups["lines"]) - (text.count("\n") + 1)) <= 1
    if groups.get("chars"):
        return abs(int(groups["chars"]) - len(text)) <= max(8, len(text) // 50)
    return True
