"""A Procfile line, for honcho, foreman, overmind and their kin: they give it to a shell, so every word is quoted.

No `exec` stands in front: foreman executes the words as they are, and every shell replaces itself by a single command.
"""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

STOP_SECONDS = 4
"""The consumer's -t: honcho 2.0 sends SIGKILL 5 s after SIGTERM (honcho/manager.py, KILL_WAIT), and so does foreman."""

BUS_RESTART_SECONDS = 2  # as RestartSec= of its systemd unit

ENVIRONMENT = """\
# Read by honcho, foreman and overmind; holds for every line of the Procfile beside it.
BUS_WATCH_LOG_FORMAT=text
"""


def line(instance: str, consumer: Sequence[str], config: Path) -> str:
    """One worker, which serves every agent of one configuration. Process names are letters, digits, `-` and `_`."""
    name = re.sub(r"[^A-Za-z0-9_-]", "-", instance)
    return f"{name}: {shlex.join(['env', f'BUS_WATCH_CONFIG={config}', *consumer])}"


def bus_line(command: Sequence[str]) -> str:
    """The embedded bus, started again by its own line: who runs a Procfile ends all with the first process that ends.

    A signal to stop goes to the whole process group, shell and bus alike (honcho/process.py, foreman, overmind).
    """
    return f"bus: while :; do {shlex.join(command)}; sleep {BUS_RESTART_SECONDS}; done"


def merged(existing: str, new: str) -> str:
    """The Procfile with these lines in it, each in the place of an older one of the same name; all others stay."""
    lines = existing.splitlines()
    for line_of_ours in new.splitlines():
        name = line_of_ours.partition(":")[0] + ":"
        places = [index for index, other in enumerate(lines) if other.startswith(name)]
        if places:
            lines[places[0]] = line_of_ours
        else:
            lines.append(line_of_ours)
    return "\n".join(lines) + "\n"
