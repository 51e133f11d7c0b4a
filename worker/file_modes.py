"""Whether somebody else of this machine could change what we trust: the one rule for what is run and what says so.

As ssh with `StrictModes` looks at a key and the folders above it: the user's own or root's, and not writable by all
(sshd_config(5)). A group may be a person's own, or one of administrators (/usr/local/bin belongs to `staff` on
Debian), so it is `doctor` alone that looks at groups.
"""

import contextlib
import functools
import os
import pwd
import stat
from collections.abc import Iterator


def exposed(path: str | os.PathLike[str], user: int | None = None) -> str | None:
    """Why somebody else could change or replace this file, with the remedy; None where nobody unasked can.

    `user` is who trusts it, by default this process's. The folders above it count, and each link on the way. In a
    folder with the sticky bit (/tmp) nobody replaces what somebody else owns. What is not there yet, or cannot be
    looked at, is for others to say.
    """
    user = os.geteuid() if user is None else user
    path = os.fspath(path)
    known = _fine.get((path, user))
    if known is not None and is_as_seen(known):
        return None
    places: list[str] = []
    reason = _exposed(path, user, places)
    if reason is None:
        _fine[path, user] = {place: _mark(place) for place in places}
    else:
        _fine.pop((path, user), None)
    return reason


Seen = dict[str, tuple[int, ...] | None]
"""How each place on the way to a file was: as long as that is the same, so is any verdict on the file's modes."""

_fine: dict[tuple[str, int], Seen] = {}  # when all was well


def seen_fine(path: str) -> Seen | None:
    """How all on the way was when `exposed` last found nothing, for this process's user."""
    return _fine.get((path, os.geteuid()))


def is_as_seen(seen: Seen) -> bool:
    """Whether it is so still. This is asked at every delivery."""
    for place, mark in seen.items():  # noqa: SIM110 - a generator costs more than the comparison
        if _mark(place) != mark:
            return False
    return True


def _mark(place: str) -> tuple[int, ...] | None:
    """All that a verdict depends on; None: it is not there."""
    try:
        status = os.lstat(place)
    except OSError:
        return None
    mode = status.st_mode
    # When a link was changed: where it leads to may be another place.
    return mode, status.st_uid, status.st_dev, status.st_ino, status.st_ctime_ns if stat.S_ISLNK(mode) else 0


def _exposed(path: str, user: int, seen: list[str]) -> str | None:
    for place in _places(os.path.abspath(path)):  # noqa: PTH100 - links are looked at one by one
        seen.append(place)
        try:
            status = os.lstat(place)
        except OSError:
            continue
        mode = status.st_mode
        open_to_all = mode & stat.S_IWOTH and not stat.S_ISLNK(mode)
        if open_to_all and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
            return f"every user of this machine can change {place}: chmod o-w {place}"
        if status.st_uid not in {0, user} and status.st_uid != _nobody_known():
            owner, me = _name(status.st_uid), _name(user)
            return f"{place} belongs to {owner}, who can change it: run this as {owner}, or chown {me} {place}"
    return None


@functools.cache
def _nobody_known() -> int | None:
    """Whom files seem to belong to whose owner this user namespace does not know: that says nothing of the owner.

    In bubblewrap even /usr does. See user_namespaces(7), "Unmapped user and group IDs".
    """
    try:
        with open("/proc/self/uid_map") as source:  # noqa: PTH123 - at every delivery, so no pathlib is loaded for it
            everybody = source.read().split() == ["0", "0", "4294967295"]
        with open("/proc/sys/kernel/overflowuid") as source:  # noqa: PTH123 - the same
            return None if everybody else int(source.read())
    except (OSError, ValueError):
        return None


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


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
