"""Which of its server's threads a pane's Codex shows, so far as anybody can know.

Facts are codex-cli 0.171.0's, found by running it. No request says it. So it must be the only thread of a terminal UI
in the pane's directory, and the server must have as many of those as there are terminal UIs: a person may have opened
another directory's thread, or none yet.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker import process_table
from worker.terminal.channels.channel import AsideError, DriftError, Site
from worker.terminal.channels.jsonrpc import JsonRpc, RefusedCallError, UnknownCallError
from worker.terminal.processes import names_of
from worker.terminal.text import squeeze

REMOTE = re.compile(r"--remote[= ]unix://(/\S+)")


@dataclass(frozen=True, slots=True)
class Thread:
    """What `thread/read` says of one."""

    id: str
    name: str
    cwd: str
    rollout: str
    active: bool


def home_of(environment: Mapping[str, str], home: str) -> str:
    """CODEX_HOME of a process, whose user's home is `home`."""
    return str(environment.get("CODEX_HOME") or os.path.join(home, ".codex"))  # noqa: PTH118 - as above


def loaded(rpc: JsonRpc, until: float) -> list[Thread]:
    """The threads that terminal UIs have open on this server."""
    found = []
    for one in loaded_ids(rpc, until):
        try:
            thread = rpc.call("thread/read", until, threadId=str(one)).get("thread")
        except UnknownCallError:
            raise
        except RefusedCallError:  # it has just been closed
            continue
        if (known := read(thread)) is None:
            continue
        if known.id != one:
            raise DriftError("its server answers for another thread")
        found.append(known)
    return found


def loaded_ids(rpc: JsonRpc, until: float) -> list[Any]:
    """The ids of the threads that this server has open. DriftError: it lists them in another way."""
    ids = rpc.call("thread/loaded/list", until).get("data")
    if not isinstance(ids, list):
        raise DriftError("its server lists threads in a way that is not known")
    return ids


def read(thread: Any, originators: tuple[str, ...] = ("codex-tui",)) -> Thread | None:
    """A person's own thread, in a UI of those (none named: any); None for an agent's side thread, or a title's.

    Raises:
        DriftError: it is not of the shape that was measured.
    """
    shape: dict[str, type | tuple[type, ...]] = {
        "id": str,
        "cwd": str,
        "originator": str,
        "status": dict,
        "ephemeral": bool,
        "path": (str, type(None)),
        "name": (str, type(None)),
    }
    if not isinstance(thread, dict) or any(not isinstance(thread.get(key, 0), kind) for key, kind in shape.items()):
        raise DriftError("its server describes a thread in a way that is not known")
    other = originators and thread["originator"] not in originators
    if other or thread["ephemeral"] or thread.get("parentThreadId"):
        return None
    active = thread["status"].get("type") != "idle"
    return Thread(thread["id"], thread["name"] or "", thread["cwd"], thread["path"] or "", active)


def only(loaded: list[Thread], site: Site, interfaces: int) -> Thread:
    """The thread that the pane shows.

    Raises:
        AsideError: that is not certain.
    """
    if interfaces == 0:
        raise AsideError("the terminal UIs of this system cannot be counted")
    if interfaces != len(loaded):
        raise AsideError(
            f"{interfaces} codex run and their server has {len(loaded)} of their threads: which is whose is not certain"
        )
    here = [one for one in loaded if os.path.realpath(one.cwd) == os.path.realpath(site.where.directory)]
    if len(here) != 1:
        raise AsideError(
            f"{len(here)} of its server's threads are in {site.where.directory}: which is meant is not certain"
        )
    thread = here[0]
    if not thread.rollout:
        raise AsideError("its thread has no record")
    if thread.name and " | " in site.title and squeeze(thread.name)[:10] not in squeeze(site.title):
        raise AsideError("the pane's title names another thread")
    return thread


def interfaces(home: str, remote: str) -> int:
    """How many terminal UIs this user has open on that server: terminals with a `codex` in them; 0 if nobody knows."""
    terminals = set[str]()
    for pid, terminal, argv in _with_terminal():
        names, script = names_of(argv)
        if "codex" not in names and "@openai/codex/" not in script:
            continue
        words = " ".join(argv)
        there = match[1] if (match := REMOTE.search(words)) else ""
        if there != remote or " --no-daemon" in words:
            continue
        environment = process_table.environment(pid)
        if environment is not None and (remote or home_of(environment, environment.get("HOME", "")) == home):
            terminals.add(terminal)
    return len(terminals)


def _with_terminal() -> "list[tuple[int, str, list[str]]]":
    """This user's processes that have a terminal: pid, which, argv."""
    found = []
    if process_table.HAS_PROC:
        for pid in process_table.pids():
            fields = process_table.stat(pid)
            if fields is None or fields[process_table.TERMINAL] == b"0":
                continue
            argv = process_table.arguments(pid)
            found.append((pid, fields[process_table.TERMINAL].decode(), argv[0].split() if len(argv) == 1 else argv))
        return found
    for line in process_table.ps("-axww", "-o", "pid=,tty=,command=").splitlines():
        pid_, terminal, *argv = line.split()
        if not terminal.startswith("?"):
            found.append((int(pid_), terminal, argv))
    return found
