"""Where agent profiles lie, and how one file is read.

One TOML file per agent, called `NAME.toml`: the shipped ones in `profiles/` beside this module, a user's own in
`~/.config/bus-watch/profiles/`, where a file of the same name replaces the shipped one.

Promises: only a plain file of a size that a person writes is read. Whatever else is called so (a folder, a link to
nothing, a pipe, a file without permission) is a `ProfileError` that names it, and is felt by its own agent only.
"""

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from worker.terminal.profiles import Profile, ProfileError, parse

SHIPPED = Path(__file__).with_name("profiles")

_MOST = 64 * 1024  # bytes; the longest shipped one has 2,000


def user_directory(environment: Mapping[str, str]) -> Path:
    """Where a person keeps profiles of their own."""
    base = environment.get("XDG_CONFIG_HOME", "")
    home = environment.get("HOME") or "~"
    return (Path(base) if base.startswith("/") else Path(home).expanduser() / ".config") / "bus-watch/profiles"


def names(directories: Iterable[Path]) -> list[str]:
    """Every profile's name, sorted: of whatever is called `NAME.toml`, but for what an editor hides beside it."""
    found = set()
    for directory in directories:
        try:
            files = os.listdir(directory)  # noqa: PTH208 - once a send
        except OSError:
            continue  # there is none; `doctor` says if it cannot be read
        found |= {one[:-5] for one in files if one.endswith(".toml") and not one.startswith(".")}
    return sorted(found)


def path_of(name: str, directories: Iterable[Path]) -> Path:
    """The file of the profile called `name`, in the first of the directories that has it.

    Raises:
        ProfileError: there is none.
    """
    searched = list(directories)
    if name and "/" not in name and not name.startswith("."):
        for directory in searched:
            path = directory / f"{name}.toml"
            if os.path.lexists(path):
                return path
    known = ", ".join(names(searched))
    raise ProfileError(f"no profile is called {name!r}; there are: {known}")


def read(path: Path) -> str:
    """The text of one profile file.

    Raises:
        ProfileError: it cannot be read, or is none.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not be waited for
    except OSError as why:
        broken = ", a link to nothing" if path.is_symlink() and isinstance(why, FileNotFoundError) else ""
        raise ProfileError(f"{path}: cannot be read: {why.strerror}{broken}") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ProfileError(f"{path}: cannot be read: a profile is a plain file, and that is none")
        data = _all(descriptor)
    except OSError as why:
        raise ProfileError(f"{path}: cannot be read: {why.strerror}") from None
    finally:
        os.close(descriptor)
    if len(data) > _MOST:
        raise ProfileError(f"{path}: cannot be read: it has more than {_MOST // 1024} KiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as why:
        line = data.count(b"\n", 0, why.start) + 1
        raise ProfileError(f"{path}:{line}: cannot be read: byte {data[why.start]:#04x} is no UTF-8") from None


def _all(descriptor: int) -> bytes:
    """What the file holds, to a byte more than it may."""
    data = b""
    while part := os.read(descriptor, _MOST + 1 - len(data)):
        data += part
    return data


def load(name: str, directories: Iterable[Path]) -> Profile:
    """The profile called `name`, from the first of the directories that has it.

    Raises:
        ProfileError: there is none, or it cannot be used.
    """
    path = path_of(name, directories)
    return parse(name, read(path), str(path))
