"""Every profile that there is, each read when somebody needs it.

Promises: to find who runs in a pane, only the files are read in full that can match; a file with a mistake disables
the agent that it is for, and nobody else. Iterating gives names; `[name]` loads, and raises `ProfileError` for a bad
file.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from worker.terminal.processes import Process, match
from worker.terminal.profile_files import SHIPPED, names, path_of, read, user_directory
from worker.terminal.profiles import Profile, ProfileError, parse

# A list of strings, in which there may be brackets, and comments; TOML allows quotes around the key. What has been read
# is not read in other ways (`*+`): without its end a list with a few comments would take for ever. A key that is
# misspelt, or has one string instead of a list, is found as well, so that its mistake is told to whom the file is for.
_MATCHED = re.compile(
    r"""\b[cs]\w*["']?\s*=\s*\[((?:"[^"\n]*"|'[^'\n]*'|#[^\n]*+|[^]"'#])*+)\]"""
    r"""|\b(?:com|scri)\w*["']?\s*=\s*("[^"\n]*"|'[^'\n]*')"""
)
_QUOTED = re.compile(r"""["']([^"'\n]+)["']""")


class Catalogue(Mapping[str, Profile]):
    """Profiles by name; the first directory that has a file of that name wins."""

    def __init__(self, directories: Iterable[Path]) -> None:
        self._directories = list(directories)
        self._names = names(self._directories)
        self._texts: dict[str, tuple[Path, str]] = {}
        self._loaded: dict[str, Profile] = {}
        self._words: dict[str, frozenset[str]] = {}

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Catalogue":
        """The user's own and the shipped ones."""
        return cls([user_directory(environment), SHIPPED])

    def __getitem__(self, name: str) -> Profile:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._loaded:
            path, text = self._text(name)
            self._loaded[name] = parse(name, text, str(path))
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def knowing(self, processes: Iterable[Process]) -> tuple[Profile, Process] | None:
        """The profile that knows one of the processes, and that process.

        Of several the more specific one: a part of a script's path before a name, a longer one before a shorter; of
        two that are alike the user's own.

        Raises:
            ProfileError: the file that is probably meant for it cannot be used, and no other knows it.
        """
        group = list(processes)
        found: list[tuple[int, Profile, Process]] = []
        broken: ProfileError | None = None
        for name in self._names:
            try:
                if not self._may_match(name, group):
                    continue
                profile = self[name]
            except ProfileError as why:
                broken = broken or why
                continue
            if (process := match(group, profile)) is not None:
                found.append((_specific(profile, process), profile, process))
        found.sort(key=lambda one: self._rank(one[1].name))
        if found:
            _, profile, process = max(found, key=lambda one: one[0])
            return profile, process
        if broken is not None:
            raise broken
        return None

    def why_not(self, group: Iterable[Process], known: str) -> dict[str, str]:
        """Each profile but the one called `known`, and why it is not the one for these processes."""
        processes = list(group)
        reasons = {}
        for name in self._names:
            if name == known:
                continue
            try:
                profile = self[name]
            except ProfileError as why:
                reasons[name] = f"its file has a mistake: {why}"
                continue
            if profile.composer is None:
                reasons[name] = "it is used only if you name it: it looks at nothing, and pastes into dialogs, too"
            elif match(processes, profile) is not None:
                reasons[name] = f"it knows the process as well, and names less of it than {known or 'another'}"
            else:
                called = ", ".join(sorted(profile.commands))
                scripts = f", and none runs {', '.join(profile.scripts)}" if profile.scripts else ""
                reasons[name] = f"no process is called {called}{scripts}"
        return reasons

    def _rank(self, name: str) -> int:
        """In which of the directories the profile lies, from 0: the user's own come first."""
        with contextlib.suppress(ProfileError, ValueError):
            return self._directories.index(self._text(name)[0].parent)
        return len(self._directories)

    def _may_match(self, name: str, group: list[Process]) -> bool:
        """Whether the file names what could match; to read all of a file costs ten times as much."""
        if (words := self._words.get(name)) is None:
            lists: list[tuple[str, str]] = []
            with contextlib.suppress(ProfileError):  # it is told to whoever needs it
                lists = _MATCHED.findall(self._text(name)[1])
            # A file that cannot be read is at least for the agent it is called after.
            words = frozenset([name, *(word for one in lists for word in _QUOTED.findall("".join(one)))])
            self._words[name] = words
        return any(words & one.names or any(word in one.script for word in words if one.script) for one in group)

    def _text(self, name: str) -> tuple[Path, str]:
        if name not in self._texts:
            path = path_of(name, self._directories)
            self._texts[name] = path, read(path)
        return self._texts[name]


def _specific(profile: Profile, process: Process) -> int:
    """How much of the process the profile names."""
    parts = [len(one) for one in profile.scripts if process.script and one in process.script]
    return 1000 + max(parts) if parts else max((len(one) for one in profile.commands & process.names), default=0)
