"""What a pane's screen means: `idle`, `busy`, `draft`, `dialog` or `unknown`. Pure.

Promises:
- Only `idle` and `busy` may be typed into. Both say that the cursor is in an input box into which nothing was typed.
- A title, or a phrase in the transcript, is nothing by itself: without a box an agent is never `busy`, unless its
  profile says that it has no box while it works, and that it is waited for (`gone = "busy"`: REPLs).
- `judge` is a function of one look and the profile, and never fails, whatever the screen holds, but for patterns that
  take for ever on it (`patience`).
"""

import re
from collections.abc import Sequence

from msgspec import Struct

from worker.terminal.box import Box, find
from worker.terminal.cells import Row, rows_of
from worker.terminal.patience import limited
from worker.terminal.profiles import Composer, Profile, Sign
from worker.terminal.text import squeeze
from worker.terminal.tmux import Look

# How UIs speak of themselves, most of them alike; what only one says stands in its profile.
_ASKS = (  # compiled when it is needed: mostly there is a box
    r"(?i)do you want|would you like|do you trust|needs? (?:permission|your approval)|permission required"
    r"|action required|allow (?:once|for|execution)|approve once"
    r"|\besc\S* (?:to )?(?:cancel|close|go back|back|reject|exit|skip|start new)"
    r"|(?:enter|return|↵) (?:to )?(?:confirm|select|continue|submit|save|open|resume|use|stay)|^\W*[❯›▶●→>] ?1\. "
    r"|q close|q/esc|\[y\] |\(y\)es/|reverse-i-search|any key"
)
_WORKS = re.compile(r"(?i)\(.*\besc\S* to (?:interrupt|cancel).*\)")  # above the box: "(3s • esc to interrupt)"
_INTERRUPTS = re.compile(r"(?i)\besc\S* (?:(?:esc|again) )?(?:to )?interrupt")  # below it
_SPINS = re.compile(r"\W?[⠁-⣿◐◓◑◒]")  # a title that starts with a spinner
_KEY_ASKED = re.compile(r"(?i)\bany (?:other )?key\b")  # below the box: whatever is typed answers it
_NEAR = 4  # rows above the box in which a line of work in progress stands
_LAST = 20  # rows at the screen's end that are searched for the words of a dialog
_LOADS = 60.0  # seconds: an agent older than this has loaded, whatever its screen looks like


class Judgement(Struct, frozen=True):
    """What a screen means, and why."""

    state: str
    why: str
    busy: bool
    queued: bool
    box: Box | None
    rows: Sequence[Row] = ()

    @property
    def outside(self) -> str:
        """The text outside the box, without white space."""
        return squeeze("".join(_outside(self.rows, self.box)))


def judge(look: Look, profile: Profile, *, age: float = 0.0) -> Judgement:
    """What the pane shows, by its profile. `profile.composer` must not be None.

    Args:
        look: the pane.
        profile: how its agent looks.
        age: seconds for which the agent has been running; 0: not known, and then it may still be loading.

    Raises:
        ProfileError: one of its patterns takes too long.
    """
    how = profile.composer
    if how is None:
        raise ValueError(f"the profile {profile.name} has no composer to look for")
    with limited():
        return _judge(look, profile, how, age)


def _judge(look: Look, profile: Profile, how: Composer, age: float) -> Judgement:
    rows = rows_of(look.screen)
    box = find(look, rows, how)
    lowest = [one for one in _outside(rows, box) if one.strip()]
    signs = {"dialog": "", "busy": "", "queued": ""}
    for sign in profile.signs:
        signs[sign.state] = signs[sign.state] or _holds(sign, look, box, lowest)
    busy = False
    if signs["dialog"]:
        state, why = "dialog", f"a dialog is open ({signs['dialog']})"
    elif box is None:
        state, why = _without_box(profile, how, lowest)
        busy = state == "busy"
    else:
        above = [row.text for row in rows[: box.first] if row.text.strip()]
        below = [row.text for row in rows[box.last + 1 :] if row.text.strip()]
        works = signs["busy"] or _working(look, above, below)
        state, why = _with_box(box, how, above, below, works=works, age=age)
        busy = bool(works)
    return Judgement(state, why, busy, bool(signs["queued"]), box, rows)


def _without_box(profile: Profile, how: Composer, lowest: Sequence[str]) -> tuple[str, str]:
    """State and reason where the cursor is in no box: keys would go wherever it is."""
    asks = next((one.strip() for one in reversed(lowest[-_LAST:]) if re.search(_ASKS, one)), "")
    if asks:
        return "dialog", f"the cursor is in no input box, and the screen says: {asks[:60]}"
    if how.gone == "busy":
        return "busy", "the cursor is at no prompt"
    return "unknown", f"the {profile.name} profile finds no input box at the cursor"


def _with_box(
    box: Box, how: Composer, above: Sequence[str], below: Sequence[str], *, works: str, age: float
) -> tuple[str, str]:
    """State and reason where the cursor is in a box; `above` and `below` are the rows around it that are not blank."""
    if not box.empty:
        typed = box.draft.strip()
        return "draft", "there is text in the input box" if typed else "the cursor is not where an empty box has it"
    if _loading(how, above, below, age):
        return "unknown", "the program is still loading"
    if any(_KEY_ASKED.search(one) for one in below[:3]):
        return "dialog", "the line below the input box asks for a key"
    return ("busy", works) if works else ("idle", "the input box is empty")


def _outside(rows: Sequence[Row], box: Box | None) -> list[str]:
    return [row.text for at, row in enumerate(rows) if box is None or not box.first <= at <= box.last]


def _working(look: Look, above: Sequence[str], below: Sequence[str]) -> str:
    """What says that the agent works, for people; empty if nothing does."""
    if _SPINS.match(look.title):
        return "by the title"
    shown = next((one for one in above[-_NEAR:] if _WORKS.search(one)), "")
    shown = shown or next((one for one in below if _INTERRUPTS.search(one)), "")
    return f"the screen says: {shown.strip()[:60]}" if shown else ""


def _loading(how: Composer, above: Sequence[str], below: Sequence[str], age: float) -> bool:
    """Whether the UI draws its box already and its keys still go nowhere.

    It looks as if it were idle. Either its footer is that of a UI that loads, or it has said nothing but its greeting
    and has one line below the box. One that has loaded may look so too: its age tells.
    """
    if not below or age > _LOADS:
        return False
    if how.loading and all(any(one.fullmatch(row.strip()) for one in how.loading) for row in below):
        return True
    greeted = [row for row in above if not re.fullmatch(r"[\s\u2800-\u28ff]*", row)][-2:]
    return how.greeting is not None and len(below) == 1 and any(how.greeting.search(row) for row in greeted)


def _holds(sign: Sign, look: Look, box: Box | None, lowest: Sequence[str]) -> str:
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
