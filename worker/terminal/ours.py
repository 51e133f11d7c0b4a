"""Telling our own text in an agent's box from anybody else's, by difference. Pure.

Between prompt and cursor must stand our text and nothing else. Compared without white space (UIs wrap, indent and pad)
and in one Unicode form; cells of emoji that tmux loses on its way to the screen are forgiven, nothing else is. A marker
that stands for a paste counts if the size that it names fits. Of a box whose start has scrolled away the end of our
text is enough, but only if the box was seen empty before.

Promises: `compare` looks at texts alone, `ours_on` at a pane. Both give `whole`, `tail` (the end of it, its start being
out of sight), `collapsed` (a marker of fitting size stands for it), `mixed` (ours and something else) or an empty
string: not ours, or not recognised. Only the first three say that nothing else stands in the box.
"""

import re
from typing import NamedTuple

from worker.terminal.box import without_remains
from worker.terminal.cells import rows_of
from worker.terminal.patience import limited
from worker.terminal.profiles import Composer
from worker.terminal.screen import Judgement
from worker.terminal.text import squeeze
from worker.terminal.tmux import Look

_FEW = 20  # characters: less of a text's end than this could be anybody's
_SHORT = 100  # characters on at most two lines: never collapsed
_LONG = 400  # characters, or more than three lines: what a UI may collapse without naming a size
_ASCII = frozenset(map(chr, range(128)))
# Emoji that are made of several characters: joined ones, those with a skin tone or a variation selector, flags.
_SEQUENCE = "[^\\s\x00-\x7f](?:[\U0001f3fb-\U0001f3ff\ufe0f]|\u200d[^\\s\x00-\x7f])+|[\U0001f1e6-\U0001f1ff]{2}"
_IMAGE = r"(?i)\S+\.(?:png|jpe?g|gif|webp|bmp)\b"


class Form(NamedTuple):
    """One way in which a UI may show a text, as texts are compared."""

    text: str
    """Without white space, in one Unicode form."""
    losable: frozenset[str]
    """The characters of emoji that are made of several, any of which tmux 3.3a may lose."""

    @property
    def bare(self) -> str:
        """All of it that is never lost."""
        return self.strip(self.text)

    def strip(self, shown: str) -> str:
        """`shown` without what may be lost."""
        return "".join(char for char in shown if char not in self.losable)

    def equals(self, shown: str) -> bool:
        """Whether `shown` is this text: every character in its place, but for lost ones."""
        if shown == self.text or not self.losable:
            return shown == self.text
        at = 0
        for char in self.text:
            if at < len(shown) and shown[at] == char:
                at += 1
            elif char not in self.losable:
                return False
        return at == len(shown)

    def ends_with(self, shown: str) -> bool:
        """Whether `shown` is the end of this text."""
        return self.text.endswith(shown) or (bool(self.losable) and self.bare.endswith(self.strip(shown) or "\n"))

    def is_in(self, shown: str) -> bool:
        """Whether this text is a part of `shown`."""
        return self.text in shown or (bool(self.losable and self.bare) and self.bare in self.strip(shown))


def forms_of(text: str, how: Composer) -> list[Form]:
    """What the UI may show of a text: as it is, and with all that the profile says it writes differently."""
    sequences = [] if text.isascii() else re.findall(_SEQUENCE, text)
    losable = frozenset(squeeze("".join(sequences))) - _ASCII
    rewritten = text
    for ours, theirs in how.rewrites.items():
        rewritten = rewritten.replace(ours, theirs)
    found = dict.fromkeys([squeeze(text), squeeze(rewritten)])
    return [Form(one, losable) for one in found if one]


def ours_on(look: Look, seen: Judgement, text: str, how: Composer, before: Look | None = None) -> str:
    """Whose text stands in the pane's box.

    Args:
        look: the pane now.
        seen: what `screen.judge` made of it.
        text: what was pasted.
        how: the profile's composer.
        before: the pane when the box was seen empty, before the paste. None: it was not; then an end of our text proves
            nothing, nor does a marker that names no size.

    Raises:
        ProfileError: one of the composer's patterns takes too long.
    """
    if seen.box is not None and seen.box.empty:
        return ""
    with limited():
        return _ours_on(look, seen, text, how, before)


def _ours_on(look: Look, seen: Judgement, text: str, how: Composer, before: Look | None) -> str:
    told = compare(seen.box.draft, text, how, empty_before=before is not None) if seen.box is not None else ""
    if seen.box is not None and before is not None and told in {"", "mixed"}:
        bare = without_remains(look, seen.rows, how, before)
        if bare is not None and compare(bare.draft, text, how) == "whole":
            return "whole"
    if seen.box is None or not told:
        return _upwards(look, text, how, before) if before is not None else ""
    if told == "tail":
        tall = seen.box.clipped or seen.box.last - seen.box.first >= 3
        return "tail" if tall and before is not None and not seen.box.after.strip() else ""
    return told


