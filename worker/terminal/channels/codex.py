"""Codex's own queue of a thread, by the socket of its background server: the message becomes a turn of the user's own.

Facts are codex-cli 0.171.0's, found by running it. Every plain `codex` of one CODEX_HOME is served by one background
server (`codex app-server --managed-daemon`); `--remote unix://PATH` names another. `thread/queue/add` heeds no
id that it has seen already, so a message is looked up before it is added; its answer proves nothing, so the thread's
record (rollout) is read. An interrupted turn stops the queue, `thread/queue/start` starts it again. With `turn/start` a
message was lost when a person pressed Esc, so it is not used.

Which thread a pane shows no request says. So it must be the only one of a terminal UI in the pane's directory, and the
server must have as many of those as there are terminal UIs: a person may have opened another directory's thread, or
none yet.
"""

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from worker import process_table
from worker.fault_steps import step
from worker.terminal.channels import owned
from worker.terminal.channels.channel import AsideError, DriftError, Message, Site
from worker.terminal.channels.jsonrpc import JsonRpc, RefusedCallError, UnknownCallError
from worker.terminal.channels.websocket import BrokenError, ShapeError, WebSocket
from worker.terminal.pace import pace
from worker.terminal.processes import names_of
from worker.terminal.proof import Verdict
from worker.terminal.text import squeeze

SOCKET = "app-server-control/app-server-control.sock"
PREFIX = "bus-watch:"
"""Of the ids that we give to turns."""
_REMOTE = re.compile(r"--remote[= ]unix://(/\S+)")
_PROVEN = b'"UserMessage"'
_UNTAKEN = 0.4  # seconds after which the queue of an idle thread has stopped: else a turn begins within 0.1
_SETTLED = 0.3  # seconds for which a message must wait in the queue of a busy thread


@dataclass(frozen=True, slots=True)
class _Thread:
    """What `thread/read` says of one."""

    id: str
    name: str
    cwd: str
    rollout: str
    active: bool


def find(site: Site, until: float) -> "CodexSession":
    """See `channel.Module.find`."""
    home = _home(site.where.environment, site.where.home)
    words = [" ".join(process_table.arguments(one.pid)) for one in site.group]
    remote = next((match[1] for match in map(_REMOTE.search, words) if match), "")
    if not remote and any("--no-daemon" in one.split() for one in words):
        raise AsideError("this codex was started with --no-daemon")
    path = remote or os.path.join(home, SOCKET)  # noqa: PTH118 - these commands start without pathlib
    link = owned.connected(path, until)
    try:
        rpc = JsonRpc(WebSocket(link, until))
        greeting = rpc.call(
            "initialize",
            until,
            clientInfo={"name": "bus_watch", "title": "bus-watch", "version": "1"},
            capabilities={"experimentalApi": True},
        )
        rpc.notify("initialized", until)
        _check_home(greeting, home)
        session = CodexSession(rpc, _only(_loaded(rpc, until), site, _interfaces(home, remote)))
        session.check(until)
    except (ShapeError, UnknownCallError) as why:
        link.close()
        raise DriftError(f"its server: {why}") from None
    except (RefusedCallError, BrokenError) as why:
        link.close()
        raise AsideError(f"its server: {why}") from None
    except BaseException:
        link.close()
        raise
    return session


def _home(environment: Mapping[str, str], home: str) -> str:
    return str(environment.get("CODEX_HOME") or os.path.join(home, ".codex"))  # noqa: PTH118 - as above


def _check_home(greeting: Mapping[str, Any], home: str) -> None:
    if not isinstance(greeting.get("codexHome"), str):
        raise DriftError("the server at its socket does not say whose it is")
    if os.path.realpath(greeting["codexHome"]) != os.path.realpath(home):
        raise AsideError("the server at its socket is of another CODEX_HOME")


def _loaded(rpc: JsonRpc, until: float) -> list[_Thread]:
    """The threads that terminal UIs have open on this server."""
    ids = rpc.call("thread/loaded/list", until).get("data")
    if not isinstance(ids, list):
        raise DriftError("its server lists threads in a way that is not known")
    found = []
    for one in ids:
        try:
            thread = rpc.call("thread/read", until, threadId=str(one)).get("thread")
        except UnknownCallError:
            raise
        except RefusedCallError:  # it has just been closed
            continue
        if (known := _read(thread)) is not None:
            found.append(known)
    return found


