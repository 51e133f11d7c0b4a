"""What a view does is what the command line does: each action is one of our own commands, run as a process."""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from worker.view.plain import one_line

LIMIT_SECONDS = 60.0

_KEYS_SHOWN = 3


def of_delivery(verb: Literal["retry", "drop"], key: str, transport: str) -> tuple[str, ...]:
    """`bus-watch retry` or `drop`."""
    return verb, key, "--transport", transport


def of_lane(verb: Literal["pause", "resume"], agent: str, transport: str) -> tuple[str, ...]:
    """`bus-watch pause` or `resume`."""
    return verb, transport, "--agent", agent


def of_deliveries(verb: Literal["retry", "drop"], keys: Sequence[str], transport: str) -> tuple[str, ...]:
    """The same for several messages at once."""
    return verb, *keys, "--transport", transport


def send(agent: str) -> tuple[str, ...]:
    """`bus-watch send`, by a person, in the agent's own name, whose token is at hand; the text is standard input."""
    return "send", agent, "-", "--as", agent, "-C", "human"


def shown(words: Sequence[str]) -> str:
    """A command as a person would type it; of many keys only the first, so that there is room for what it said."""
    keys = [word for word in words if "/" in word and not word.startswith("-")]
    if len(keys) <= _KEYS_SHOWN:
        return shlex.join(["bus-watch", *words])
    verb, *others = (word for word in words if word not in keys)
    return f"{shlex.join(['bus-watch', verb, keys[0]])} ... {len(keys) - 1} more {shlex.join(others)}"


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a command."""

    command: str
    """As it is shown."""
    status: int
    said: str
    """What it printed, in one line."""
    printed: tuple[str, ...] = ()
    """The same, as it was printed, without what a terminal would obey."""

    def __str__(self) -> str:
        """The command and what it said."""
        return f"{self.command}: {self.said or ('done' if self.status == 0 else f'exit {self.status}')}"


def run(config: Path, words: Sequence[str], text: str | None = None) -> Done:
    """Run `bus-watch WORDS...` on a configuration; `text` is its standard input. Never raises for what it does."""
    command = [sys.executable, "-m", "worker.cli.main", words[0], f"--config={config}", *words[1:]]
    try:
        done = subprocess.run(
            command,
            input=text or "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Done(shown(words), 1, str(error))
    whole = done.stdout + done.stderr
    said = " ".join((done.stdout + " " + done.stderr).split())
    return Done(shown(words), done.returncode, said, tuple(one_line(line, 400) for line in whole.splitlines()))
