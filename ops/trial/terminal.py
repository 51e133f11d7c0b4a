"""A tmux server of one's own, and what its panes show."""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ops.trial.stopping import go_on

FIELDS = (
    "cursor_x",
    "cursor_y",
    "cursor_flag",
    "pane_width",
    "pane_height",
    "alternate_on",
    "pane_in_mode",
    "pane_dead",
    "pane_current_command",
    "pane_title",
)
"""What tmux knows of a pane beside its text; the title comes last, as it alone may hold any character."""


SGR = re.compile(r"\x1b\[[0-9;:]*m")
_DRAWN = re.compile(r"^.*[\u2800-\u28ff]{4}.*$| +$", re.MULTILINE)
"""What moves for ever: a row of a picture in Braille (Vibe's logo; spinners are shorter), blanks at a row's end."""


@dataclass(frozen=True)
class Screen:
    """One moment of a pane: its text with escape sequences (`capture-pane -e`), and the fields above."""

    text: str
    cursor_x: int
    cursor_y: int
    cursor_flag: int
    pane_width: int
    pane_height: int
    alternate_on: int
    pane_in_mode: int
    pane_dead: int
    pane_current_command: str
    pane_title: str

    @property
    def plain(self) -> "Screen":
        """The same without colours and attributes."""
        return replace(self, text=SGR.sub("", self.text))

    @property
    def at_rest(self) -> "Screen":
        """The same without what moves for ever: colours, as in a cursor that a UI draws itself, and pictures."""
        return replace(self, text=_DRAWN.sub("", self.plain.text))


@dataclass(frozen=True)
class Server:
    """A tmux server on a socket of its own (`-L name`), reading no configuration."""

    name: str

    def run(self, *args: str, stdin: str | None = None) -> str:
        """tmux, with `args`; its standard output. Raises CalledProcessError."""
        done = subprocess.run(
            ["tmux", "-L", self.name, "-f", "/dev/null", *args],
            input=stdin,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            env=_environment(),
        )
        return done.stdout

    def start(
        self,
        session: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        size: tuple[int, int] = (200, 50),
    ) -> str:
        """Start `argv` in a new session of that size; the pane's id. The pane stays when the program ends."""
        whole = ["env", "-i", *(f"{k}={v}" for k, v in env.items()), *argv]
        pane = self.run(
            "new-session",
            "-d",
            "-P",
            "-F",
            "#{pane_id}",
            "-s",
            session,
            "-x",
            str(size[0]),
            "-y",
            str(size[1]),
            "-c",
            str(cwd),
            "--",
            *whole,
        ).strip()
        self.run("set-option", "-t", f"={session}:", "status", "off")
        return pane

    def screen(self, pane: str) -> Screen:
        """What the pane shows now."""
        fields = "\t".join(f"#{{{f}}}" for f in FIELDS)
        # In one command list, or the cursor is of another moment than the text.
        shown = self.run("display-message", "-p", "-t", pane, fields, ";", "capture-pane", "-e", "-p", "-t", pane)
        line, _, text = shown.partition("\n")
        values = dict(zip(FIELDS, line.split("\t", len(FIELDS) - 1), strict=True))
        numbers = {k: int(v or 0) for k, v in values.items() if k not in {"pane_current_command", "pane_title"}}
        return Screen(
            text=text, pane_current_command=values["pane_current_command"], pane_title=values["pane_title"], **numbers
        )

    def type(self, pane: str, text: str) -> None:
        """Type as a person does: key by key, no paste, no Enter."""
        self.run("send-keys", "-t", pane, "-l", "--", text)

    def keys(self, pane: str, *names: str) -> None:
        """Press keys, by tmux's names for them."""
        self.run("send-keys", "-t", pane, *names)

    def press(self, pane: str, keys: Sequence[str]) -> None:
        """Keys by tmux's names, slowly enough for menus; what is none, such as a command of the UI, is typed."""
        for key in keys:
            if len(key) == 1 or key.startswith(("C-", "M-")) or key in {"Enter", "Escape", "Tab", "BTab", "BSpace"}:
                self.keys(pane, key)
            else:
                self.type(pane, key)
            time.sleep(0.8)

    def paste(self, pane: str, text: str) -> None:
        """Paste as a terminal does, in brackets; no Enter."""
        self.run("load-buffer", "-b", "trial", "-", stdin=text)
        self.run("paste-buffer", "-p", "-d", "-b", "trial", "-t", pane)

    def still(self, pane: str, *, quiet: float = 1.0, limit: float = 30.0) -> Screen:
        """The screen once it has not changed (`at_rest`) for `quiet` seconds, or as it is after `limit` seconds."""
        end = time.monotonic() + limit
        last, since = self.screen(pane), time.monotonic()
        while time.monotonic() < end:
            go_on()
            time.sleep(0.1)
            now = self.screen(pane)
            if now.at_rest != last.at_rest:
                since = time.monotonic()
            last = now
            if time.monotonic() - since >= quiet:
                break
        return last

    def stop(self) -> None:
        """End the server, and every process that its panes started and left behind."""
        try:
            panes = self.run("list-panes", "-a", "-F", "#{pane_pid}").split()
        except subprocess.CalledProcessError:
            panes = []
        left = {pid for pane in panes for pid in descendants(int(pane))}
        subprocess.run(["tmux", "-L", self.name, "kill-server"], capture_output=True, check=False, timeout=60)
        end_processes(left)


def _environment() -> dict[str, str]:
    """Ours, without what would make tmux talk to another server."""
    return {k: v for k, v in os.environ.items() if k not in {"TMUX", "TMUX_PANE"}} | {"LC_ALL": "C.UTF-8"}


def descendants(pid: int) -> set[int]:
    """`pid` and all that it started, directly or not, and that still live."""
    listing = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    children: dict[int, list[int]] = {}
    for line in listing.splitlines():
        child, parent = line.split()
        children.setdefault(int(parent), []).append(int(child))
    found, todo = set(), [pid]
    while todo:
        one = todo.pop()
        found.add(one)
        todo += children.get(one, [])
    return found


def naming(path: Path, *words: str) -> set[int]:
    """The processes whose command names something in `path`, and has those words in it."""
    listing = subprocess.run(
        ["ps", "-ww", "-e", "-o", "pid=,args="], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    return {int(line.split()[0]) for line in listing.splitlines() if all(one in line for one in (f"{path}/", *words))}


def end_processes(pids: set[int]) -> None:
    """Ask each of `pids` to end, and kill what is still there after five seconds."""
    for number, wait in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        end = time.monotonic() + wait
        while pids and time.monotonic() < end:
            pids = {pid for pid in pids if _alive(pid)}
            time.sleep(0.05)
        if not pids:
            return


def _alive(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):  # our own child stays until somebody asks how it ended
        os.waitpid(pid, os.WNOHANG)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
