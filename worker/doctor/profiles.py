"""Agent profiles: each is read to the last key, since one with a mistake disables the agent it is for."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from worker.doctor.finding import Finding
from worker.terminal import profile_files
from worker.terminal.profiles import ProfileError


def check(environment: Mapping[str, str]) -> Iterator[Finding]:
    """One finding for each file with a mistake, and one for all that are right, if any are the owner's.

    Args:
        environment: of the doctor. Transports are given HOME and not XDG_CONFIG_HOME, commands that a person runs both.
    """
    home = {"HOME": environment.get("HOME", "")}
    own = {profile_files.user_directory(environment), profile_files.user_directory(home)}
    right, shipped = [], 0
    for directory in [*sorted(own), profile_files.SHIPPED]:
        if directory.is_dir() and not os.access(directory, os.R_OK | os.X_OK):
            yield Finding("FAIL", "agent profiles", f"{directory} cannot be read: your own profiles are not used")
        for name in profile_files.names([directory]):
            try:
                profile_files.load(name, [directory])
            except ProfileError as why:
                yield Finding("FAIL", "agent profiles", f"{why}; until then nothing is typed into this agent")
                continue
            if directory == profile_files.SHIPPED:
                shipped += 1
            else:
                right.append(_described(name, directory))
    if right:
        yield Finding("ok", "agent profiles", f"{shipped} shipped; your own: {', '.join(right)}")


def _described(name: str, directory: Path) -> str:
    shipped = name in profile_files.names([profile_files.SHIPPED])
    return f"{directory / name}.toml{' (instead of the shipped one)' if shipped else ''}"
