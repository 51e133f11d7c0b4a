"""What an earlier sender left in a pane's box: it is submitted, or taken out again, before anything else is pasted.

Promises: a key is pressed only while nothing but a noted text of ours is seen in the box. A person's draft, and ours
with a person's words beside it, stay as they are, and the message waits.
"""

import time
from collections.abc import Callable

from msgspec.structs import replace

from worker.terminal import screen
from worker.terminal.leftover import Leftover, PasteNote, with_fate
from worker.terminal.pace import pace
from worker.terminal.profiles import Composer
from worker.terminal.proof import Verdict
from worker.terminal.tmux import Look, RefusedError
from worker.terminal.visit import DeferredError, Pasted, Visit

_SENDING = 6.0  # seconds within which a leftover must be seen to go
_TAKES = 0.6  # seconds that a key which takes text out needs at most until that shows


def found(visit: Visit, look: Look) -> Leftover | None:
    """The text that the pane's note is of, if there is one and its text is still to be had."""
    note = PasteNote.read(look.note)
    text = visit.server.buffer(note.buffer) if note is not None else ""
    if note is None or not note.is_of(text):
        return None
    return Leftover(note, text, visit.server.last_activity() < note.at)


def away(visit: Visit, left: Leftover, composer: Composer, until: float) -> Verdict | None:
    """Get a leftover out of the box, at best by submitting it.

    Args:
        visit: its pane.
        left: the text.
        composer: the profile's.
        until: when to have done, on the monotonic clock.

    Returns:
        What became of it; None: it does not stand in the box.

    Raises:
        DeferredError: it stands there and cannot be submitted or taken out, or not without touching what is not ours.
    """
    look, seen, told = _seen(visit, left, composer)
    if not told:
        return None
    if told == "mixed":
        raise DeferredError("text of ours stands in the input box, and somebody has written beside it")
    if not left.fit_to_send(told):
        raise DeferredError(
            "the end of a text of ours stands in the input box, and somebody has used the keyboard since"
        )
    verdict = _submitted(visit, left, composer, was_busy=seen.busy, look=look, until=until)
    if verdict is not None:
        visit.lock.forget(left.note.buffer, with_fate(look.fates, left.note, verdict.verdict, visit.lock.now))
        return verdict
    if _seen(visit, left, composer)[2]:
        _taken_out(visit, left, composer, until)
    visit.lock.forget(left.note.buffer)
    return Verdict("gone", "it was taken out of the input box, for Enter did not submit it")


def withdrawn(visit: Visit, at: int, until: float) -> bool:
    """Take out of the box what our own paste has put there, though it is not recognised: the box was empty before.

    Only if nobody has pressed a key in any client of the pane's server since `at`, in seconds since 1970, and for as
    long as the box becomes emptier. False: something still stands there.
    """
    keys, size = visit.profile.typing.clear, 0
    while keys and time.monotonic() < until and visit.server.last_activity() < at:
        look = visit.alive()
        seen = screen.judge(look, visit.profile)
        if seen.box is not None and seen.box.empty:
            return True
        if seen.box is None or seen.state != "draft" or 0 < size < len(seen.box.draft):
            return False
        size = len(seen.box.draft)
        if visit.press(keys, seen, look) and not _changes(visit.alive, look):
            return False
    return False


def _seen(visit: Visit, left: Leftover, composer: Composer) -> tuple[Look, screen.Judgement, str]:
    look = visit.alive()
    seen = screen.judge(look, visit.profile)
    return look, seen, "" if seen.state == "dialog" else left.stands(look, seen, composer)


def _submitted(
    visit: Visit, left: Leftover, composer: Composer, *, was_busy: bool, look: Look, until: float
) -> Verdict | None:
    """Press Enter behind it; the verdict if there is proof."""
    what = Pasted(left.text, composer, replace(look, screen=""), 0.0, said=left.text)
    limit = min(until, time.monotonic() + _SENDING)
    try:
        verdict = visit.enter(what, was_busy=was_busy, until=limit, step=lambda _: None)
    except RefusedError as why:
        raise DeferredError(f"text of ours stands in the input box; {why}") from None
    return verdict if verdict.verdict in {"submitted", "queued"} else None


def _taken_out(visit: Visit, left: Leftover, composer: Composer, until: float) -> None:
    """Press the profile's `clear` for as long as the box holds ours alone and becomes emptier.

    Raises:
        DeferredError: the profile names no such key, or something still stands there.
    """
    keys = visit.profile.typing.clear
    if not keys:
        raise DeferredError("text of ours stands in the input box, Enter does not submit it, and no key clears it")
    for _ in range(2 * left.text.count("\n") + 8):
        look = visit.alive()
        seen = screen.judge(look, visit.profile)
        if seen.box is not None and seen.box.empty:
            return
        if time.monotonic() > until or not left.fit_to_remove(look, seen, composer):
            break
        if visit.press(keys, seen, look) and not _changes(visit.alive, look):
            break
    raise DeferredError("text of ours stands in the input box, and is not to be taken out")


def _changes(look: Callable[[], Look], before: Look) -> bool:
    began = time.monotonic()
    while (waited := time.monotonic() - began) < _TAKES:
        now = look()
        if (now.screen, now.cursor_x, now.cursor_y) != (before.screen, before.cursor_x, before.cursor_y):
            return True
        time.sleep(pace(waited))
    return False
