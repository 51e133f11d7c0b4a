"""What a target names: which of a server's panes it means, exactly, and what to say if it means none. Pure.

A target is `%ID`, `SESSION`, `SESSION:`, `SESSION:WINDOW` or `SESSION:WINDOW.PANE`; WINDOW is an index or a name. Never
a prefix, never a pattern, and never another pane than the one whose name was said. A pane that several sessions show
(a grouped session, a linked window) is found under each of its names.
"""

import re
from collections.abc import Sequence

from msgspec import Struct

_PANE_ID = re.compile(r"%\d+")
_CHANGED = re.compile(r"\\[nt]|[.:\s\\]")  # tmux 3.3a: `.` and `:` become `_`, the others are escaped


class Pane(Struct, frozen=True):
    """One pane at one place, as `list-panes` has it; a pane in several sessions has a place in each."""

    id: str
    dead: bool
    pid: int
    tty: str
    window: str
    index: str
    session: str
    window_name: str


def matching(panes: Sequence[Pane], target: str) -> list[Pane]:
    """The panes that `target` means, each once. `%1` means the pane of that id, and the session that is called so."""
    session, colon, rest = target.partition(":")
    within = [one for one in panes if one.session == session]
    if colon and rest:
        within = _in_window(within, rest)
    elif not colon and _PANE_ID.fullmatch(target):
        within = [one for one in panes if one.id == target] + within
    found: dict[str, Pane] = {}
    for one in within:
        found.setdefault(one.id, one)
    return list(found.values())


def _in_window(panes: Sequence[Pane], rest: str) -> list[Pane]:
    """Of one session's panes those that WINDOW or WINDOW.PANE means; an index goes before a name, as in tmux."""
    window, dot, index = rest.rpartition(".")
    tries = [
        [one for one in panes if one.window == rest],
        [one for one in panes if one.window_name == rest],
        [one for one in panes if dot and one.window == window and one.index == index],
        [one for one in panes if dot and one.window_name == window and one.index == index],
    ]
    return next((found for found in tries if found), [])


def ambiguous(panes: Sequence[Pane], target: str) -> str:
    """Why `target` may mean one as well as another, and how to say which; empty if it does not.

    A pane's id may also be a session's name.
    """
    if not _PANE_ID.fullmatch(target) or not any(one.session == target for one in panes):
        return ""
    if {one.id for one in panes if one.session == target} == {target}:
        return ""
    by_id = [f"{one.session}:{one.window}.{one.index}" for one in panes if one.id == target]
    if not by_id:
        return ""
    return f"{target!r} is a pane's id ({by_id[0]}) and a session's name: say {by_id[0]!r} or {target + ':'!r}"


def renamed(panes: Sequence[Pane], target: str) -> str:
    """What tmux may have made of the session's name in a `target` that means no pane; empty: nothing is like it."""
    wanted = {_folded(target), _folded(target.partition(":")[0]), _folded(target.rpartition(":")[0])} - {""}
    like = sorted({one.session for one in panes if _folded(one.session) in wanted})
    return like[0] if like else ""


def hint(panes: Sequence[Pane], target: str) -> str:
    """What may have been meant by a `target` that means no pane; empty: nothing is like it."""
    session = target.partition(":")[0]
    if own := [f"{one.session}:{one.window}.{one.index}" for one in panes if one.session == session]:
        return f"that session has {', '.join(dict.fromkeys(own))}; "
    name = renamed(panes, target)
    return f"tmux changes some characters in names: that session is called {name!r}; " if name else ""


def _folded(name: str) -> str:
    """`name` without what tmux changes in a session's name."""
    return _CHANGED.sub("_", name.replace("\\\\", "\\").replace("\\$", "$"))