def compare(draft: str, text: str, how: Composer, *, empty_before: bool = True) -> str:
    """Whether the box's draft is our text.

    Args:
        draft: `Box.draft`.
        text: what was pasted.
        how: the profile's composer.
        empty_before: whether the box was seen empty before the paste, so that a marker without a size can be ours.
    """
    shown, forms = squeeze(draft), forms_of(text, how)
    if not shown:
        return ""
    if any(one.equals(shown) for one in forms):
        return "whole"
    for row in (draft.replace("\n", " "), draft.replace("\n", "")):  # a marker may wrap, at a blank or in a word
        if told := _marked(row, text, forms, how, empty_before=empty_before) or _imaged(row, text, forms, how):
            return told
    if any(one.is_in(shown) for one in forms):
        return "mixed"
    if len(shown) < _FEW:
        return ""
    if any(one.ends_with(shown) for one in forms):
        return "tail"
    halves = shown[: len(shown) // 2], shown[len(shown) // 2 :]
    partly = any(len(half) >= _FEW and half in one.text for half in halves for one in forms)
    return "mixed" if partly else ""


def _marked(draft: str, text: str, forms: list[Form], how: Composer, *, empty_before: bool) -> str:
    """Whether a marker in the draft stands for our text, or for a part of it that the rest of the draft completes."""
    for mark in (mark for pattern in how.collapsed for mark in pattern.finditer(draft)):
        if "image" in mark.groupdict() or not _fits(mark, text, sized=not empty_before):
            continue
        start, end = squeeze(draft[: mark.start()]), squeeze(draft[mark.end() :])
        # What a UI leaves readable around a marker of a part is long; a person's `ok` is in any long text by chance.
        long = all(len(part) >= _FEW for part in (start, end) if part)
        if long and any(
            one.text.startswith(start) and one.text.endswith(end) and len(start + end) < len(one.text) for one in forms
        ):
            return "collapsed"
        return "mixed"
    return ""


def _imaged(draft: str, text: str, forms: list[Form], how: Composer) -> str:
    """Whether the draft is our text with markers in place of its last images' paths (claude 2.1, codex 0.171)."""
    images = list(re.finditer(_IMAGE, text))
    marks = [one for pattern in how.collapsed for one in pattern.finditer(draft) if "image" in one.groupdict()]
    if not marks or len(marks) > len(images):
        return ""
    restored, taken = "", 0
    for mark, image in zip(marks, images[-len(marks) :], strict=True):
        restored += draft[taken : mark.start()] + image.group()
        taken = mark.end()
    shown = squeeze(restored + draft[taken:])
    if any(one.equals(shown) for one in forms):
        return "collapsed"
    return "mixed" if any(one.is_in(shown) for one in forms) else ""


def _fits(mark: re.Match[str], text: str, *, sized: bool) -> bool:
    """Whether a marker that stands for pasted text can stand for this one, by the size that it names."""
    groups = mark.groupdict()
    lines = text.count("\n") + 1
    if len(text) < _SHORT and lines < 3:
        return False  # no UI collapses so little
    if groups.get("chars"):
        return abs(int(groups["chars"]) - len(text)) <= max(8, len(text) // 50)
    if groups.get("lines"):  # some count line feeds, some lines
        return abs(int(groups["lines"]) - lines) <= 1
    return not sized and (len(text) > _LONG or lines > 3)


def _upwards(look: Look, text: str, how: Composer, before: Look) -> str:
    """Read the rows from the cursor upwards for as long as they are the end of our text.

    That is how it is found where no box is seen, or the wrong one: a rule or a prompt is part of our text, or its start
    is gone.
    One row alone could be a search field, so it takes two; and it must not have been there before.
    """
    rows = rows_of(look.screen)
    if look.cursor_y >= len(rows) or look.cursor_x == 0 or (how.cursor == "on" and not look.cursor_on):
        return ""
    here = rows[look.cursor_y].cells
    if "".join(cell.char for cell in here if cell.column >= look.cursor_x).strip(" │┃"):
        return ""
    forms = forms_of(text, how)
    read, count = "", 0
    for y in range(look.cursor_y, -1, -1):
        shown = rows[y].text if y < look.cursor_y else "".join(c.char for c in here if c.column < look.cursor_x)
        shown = shown[: border.start()] if (border := how.right.search(shown)) is not None else shown
        prompt = how.start.match(shown) if how.start is not None else None
        if prompt is not None and any(one.equals(squeeze(shown[prompt.end() :]) + read) for one in forms):
            return "whole"
        more = squeeze(re.sub(r"^[\s│┃]*", "", shown)) + read
        if not any(one.ends_with(more) for one in forms):
            break
        read, count = more, count + 1
    if count > 1 and len(read) >= _FEW and any(one.equals(read) for one in forms):
        return "whole"
    old = squeeze("".join(row.text for row in rows_of(before.screen)))
    enough = count > 1 and len(read) > max(_FEW, look.width // 2)
    return "tail" if enough and read[-2 * _FEW :] not in old else ""