def _read(thread: Any) -> _Thread | None:
    """A person's own thread in a terminal UI; None for another kind (an agent's side thread, a title's).

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
    if thread["originator"] != "codex-tui" or thread["ephemeral"] or thread.get("parentThreadId"):
        return None
    active = thread["status"].get("type") != "idle"
    return _Thread(thread["id"], thread["name"] or "", thread["cwd"], thread["path"] or "", active)


def _only(loaded: list[_Thread], site: Site, interfaces: int) -> _Thread:
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


def _interfaces(home: str, remote: str) -> int:
    """How many terminal UIs this user has open on that server: terminals with a `codex` in them; 0 if nobody knows."""
    terminals = set[str]()
    for pid, terminal, argv in _with_terminal():
        names, script = names_of(argv)
        if "codex" not in names and "@openai/codex/" not in script:
            continue
        words = " ".join(argv)
        there = match[1] if (match := _REMOTE.search(words)) else ""
        if there != remote or " --no-daemon" in words:
            continue
        environment = process_table.environment(pid)
        if environment is not None and (remote or _home(environment, environment.get("HOME", "")) == home):
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


class CodexSession:
    """One thread; see `channel.Session`."""

    def __init__(self, rpc: JsonRpc, thread: _Thread) -> None:
        self._rpc, self._thread = rpc, thread
        self._read = 0
        self.busy = thread.active

    def check(self, until: float) -> None:
        """Whether its queue and its record can prove a message.

        Raises:
            DriftError: the record has turns, and none is written down in the way that was measured.
            BrokenError: see `JsonRpc.call`; RefusedCallError: the same.
        """
        self._queued(until)
        ended = known = False
        for line in self._lines():
            known = known or (_PROVEN in line and b'"client_id"' in line)
            ended = ended or b'"task_complete"' in line
            if known:
                break
        self._read = 0
        if ended and not known:
            raise DriftError("its record does not say which turn was whose")

    def lookup(self, message: Message) -> Verdict | None:
        """See `channel.Session.lookup`."""
        until = time.monotonic() + 5
        try:
            queued = self._queued(until)
            if self._recorded(message):  # read after the queue: what leaves the queue in between is in the record
                return self._submitted("its turn began earlier")
        except (RefusedCallError, BrokenError) as why:
            raise AsideError(str(why)) from None
        mine = [one["id"] for one in queued if one.get("clientUserMessageId") == PREFIX + message.id]
        return self._follow(message, str(mine[0]), time.monotonic() + 3) if mine else None

    def send(self, message: Message, until: float) -> Verdict:
        """See `channel.Session.send`."""
        try:
            added = self._rpc.call(
                "thread/queue/add",
                until,
                threadId=self._thread.id,
                input=[{"type": "text", "text": message.text, "text_elements": []}],
                clientUserMessageId=PREFIX + message.id,
            )
            submission = added.get("queuedSubmission")
        except RefusedCallError as why:
            raise AsideError(str(why)) from None
        except BrokenError as why:
            return Verdict("unproven", f"it was handed to codex, then: {why}")
        step("channel.sent")
        return self._follow(message, str(submission.get("id")) if isinstance(submission, dict) else "", until)

    def close(self) -> None:
        """See `channel.Session.close`."""
        self._rpc.close()

    def _follow(self, message: Message, submission: str, until: float) -> Verdict:
        """What becomes of a message that was added."""
        began = time.monotonic()
        started = False
        why = "no turn shows it"
        while time.monotonic() < until:
            if self._recorded(message):
                return self._submitted("its turn began")
            waited = time.monotonic() - began
            try:
                if waited > (_SETTLED if self.busy else _UNTAKEN):
                    if (verdict := self._waits(message, until)) is not None:
                        return verdict
                    if not started:
                        started = True
                        self._start(submission, until)
            except RefusedCallError:
                pass  # what was to be started runs by now
            except BrokenError as broken:
                why = str(broken)
                break
            time.sleep(pace(waited))
        if self._recorded(message):
            return self._submitted("its turn began")
        return Verdict("unproven", f"it was handed to codex, but {why}")

    def _waits(self, message: Message, until: float) -> Verdict | None:
        """`queued`, if a turn runs and the message waits behind it."""
        thread = _read(self._rpc.call("thread/read", until, threadId=self._thread.id).get("thread"))
        self.busy = thread is not None and thread.active
        mine = any(one.get("clientUserMessageId") == PREFIX + message.id for one in self._queued(until))
        if self.busy and mine:
            return Verdict("queued", "it waits behind the turn that runs", "codex's queue has it")
        return None

    def _start(self, submission: str, until: float) -> None:
        """Start a queue that an interrupted turn has stopped, at the oldest message of ours; a person's stay theirs."""
        ours = [one["id"] for one in self._queued(until) if str(one.get("clientUserMessageId")).startswith(PREFIX)]
        if submission in ours:
            self._rpc.call("thread/queue/start", until, threadId=self._thread.id, queuedSubmissionId=ours[0])

    def _queued(self, until: float) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: object = None
        while True:
            page = self._rpc.call("thread/queue/list", until, threadId=self._thread.id, cursor=cursor)
            data = page.get("data")
            if not isinstance(data, list) or any(not isinstance(one, dict) or "id" not in one for one in data):
                raise ShapeError("codex lists its queue in a way that is not known")
            found += data
            cursor = page.get("nextCursor")
            if not cursor:
                return found

    def _submitted(self, why: str) -> Verdict:
        return Verdict("submitted", why, f"record {self._thread.rollout}")

    def _recorded(self, message: Message) -> bool:
        """Whether the thread's record has the message as the start of a turn; what was read is not read again."""
        wanted = (PREFIX + message.id).encode()
        return any(wanted in line and _is_turn(line, wanted.decode()) for line in self._lines())

    def _lines(self) -> Iterator[bytes]:
        """The record's lines that were not read yet."""
        try:
            with open(self._thread.rollout, "rb") as file:  # noqa: PTH123 - as above
                file.seek(self._read)
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    self._read += len(line)
                    yield line
        except OSError:
            return


def _is_turn(line: bytes, client_id: str) -> bool:
    try:
        payload = json.loads(line).get("payload")
        return bool(payload["type"] == "item_completed" and payload["item"]["client_id"] == client_id)
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return False
