"""The owner's agent profiles: each is read to the last key, since one with a mistake disables the agent it is for."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from worker.doctor.finding import Finding
from worker.terminal import profiles


def check(environment: Mapping[str, str]) -> Iterator[Finding]:
    """One finding for each file with a mistake, and one for all that are right.

    Args:
        environment: of the doctor. Transports are given HOME and not XDG_CONFIG_HOME, commands that a person runs both.
    """
    found = {profiles.user_directory(environment), profiles.user_directory({"HOME": environment.get("HOME", "")})}
    right = []
    for directory in sorted(found):
        for name in profiles.names([directory]):
            try:
                profiles.load(name, [directory])
            except profiles.ProfileError as why:
                yield Finding("FAIL", "agent profiles", f"{why}; until then nothing is typed into this agent")
            else:
                right.append(_described(name, directory))
    if right:
        yield Finding("ok", "agent profiles", f"your own: {', '.join(right)}")


def _described(name: str, directory: Path) -> str:
    shipped = name in profiles.names([profiles.SHIPPED])
    return f"{directory / name}.toml{' (instead of the shipped one)' if shipped else ''}"
