"""Telling our own text in an agent's box from anybody else's, by difference. Pure.

Between prompt and cursor must stand our text and nothing else. Compared without white space (UIs wrap, indent and pad) and
in one Unicode form; cells of emoji that tmux loses on its way to the screen are forgiven, nothing else is. A marker that
stands for a paste counts if the size that it names fits. Of a box whose start has scrolled away the end of our text is
enough, but only if the box was seen empty before.

Promises: `compare` looks at texts alone, `ours_on` at a pane. Both give `whole`, `tail` (the end of it, its start being out
of sight), `collapsed` (a marker of fitting size stands for it), `mixed` (ours and something else) or an empty string: not
ours, or not recognised. Only the first three say that nothing else stands in the box.
"""

import re
from collections.abc import Iterator

from worker.terminal.cells import rows_of
from worker.terminal.profiles import Composer
from worker.terminal.screen import Seen
from worker.terminal.text import squeeze
from worker.terminal.tmux import Look

_FEW = 20  # characters: less of a text's end than this could be anybody's
_LONG = 400  # characters, or three line feeds: what a UI may collapse without naming a size
_IMAGE = re.compile(r"(?i)\S+\.(?:png|jpe?g|gif|webp|bmp)\b")


def ours_on(look: Look, seen: Seen, text: str, how: Composer, before: Look | None = None) -> str:
    """Whose text stands in the pane's box.

    Args:
        look: the pane now.
        seen: what `screen.judge` made of it.
        text: what was pasted.
        how: the profile's composer.
        before: the pane when the box was seen empty, before the paste; None: it was not, and an end alone proves nothing.
    """
    if seen.box is None:
        return _upwards(look, text, how, before) if before is not None else ""
    told = compare(seen.box.draft, text, how)
    if told == "tail":
        tall = seen.box.clipped or seen.box.last - seen.box.first >= 3
        return "tail" if tall and before is not None and not seen.box.after.strip() else ""
    return told


def compare(draft: str, text: str, how: Composer) -> str:
    """Whether the box's draft is our text.

    Args:
        draft: `Box.draft`.
        text: what was pasted.
        how: the profile's composer.
    """
    shown, forms = squeeze(draft), forms_of(text, how)
    if not shown:
        return ""
    if any(shown == one or _lossy(shown, one) for one in forms):
        return "whole"
    if told := _marked(draft, text, forms, how):
        return told
    if any(one in shown or _bare(one) in _bare(shown) for one in forms if _bare(one)):
        return "mixed"
    return "tail" if len(shown) >= _FEW and any(_ends(one, shown) for one in forms) else ""


def forms_of(text: str, how: Composer) -> list[str]:
    """What the UI may show of a text, as it is compared: as it is, and with all that it writes differently."""
    found = [squeeze(text)]
    rewritten = text
    for ours, theirs in how.rewrites.items():
        rewritten = rewritten.replace(ours, theirs)
    if rewritten != text:
        found.append(squeeze(rewritten))
    return [one for one in found if one]


def _marked(draft: str, text: str, forms: list[str], how: Composer) -> str:
    """Whether a marker in the draft stands for our text, or for a part of it that the rest of the draft completes."""
    for mark in _marks(draft, how):
        if not _fits(mark, text):
            continue
        around = squeeze(draft[: mark.start()]), squeeze(draft[mark.end() :])
        if not any(around):
            return "collapsed"
        # What a UI leaves readable around a marker of a part is long; a person's `ok` is in any long text by chance.
        for one in forms:
            fitting = one.startswith(around[0]) and one.endswith(around[1]) and len("".join(around)) < len(one)
            if fitting and all(len(part) >= _FEW for part in around if part):
                return "collapsed"
        return "mixed"
    return _imaged(draft, text, how)


def _marks(draft: str, how: Composer) -> Iterator[re.Match[str]]:
    for pattern in how.collapsed:
        for mark in pattern.finditer(draft):
            if not _is_image(mark):
                yield mark


def _is_image(mark: re.Match[str]) -> bool:
    return "image" in mark.groupdict()


def _imaged(draft: str, text: str, how: Composer) -> str:
    """Whether the draft is our text with markers in place of its last images' paths (claude 2.1, codex 0.171)."""
    images = list(_IMAGE.finditer(text))
    for pattern in how.collapsed:
        marks = [mark for mark in pattern.finditer(draft) if _is_image(mark)]
        if not marks or len(marks) > len(images):
            continue
        restored, taken = "", 0
        for mark, image in zip(marks, images[-len(marks) :], strict=True):
            restored += draft[taken : mark.start()] + image.group()
            taken = mark.end()
        shown = squeeze(restored + draft[taken:])
        forms = forms_of(text, how)
        if any(shown == one or _lossy(shown, one) for one in forms):
            return "collapsed"
        if any(one in shown for one in forms):
            return "mixed"
    return ""


def _fits(mark: re.Match[str], text: str) -> bool:
    """Whether a marker that stands for pasted text can stand for this one, by the size that it names."""
    groups = mark.groupdict()
    if groups.get("chars"):
        return abs(int(groups["chars"]) - len(text)) <= max(8, len(text) // 50)
    if groups.get("lines"):  # some count line feeds, some lines
        return abs(int(groups["lines"]) - text.count("\n") - 1) <= 1
    return len(text) > _LONG or text.count("\n") >= 3


def _lossy(shown: str, wanted: str) -> bool:
    """Whether they are equal but for emoji of `wanted` that are not shown."""
    at = 0
    for char in wanted:
        if at < len(shown) and shown[at] == char:
            at += 1
        elif not _is_emoji(char):
            return False
    return at == len(shown)


def _is_emoji(char: str) -> bool:
    return 0x2190 <= ord(char) <= 0x2BFF or ord(char) >= 0x1F000


def _bare(squeezed: str) -> str:
    return "".join(char for char in squeezed if not _is_emoji(char))


def _ends(whole: str, shown: str) -> bool:
    """Whether `shown` is the end of `whole`, emoji forgiven."""
    return whole.endswith(shown) or (_bare(shown) != "" and _bare(whole).endswith(_bare(shown)))


def _upwards(look: Look, text: str, how: Composer, before: Look) -> str:
    """Read the rows from the cursor upwards for as long as they are the end of our text.

    That is how it is found where there is no box to see: a rule or a prompt is part of our text, or its start is gone.
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
        if prompt is not None and squeeze(shown[prompt.end() :]) + read in forms:
            return "whole"
        more = squeeze(re.sub(r"^[\s│┃]*", "", shown)) + read
        if not any(one.endswith(more) for one in forms):
            break
        read, count = more, count + 1
    old = squeeze("".join(row.text for row in rows_of(before.screen)))
    enough = count > 1 and len(read) > max(_FEW, look.width // 2)
    return "tail" if enough and read[-2 * _FEW :] not in old else ""
