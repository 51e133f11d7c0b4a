"""Finds an old watcher that would still poll beside us: each message would be delivered twice.

The old tool and this one share a command's name. What is beside the command tells: only this one comes with
`huey_consumer`.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from worker import process_table
from worker.doctor.finding import Finding

OLD_NAME = "mumega-bus-watch"
_OURS = ("Written by `bus-watch install", "com.bus-watch.")
_COMMAND = re.compile(rf"[^\s\"'<>]*{OLD_NAME}\b")


def check(home: Path) -> Iterator[Finding]:
    """Everything that runs, or will start, the old tool."""
    found = [*_launch_agents(home), *_units(home), *_cron(), *_processes()]
    yield from found or [Finding("ok", "old watcher", "none is left")]


def _is_old(text: str) -> bool:
    """Whether this text starts a command of that name which is not one of ours."""
    return any(not _has_consumer(Path(command).expanduser().parent) for command in _COMMAND.findall(text))


def _has_consumer(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("huey_consumer", "huey_consumer.py"))


def _finding(text: str) -> Finding:
    return Finding("FAIL", "old watcher", f"{text}, or every message comes twice")


def _launch_agents(home: Path) -> Iterator[Finding]:
    for path in sorted(home.glob("Library/LaunchAgents/*.plist")):
        if _mentions(path):
            yield _finding(f"{path} starts one: launchctl bootout gui/$(id -u)/{path.stem}; rm {path}")


def _units(home: Path) -> Iterator[Finding]:
    for folder, control in (
        (home / ".config/systemd/user", "systemctl --user"),
        (Path("/etc/systemd/system"), "sudo systemctl"),
    ):
        for path in sorted(folder.glob("*.service")):
            if _mentions(path):
                yield _finding(f"{path} starts one: {control} disable --now {path.name}")


def _mentions(path: Path) -> bool:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return OLD_NAME in text and not any(mark in text for mark in _OURS) and _is_old(text)


def _cron() -> Iterator[Finding]:
    try:
        table = subprocess.run(["crontab", "-l"], check=False, capture_output=True, timeout=10).stdout  # noqa: S607 - cron's own command, wherever it lies
    except (OSError, subprocess.TimeoutExpired):
        return
    for line in table.decode("utf-8", "replace").splitlines():
        if not line.lstrip().startswith("#") and OLD_NAME in line and _is_old(line):
            yield _finding("your crontab starts one: take its line out with crontab -e")


def _processes() -> Iterator[Finding]:
    for pid, words in _commands():
        for index, word in enumerate(words[:3]):
            if Path(word).name == OLD_NAME and "run" in words[index + 1 :] and _is_old(word):
                yield _finding(f"process {pid} is one: stop it (kill {pid}) and what starts it again")


def _commands() -> Iterator[tuple[int, list[str]]]:
    """Every process that we may see, as pid and argv."""
    if process_table.HAS_PROC:
        yield from ((pid, process_table.arguments(pid)) for pid in process_table.pids())
        return
    for line in process_table.ps("-axo", "pid=,command=").splitlines():
        pid, _, command = line.strip().partition(" ")
        yield int(pid), command.split()
