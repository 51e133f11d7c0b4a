"""The program that changes screens: what an owner's theme, footer or transcript may change, and no state with it.

Each change takes a screen, where its box was found (rows, or None) and a random number generator, and gives the screen
changed.
"""

import random
import re
from collections.abc import Callable

from msgspec.structs import replace

from worker.terminal.tmux import Look

Rows = tuple[int, int] | None
Change = Callable[[Look, Rows, random.Random], Look]

_SGR = re.compile(r"\x1b\[([0-9;:]*)m")
_PARTS = re.compile(r"(\x1b\[[0-9;:?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x0e|\x0f)")
_RULE = re.compile(r"[─━═▀▄]{8,}")
WORDS = [
    "lorem",
    "ipsum",
    "dolor sit",
    "42%",
    "main",
    "✔",
    "foo/bar.rs",
    "[x]",
    "$1.20",
    "(7)",
    "↑3",
    "⎇ dev",
    "·",
    "elit",
]
DIALOG = "Do you want to proceed? ❯ 1. Yes  2. No  Press enter to continue or esc to cancel"


def _attributes(look: Look, keep: Callable[[list[str]], list[str]]) -> Look:
    """The screen with each SGR sequence's codes put through `keep`; colours come with their arguments, as one code."""

    def new(match: re.Match[str]) -> str:
        words, codes = match.group(1).split(";"), []
        while words:
            code = words.pop(0) or "0"
            if code in {"38", "48", "58"}:
                size = {"5": 2, "2": 4}.get(words[0] if words else "", 0)
                code, words = ";".join([code, *words[:size]]), words[size:]
            codes.append(code)
        kept = keep(codes)
        return f"\x1b[{';'.join(kept)}m" if kept else ""

    return replace(look, screen=_SGR.sub(new, look.screen))


def _is_colour(code: str) -> bool:
    number = int(re.split(r"[;:]", code)[0])
    return 30 <= number <= 49 or 90 <= number <= 107 or number == 58


def no_colours(look: Look, _rows: Rows, _random: random.Random) -> Look:
    """No colours; bold, dim and reverse stay."""
    return _attributes(look, lambda codes: [one for one in codes if not _is_colour(one)])


def no_attributes(look: Look, _rows: Rows, _random: random.Random) -> Look:
    """Nothing but characters."""
    return replace(look, screen=_SGR.sub("", look.screen))


def other_grays(look: Look, _rows: Rows, chance: random.Random) -> Look:
    """Each gray is another one, the same wherever it stood, written in one of the ways that there are."""
    table: dict[str, str] = {}

    def gray(code: str) -> str:
        words = code.split(";")
        ramp = words[:2] == ["38", "5"] and int(words[2]) in {8, *range(236, 249)}
        true = words[:2] == ["38", "2"] and len(set(words[2:])) == 1 and int(words[2]) in range(60, 186)
        if code != "90" and not ramp and not true:
            return code
        if code not in table:
            light = chance.randint(90, 170)
            ways = ["90", "38;5;8", f"38;5;{chance.randint(240, 247)}", f"38;2;{light};{light};{light + 5}"]
            table[code] = chance.choice(ways)
        return table[code]

    return _attributes(look, lambda codes: [gray(one) for one in codes])


def _reworded(line: str, chance: random.Random) -> str:
    """The line with each word replaced by another, and its frame and sequences as they were."""
    parts = _PARTS.split(line)
    parts[::2] = [re.sub(r"[^\W_]\S*", lambda _: chance.choice(WORDS), one) for one in parts[::2]]
    return "".join(parts)


def _relettered(line: str, chance: random.Random) -> str:
    """The line with each letter replaced by another: the same shape."""
    parts = _PARTS.split(line)
    parts[::2] = [re.sub(r"[A-Za-z]", lambda _: chance.choice("abcdefgh"), one) for one in parts[::2]]
    return "".join(parts)


def _below(look: Look, rows: Rows, change: Callable[[str], str]) -> Look:
    lines = look.screen.split("\n")
    first = (rows[1] if rows else look.cursor_y) + 1
    lines[first:] = [one if _RULE.search(one) or "┃" in one else change(one) for one in lines[first:]]
    return replace(look, screen="\n".join(lines))


def other_footer(look: Look, rows: Rows, chance: random.Random) -> Look:
    """Other words in every row below the box: somebody's own status line."""
    return _below(look, rows, lambda line: _reworded(line, chance))


def other_letters(look: Look, rows: Rows, chance: random.Random) -> Look:
    """Other letters in every row below the box: another language."""
    return _below(look, rows, lambda line: _relettered(line, chance))


def words_in_rules(look: Look, _rows: Rows, chance: random.Random) -> Look:
    """Words in the rules, as session names, counters and modes."""

    def worded(match: re.Match[str]) -> str:
        rule = match.group()
        label = f" {' '.join(chance.sample(WORDS, 2))} "
        at = chance.choice([2, 3, len(rule) - len(label) - 2])
        return rule[:at] + label + rule[at + len(label) :] if 2 <= at <= len(rule) - len(label) - 1 else rule

    return replace(look, screen=_RULE.sub(worded, look.screen))


def _said(look: Look, rows: Rows, words: str, chance: random.Random) -> Look:
    """The screen with `words` said in its transcript: somewhere in the rows above the box and what belongs to it."""
    lines = look.screen.split("\n")
    if rows is None or rows[0] < 3:
        return look
    free = [at for at in range(max(0, rows[0] - 12), rows[0] - 1) if not _RULE.search(lines[at])]
    for at in chance.sample(free, min(2, len(free))):
        # What sequences the line had stay, or all below it would be drawn otherwise.
        lines[at] = "".join(_PARTS.split(lines[at])[1::2]) + chance.choice(["", "  ", "● "]) + words[: look.width - 4]
    return replace(look, screen="\n".join(lines))


def dialog_words(look: Look, rows: Rows, chance: random.Random) -> Look:
    """A dialog's words in the transcript."""
    return _said(look, rows, DIALOG, chance)


def interrupt_words(look: Look, rows: Rows, chance: random.Random) -> Look:
    """What a busy agent says, in the transcript."""
    return _said(look, rows, "press esc to interrupt it, or esc interrupt", chance)


def alarming_title(look: Look, _rows: Rows, chance: random.Random) -> Look:
    """A title that reads like a question: the first message becomes the title of a session."""
    titles = [
        "[ ! ] disk almost full",
        "[ . ] Action Required",
        "✋ Action Required (x)",
        "? vibe",
        "✳ Do you want to proceed?",
    ]
    return replace(look, title=chance.choice(titles))


def everything(look: Look, rows: Rows, chance: random.Random) -> Look:
    """Several of them at once."""
    for change in chance.sample(
        [other_grays, other_letters, words_in_rules, dialog_words, interrupt_words, alarming_title], 4
    ):
        look = change(look, rows, chance)
    return look


CHANGES: dict[str, Change] = {
    one.__name__: one
    for one in (
        *(no_colours, no_attributes, other_grays, other_footer, other_letters),
        *(words_in_rules, dialog_words, interrupt_words, alarming_title, everything),
    )
}
