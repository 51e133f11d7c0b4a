"""Reading a capture: `capture-pane -e` output as rows of text and styled cells. Pure.

Promises: `rows_of` never fails, whatever the capture holds, and gives one `Row` a line. A row's text is what a person
sees, without sequences; styles carry over from row to row, as tmux writes them. Cells and their columns are worked out
only for the rows that somebody asks about: most of a screen is looked at as text.
"""

import re
import unicodedata
from functools import cached_property, lru_cache
from typing import NamedTuple

_SEQUENCE = re.compile(
    r"\x1b(?:\[([0-9;:]*)m|\[[0-9;:?]*[A-Za-ln-z]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Z0-9]|[\x0e\x0f=>])"
)
_JOINER = "\u200d"


class Style(NamedTuple):
    """How a run of characters is drawn, as far as it matters here."""

    dim: bool = False
    reverse: bool = False
    underline: bool = False
    colour: str = ""
    """The foreground as SGR writes it (`90`, `38;5;8`, `38;2;R;G;B`); empty: the terminal's own."""
    ground: str = ""
    """The background, the same way (`48;5;252`)."""

    @property
    def drawn(self) -> bool:
        """Whether it looks like a cursor that the UI draws itself: reversed, or underlined (Qwen 0.24)."""
        return self.reverse or self.underline


PLAIN = Style()


class Cell(NamedTuple):
    """One character, the column that it stands in (a wide one fills two), and how it is drawn."""

    char: str
    column: int
    style: Style


class Row:
    """One line of the screen."""

    def __init__(self, runs: list[tuple[str, Style]]) -> None:
        self.runs = runs
        self.text = "".join(text for text, _ in runs)

    @cached_property
    def cells(self) -> list[Cell]:
        """The row's characters with their columns, wide and zero-width ones as tmux counts them."""
        found: list[Cell] = []
        column = 0
        for text, style in self.runs:
            for char in text:
                found.append(Cell(char, column, style))
                column += _width(char, found[-2].char if len(found) > 1 else "")
        return found


def rows_of(screen: str) -> list[Row]:
    """The rows of a capture, `capture-pane -p -e`.

    tmux drops blanks at a row's end, that of a drawn cursor too, but leaves the attribute on: there the row gets its
    blank back (Auggie 0.36, Qwen 0.24).
    """
    style = PLAIN
    found = []
    for line in screen.split("\n"):
        runs: list[tuple[str, Style]] = []
        at = 0
        for sequence in _SEQUENCE.finditer(line):
            if sequence.start() > at:
                runs.append((line[at : sequence.start()], style))
            at = sequence.end()
            codes = sequence.group(1)
            if codes is not None:
                style = _apply(codes, style)
        if at < len(line):
            runs.append((line[at:], style))
        if style.drawn:
            runs.append((" ", style))
        found.append(Row(runs))
    return found


@lru_cache(maxsize=1024)
def _apply(codes: str, style: Style) -> Style:  # noqa: C901 - a branch for each code, and nothing else
    """`style` after one SGR sequence with these parameters."""
    dim, reverse, underline, colour, ground = style
    words = codes.split(";")
    while words:
        code, _, sub = (words.pop(0) or "0").partition(":")
        if code == "0":
            dim, reverse, underline, colour, ground = PLAIN
        elif code in {"2", "22"}:
            dim = code == "2"
        elif code in {"7", "27"}:
            reverse = code == "7"
        elif code in {"4", "24"}:
            underline = code == "4" and sub != "0"  # `4:3` is a curly line, `4:0` none
        elif code in {"38", "48", "58"}:
            chosen, words = _chosen(sub, words)
            colour = ";".join(["38", *chosen]) if code == "38" else colour
            ground = ";".join(["48", *chosen]) if code == "48" else ground
        elif code == "39":
            colour = ""
        elif code == "49":
            ground = ""
        elif code.isdigit() and (40 <= int(code) <= 47 or 100 <= int(code) <= 107):
            ground = code
        elif code.isdigit() and (30 <= int(code) <= 37 or 90 <= int(code) <= 97):
            colour = code
    return Style(dim, reverse, underline, colour, ground)


def _chosen(sub: str, words: list[str]) -> tuple[list[str], list[str]]:
    """A colour's arguments, and the parameters behind it; they come as `5:8` or as parameters of their own."""
    if sub:
        return [one for one in sub.split(":") if one], words
    size = {"5": 2, "2": 4}.get(words[0] if words else "", 0)
    return words[:size], words[size:]


@lru_cache(maxsize=256)
def is_gray(colour: str) -> bool:
    """Whether a foreground is a middle gray, as placeholders have it on dark and on light ground.

    Args:
        colour: as in `Style.colour`.
    """
    words = colour.split(";")
    if words[0] != "38":
        return colour == "90"
    numbers = [int(one) for one in words[2:] if one.isdigit() and len(one) < 4]
    if words[1:2] == ["5"] and numbers:
        number = numbers[0]
        if number < 16:
            return number == 8
        steps = (0, 95, 135, 175, 215, 255)  # xterm's cube and its ramp of grays
        if number >= 232:
            rgb = [8 + 10 * (number - 232)] * 3
        else:
            rgb = [steps[(number - 16) // size % 6] for size in (36, 6, 1)]
    elif words[1:2] == ["2"] and len(numbers) >= 3:
        rgb = numbers[-3:]  # `38:2::R:G:B` may name a colour space first
    else:
        return False
    return max(rgb) - min(rgb) <= 48 and 70 <= sum(rgb) / 3 <= 185


def _width(char: str, before: str) -> int:
    """How many columns tmux 3.3a gives a character that follows `before`."""
    if char.isascii():
        return 1
    wide = unicodedata.east_asian_width(char) in {"W", "F"}
    if before == _JOINER and wide:
        return 0
    if unicodedata.category(char) in {"Mn", "Me", "Cf"} or "\U0001f3fb" <= char <= "\U0001f3ff":
        return 0
    return 2 if wide else 1
