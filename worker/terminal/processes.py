"""Who would read what is typed into a pane: the foreground process group of its tty, and what it executes.

A pane's command name proves nothing (`node` is codex, gemini and a thousand others; a suspended agent leaves
its shell in front), so this asks the kernel: `/proc` on Linux, here and elsewhere, portable `ps` on other systems.
"""

import os
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct

from worker import process_table
from worker.process_table import ENDED, FOREGROUND, GROUP, HAS_PROC, START, STATE, TERMINAL
from worker.terminal import far_processes
from worker.terminal.profiles import Profile
from worker.terminal.runner import LocalRunner, Runner

SHELLS = frozenset(
    [
        *("sh", "bash", "rbash", "dash", "ash", "busybox", "zsh", "ksh", "ksh93", "mksh", "oksh", "yash"),
        *("csh", "tcsh", "fish", "nu", "elvish", "xonsh", "pwsh", "login", "su"),
    ]
)
CARRIERS = {
    "tmux": "a tmux client; send to the session that it shows",
    "screen": "screen",
    "zellij": "zellij",
    "ssh": "ssh; use -H with the session on the far host",
    "mosh-client": "mosh; use -H with the session on the far host",
    "autossh": "ssh; use -H with the session on the far host",
}
INTERPRETER = re.compile(r"(?:node|nodejs|bun|deno|ruby|python[\d.]*|pypy[\d.]*|uv|npx)$")
_SUFFIX = re.compile(r"\.(?:[cm]?js|ts|py|rb)$")
_OPTIONS_WITH_VALUE = frozenset(["-r", "--require", "--import", "--loader", "-X", "-W", "-C", "--conditions"])


class Process(Struct, frozen=True):
    """One process of the foreground group."""

    pid: int
    names: frozenset[str]
    """What it may be called: program, comm, argv[0], and the script or module it interprets."""
    script: str
    """The path of the script that an interpreter runs, or empty."""
    age: float
    """Seconds since it started."""

    @property
    def name(self) -> str:
        """The shortest name, for messages."""
        return min(self.names, key=lambda one: (len(one), one)) if self.names else "?"


def foreground(runner: Runner, tty: str, root: int = 0) -> list[Process]:
    """The processes that read the terminal `tty` now, the oldest first; empty if that cannot be found out.

    A child that an agent has just forked is called what the agent is until it executes something else, and where pids
    have wrapped (Linux: after 32,768 of them, if nobody has changed that) its own may be the lower one.

    Args:
        runner: of the terminal's host.
        tty: its path there.
        root: the process that tmux started in it; its descendants are looked through before everybody else.
    """
    if isinstance(runner, LocalRunner) and HAS_PROC:
        return _from_proc(tty, root)
    if not isinstance(runner, LocalRunner) and (listed := far_processes.foreground(runner, tty)) is not None:
        return _oldest_first(_process(one.pid, one.argv, one.comm, "", one.age) for one in listed)
    return _from_ps(runner, tty)


def match(processes: Iterable[Process], profile: Profile) -> Process | None:
    """The first process that `profile` knows, if one is among them."""
    for one in processes:
        if one.names & profile.commands or any(part in one.script for part in profile.scripts if one.script):
            return one
    return None


def only_shells(processes: Sequence[Process]) -> bool:
    """Whether a shell would read the text. A wrapper script's shell has its agent beside it in the group."""
    return bool(processes) and all(one.names & SHELLS for one in processes)


def carrier(processes: Iterable[Process]) -> str:
    """What a process is that only carries another terminal; empty if none is."""
    for one in processes:
        for name in one.names:
            if name in CARRIERS or name.startswith("tmux: "):
                return CARRIERS.get(name, CARRIERS["tmux"])
    return ""


def names_of(argv: Sequence[str], comm: str = "", exe: str = "") -> tuple[frozenset[str], str]:
    """The names of a process and the script it runs, from its argument vector."""
    program = argv[0].lstrip("-") if argv else ""
    names = {_base(program), _base(comm.lstrip("-")), _base(exe.removesuffix(" (deleted)"))} - {""}
    script = ""
    if any(INTERPRETER.match(one) for one in names):
        script = _script(argv[1:])
        if script:
            names.add(_base(script))
    return frozenset(names), script


