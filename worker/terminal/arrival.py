"""The last message that was delivered into a pane: noted there by who delivered it, read by the agent that answers.

It lies in an option of the pane, so that it is found where the message is, whichever way it came and from which host.
"""

import base64
import json
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from worker import process_table
from worker.terminal import preamble

if TYPE_CHECKING:
    from worker.terminal.tmux import Server

OPTION = "@bus_watch_last"
_APP_SERVER = "app-server"  # `codex app-server`: runs the commands of every TUI, with the TMUX_PANE of who started it
_HINT = re.compile(r"bus-watch'? reply (?:--config (?:'[^']*'|\S+) )?([a-z0-9][\w.:/-]*?[0-9]+-[0-9]+)")
_ROLLOUT_TAIL = 4 * 1024 * 1024


class Arrival(NamedTuple):
    """A message as its agent has it: its key on the bus (empty: it came from a terminal) and the start of its line."""

    key: str
    line: str


def note(server: "Server", pane: str, key: str, text: str) -> None:
    """Note in the pane what has just been delivered there. What fails here is nobody's failure."""
    addressed = preamble.parse(text)
    if not pane or (addressed is None and not key):
        return
    line = preamble.prefix(addressed.source, addressed.destination) if addressed else ""
    value = base64.b64encode(json.dumps({"key": key, "line": line}).encode()).decode()
    try:
        server.run("set-option", "-p", "-t", pane, OPTION, value, timeout=2.0)
    except Exception:  # noqa: BLE001 - the message has arrived, whatever happens here
        return


def last(environment: Mapping[str, str]) -> Arrival | None:
    """The last message that came to the agent whose command this process is; None where that cannot be told."""
    if key := environment.get("SOS_MESSAGE_KEY"):  # a transport that answers by itself
        return Arrival(key, "")
    thread = environment.get("CODEX_THREAD_ID", "")
    if thread and (found := _of_codex(thread, environment)) is not None:
        return found
    pane = own_pane(environment)
    return _of_pane(pane) if pane else None


def own_pane(environment: Mapping[str, str]) -> str:
    """The id of the pane in which this process's agent is; empty outside tmux, and where it cannot be told."""
    pane = environment.get("TMUX_PANE", "")
    if not environment.get("TMUX") or not pane.startswith("%"):
        return ""
    if not is_below_app_server(environment):
        return pane
    here = os.path.realpath(os.getcwd())  # noqa: PTH109 - agents call this often: it starts without pathlib
    rows = _ask("list-panes", "-a", "-F", "#{pane_id}\t#{pane_current_command}\t#{pane_current_path}").splitlines()
    panes = [row.split("\t") for row in rows if row.count("\t") == 2]
    found = {id_ for id_, command, path in panes if command in {"codex", "node"} and os.path.realpath(path) == here}
    return found.pop() if len(found) == 1 else ""


def is_below_app_server(environment: Mapping[str, str]) -> bool:
    """Whether TMUX_PANE says nothing: this process was started by a server of many panes."""
    if not process_table.HAS_PROC:
        return "CODEX_THREAD_ID" in environment
    pid = os.getppid()
    for _ in range(30):
        if pid <= 1 or (fields := process_table.stat(pid)) is None:
            return False
        if _APP_SERVER in process_table.arguments(pid)[1:]:
            return True
        pid = int(fields[process_table.PARENT])
    return False


def _of_pane(pane: str) -> Arrival | None:
    try:
        found = json.loads(base64.b64decode(_ask("show-options", "-pqv", "-t", pane, OPTION).strip(), validate=True))
        return Arrival(str(found["key"]), str(found["line"]))
    except (ValueError, KeyError, TypeError):
        return None


def _ask(*words: str) -> str:
    from worker.terminal.runner import HostError, LocalRunner

    try:
        asked = LocalRunner().run(["tmux", "-u", *words])
    except HostError:
        return ""
    return asked.text if asked.status == 0 else ""


def _of_codex(thread: str, environment: Mapping[str, str]) -> Arrival | None:
    """What the thread's own record (rollout) has last: right whatever the pane. Format: codex-cli 0.171.0."""
    from pathlib import Path

    if not re.fullmatch(r"[0-9A-Za-z-]{8,64}", thread):
        return None
    home = Path(environment.get("CODEX_HOME") or "~/.codex").expanduser()
    for path in home.glob(f"sessions/*/*/*/rollout-*{thread}.jsonl"):
        with path.open("rb") as record:
            record.seek(max(0, os.fstat(record.fileno()).st_size - _ROLLOUT_TAIL))
            lines = record.read().splitlines()
        for line in reversed(lines):
            for text in _users_words(line):
                if (found := read(text)) is not None:
                    return found
    return None


def _users_words(line: bytes) -> list[str]:
    """The texts of a user's message in one line of a rollout."""
    try:
        payload = json.loads(line)["payload"]
        if payload["type"] == "message" and payload["role"] == "user":
            return [str(part["text"]) for part in payload["content"] if "text" in part]
    except (ValueError, KeyError, TypeError):
        pass
    return []


def members(text: str) -> list[str]:
    """The messages in one delivered text: several where they went together, each from its preamble on.

    No body can begin one of its own: its lines that look like a preamble are quoted.
    """
    lines = text.lstrip().split("\n")
    starts = [number for number, line in enumerate(lines) if number == 0 or preamble.GRAMMAR.match(line)]
    ends = [*starts[1:], len(lines)]
    return ["\n".join(lines[start:end]) for start, end in zip(starts, ends, strict=True)]


def read(text: str, *, which: int = -1) -> Arrival | None:
    """A delivered message taken apart; None where it is no line of ours. Of several that went together the last."""
    addressed = preamble.parse(members(text)[which])
    if addressed is None:
        return None
    hints = _HINT.findall(addressed.body)
    return Arrival(hints[-1] if hints else "", preamble.prefix(addressed.source, addressed.destination))
