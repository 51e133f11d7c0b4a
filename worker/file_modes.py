"""Whether every user of this machine could change what we trust: the one rule for what is run and what says so.

As ssh with `StrictModes` looks at the folders above a key (sshd_config(5)). A group may be a person's own, or one of
administrators (/usr/local/bin belongs to `staff` on Debian), so it is `doctor` alone that looks at groups.
"""

import contextlib
import os
import stat
from collections.abc import Iterator


def exposed(path: str | os.PathLike[str]) -> str | None:
    """Why everybody could change or replace this file, with the remedy; None where nobody unasked can.

    The folders above it count, and each link on the way. In a folder with the sticky bit (/tmp) nobody replaces what
    somebody else owns. What is not there yet, or cannot be looked at, is for others to say.
    """
    for place in _places(os.path.abspath(path)):  # noqa: PTH100 - links are looked at one by one
        try:
            mode = os.lstat(place).st_mode
        except OSError:
            continue
        open_to_all = mode & stat.S_IWOTH and not stat.S_ISLNK(mode)
        if open_to_all and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
            return f"every user of this machine can change {place}: chmod o-w {place}"
    return None


def _places(path: str) -> Iterator[str]:
    """The file, every folder above it, and the same for the target of each link among them."""
    todo, seen = [path], set[str]()
    while todo:
        place = todo.pop()
        while place not in seen:
            seen.add(place)
            yield place
            with contextlib.suppress(OSError):  # no link
                target = os.readlink(place)  # noqa: PTH115 - at every delivery, and a Path costs more than the look
                todo.append(os.path.abspath(f"{os.path.dirname(place)}/{target}" if target[0] != "/" else target))  # noqa: PTH100, PTH120 - links are looked at one by one
            place = os.path.dirname(place)  # noqa: PTH120 - the same