def _base(path: str) -> str:
    return _SUFFIX.sub("", path.rsplit("/", 1)[-1].strip())


def _script(arguments: Sequence[str]) -> str:
    words = iter(arguments)
    for word in words:
        if word == "-m":
            return next(words, "")
        if word in {"-c", "-e", "--eval", "-p", "--print"}:
            return ""
        if word in _OPTIONS_WITH_VALUE:
            next(words, None)
        elif not word.startswith("-") and word != "run":
            return word
    return ""


def _from_proc(tty: str, root: int = 0) -> list[Process]:
    try:
        device = Path(tty).stat().st_rdev
    except OSError:
        return []
    major, minor = os.major(device), os.minor(device)
    number = (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)  # as /proc/PID/stat encodes it, proc(5)
    seen = _on_terminal(process_table.descendants(root, lambda fields: int(fields[TERMINAL]) == number), number)
    # A group whose leader is not among them was not started from here, or its leader has ended and left it to init.
    if not any(pid == int(fields[FOREGROUND]) for pid, fields in seen.items()):
        seen = _on_terminal(((pid, process_table.stat(pid)) for pid in process_table.pids()), number)
    uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
    ticks = os.sysconf("SC_CLK_TCK")
    found: list[Process] = []
    for pid, fields in seen.items():
        if fields[GROUP] != fields[FOREGROUND] or fields[STATE] in ENDED:
            continue
        exe = process_table.link(pid, "exe") or ""
        age = uptime - int(fields[START]) / ticks
        found.append(_process(pid, process_table.arguments(pid), process_table.name(pid), exe, age))
    return _oldest_first(one for one in found if one.names)  # one without has just ended


def _oldest_first(found: Iterable[Process]) -> list[Process]:
    return sorted(found, key=lambda one: (-one.age, one.pid))


def _process(pid: int, argv: list[str], comm: str, exe: str, age: float) -> Process:
    """From what `/proc` says; one that writes its own title has all of it in one argument."""
    names, script = names_of(argv[0].split() if len(argv) == 1 else argv, comm, exe)
    return Process(pid, names, script, age)


def _on_terminal(listed: Iterable[tuple[int, list[bytes] | None]], number: int) -> dict[int, list[bytes]]:
    return {pid: fields for pid, fields in listed if fields is not None and int(fields[TERMINAL]) == number}


def _from_ps(runner: Runner, tty: str) -> list[Process]:
    terminal = tty.removeprefix("/dev/")
    listed = runner.run(
        [
            "ps",
            "-ww",
            "-t",
            terminal,
            "-o",
            "pid=",
            "-o",
            "pgid=",
            "-o",
            "tpgid=",
            "-o",
            "stat=",
            "-o",
            "etime=",
            "-o",
            "args=",
        ]
    )
    commands = runner.run(["ps", "-ww", "-t", terminal, "-o", "pid=", "-o", "comm="])
    comm_of = {}
    for line in commands.text.splitlines():
        pid, _, comm = line.strip().partition(" ")
        comm_of[pid] = comm.strip()
    found = []
    for line in listed.text.splitlines():
        words = line.split(None, 5)
        if len(words) < 6 or not words[0].isdigit() or words[1] != words[2] or words[3][:1] in "ZX":
            continue
        names, script = names_of(words[5].split(), comm_of.get(words[0], ""))
        found.append(Process(int(words[0]), names, script, _seconds(words[4])))
    return _oldest_first(found)


def _seconds(elapsed: str) -> float:
    """`ps`'s etime, [[dd-]hh:]mm:ss, as seconds."""
    days, _, clock = elapsed.rpartition("-")
    total = 0
    for part in clock.split(":"):
        total = total * 60 + (int(part) if part.isdigit() else 0)
    return float(total + 86400 * (int(days) if days.isdigit() else 0))
