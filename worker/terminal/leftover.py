"""Text of ours that may still stand in a pane's box: how it is noted in the pane, and told from a person's draft.

Each paste is noted before it happens, in a tmux option of the pane on the pane's own host, and its text stays in a tmux
buffer of that server until its fate is known. Whoever sends next, from wherever, finds both.

Promises: nothing here presses a key or fails on what somebody else wrote into the option. `fit_to_send` and
`fit_to_remove` are true only of a box in which nothing but our text stands.
"""

import hashlib
import os
import re

from msgspec import Struct
from msgspec.structs import replace

from worker.terminal import ours
from worker.terminal.profiles import Composer
from worker.terminal.screen import Judgement
from worker.terminal.text import squeeze
from worker.terminal.tmux import Look

_NOTE = re.compile(r"([0-9a-f]{16})\.([0-9a-f]{16})\.(\d{1,9})\.(\d{1,12})")
_FATE = re.compile(r"([0-9a-f]{16})\.(submitted|queued)\.(\d{1,12})")
_KEPT = 8  # fates that a pane remembers


class PasteNote(Struct, frozen=True):
    """What was pasted into a pane."""

    id: str
    """16 hexadecimal digits; the same for every attempt to deliver one message of the bus."""
    digest: str
    """The start of the SHA-256 of the text."""
    length: int
    """Characters."""
    at: int
    """When, in seconds since 1970, by the clock of the pane's host."""

    @classmethod
    def of(cls, text: str, key: str, at: float = 0) -> "PasteNote":
        """For a text that is about to be pasted; `key` names the bus's message that it is, or is empty."""
        known = hashlib.sha256(f"{key}\0{text}".encode()).digest() if key else os.urandom(8)
        return cls(known[:8].hex(), _digest(text), len(text), int(at))

    def carrying(self, text: str) -> "PasteNote":
        """The same message, for which this is pasted: something stands in front of it now."""
        return replace(self, digest=_digest(text), length=len(text))

    @classmethod
    def read(cls, value: str) -> "PasteNote | None":
        """From the option's value; None if it is none of ours."""
        match = _NOTE.fullmatch(value)
        return cls(match[1], match[2], int(match[3]), int(match[4])) if match else None

    @property
    def value(self) -> str:
        """As the option has it; safe in a tmux command."""
        return f"{self.id}.{self.digest}.{self.length}.{self.at}"

    @property
    def buffer(self) -> str:
        """The name of the tmux buffer with the text, as `PaneLock.load` gives it."""
        return f"bus-watch-{self.id}"

    def is_of(self, text: str) -> bool:
        """Whether `text` is what was pasted."""
        return len(text) == self.length and _digest(text) == self.digest


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Leftover(Struct, frozen=True):
    """A noted text that the box still holds, or held."""

    note: PasteNote
    text: str
    untouched: bool
    """Whether nobody has pressed a key in any client of the pane's server since."""

    def stands(self, look: Look, seen: Judgement, how: Composer) -> str:
        """Whose text stands in the box, as `ours.ours_on` says it; it was pasted into an empty one."""
        return ours.ours_on(look, seen, self.text, how, replace(look, screen=""))

    def fit_to_send(self, told: str) -> bool:
        """Whether all of it is there and nothing else; what is out of sight is so only if nobody was there."""
        return told in {"whole", "collapsed"} or (told == "tail" and self.untouched)

    def fit_to_remove(self, look: Look, seen: Judgement, how: Composer) -> bool:
        """Whether nothing else stands there; a part of it is left when some was taken out already."""
        if self.fit_to_send(self.stands(look, seen, how)):
            return True
        box = seen.box
        if box is None or box.after.strip() or not (shown := squeeze(box.draft)):
            return False
        return not box.clipped and any(one.text.startswith(shown) for one in ours.forms_of(self.text, how))


def fate_of(note: PasteNote, fates: str) -> str:
    """What a pane's list says of the message: `submitted`, `queued`, or nothing."""
    return next((match[2] for match in map(_FATE.fullmatch, fates.split(",")) if match and match[1] == note.id), "")


def with_fate(fates: str, note: PasteNote, verdict: str, at: float) -> str:
    """The list with one more; it keeps the newest few, and nothing that is none of ours."""
    kept = [one for one in fates.split(",") if _FATE.fullmatch(one) and not one.startswith(note.id)]
    return ",".join([*kept, f"{note.id}.{verdict}.{int(at)}"][-_KEPT:])
