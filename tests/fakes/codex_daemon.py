"""A stand-in for Codex's background server: WebSocket on a Unix socket, with the threads of its terminal UIs.

Requests, answers, errors, file names and records are what codex-cli 0.171.0 said and wrote when it was run. What it has
taken as a turn stands in `turns`, and in the thread's record. As a program it serves the home folder's `.codex`, with
one thread in the working folder; each line of its input is a mode.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Request, TextMessage

from tests.fakes.sockets import serve, stop


class CodexDaemon:
    """The server of one CODEX_HOME.

    `mode`: `busy`, `stopped` (a queue), `refuses`, `drifted`, `complains` (of what it has done), `fails` (the same, and
    then it is gone). What is added is taken, then it is `drifted` (`garbles`) or gone (`dies`), half of an answer comes
    (`halves`), or none: `silent` (it waits), `mute` (its turn begins). Of a turn that begins, the server was killed
    before it was answered (`cut`), or even before the record said whose it is (`nameless`); a person ended it
    (`ended`). `stays cut`: no turn begins without a message.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.mode = ""
        self.threads: list[dict[str, Any]] = []
        self._left: list[dict[str, Any]] = []
        self.queue: list[dict[str, Any]] = []
        self.turns: list[str] = []
        self.calls: list[str] = []
        self._guard = threading.RLock()
        self.socket = home / "app-server-control" / "app-server-control.sock"
        self.socket.parent.mkdir(parents=True, mode=0o700)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.socket))
        self.socket.chmod(0o600)
        self._listener.listen(64)
        self._links: list[socket.socket] = []
        serve(self._listener, self._talk)

    def open(self, cwd: str, **more: object) -> str:
        """A terminal UI opens a thread; its id."""
        identity = str(uuid.uuid4())
        rollout = self.home / "sessions" / "2026" / "11" / "26" / f"rollout-2026-11-26T21-37-44-{identity}.jsonl"
        rollout.parent.mkdir(parents=True, exist_ok=True)
        rollout.touch()
        self.threads.append(
            {
                "id": identity,
                "parentThreadId": None,
                "ephemeral": False,
                "status": {"type": "idle"},
                "path": str(rollout),
                "cwd": cwd,
                "cliVersion": "0.171.0",
                "originator": "codex-tui",
                "source": "vscode",
                "threadSource": "user",
                "name": None,
                **more,
            }
        )
        return identity

    def leave(self) -> str:
        """The terminal UIs begin a new conversation each; the last one's id."""
        left, self.threads[:] = list(self.threads), []
        self._left += left
        return [self.open(one["cwd"]) for one in left][-1]

    def end_turn(self) -> None:
        """What runs ends, and the queue goes on."""
        with self._guard:
            self.mode = ""
            self._take()

    def close(self) -> None:
        stop(self._listener)
        for one in self._links:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self.socket.unlink(missing_ok=True)

    def _talk(self, link: socket.socket) -> None:
        self._links.append(link)
        protocol = WSConnection(ConnectionType.SERVER)
        said = ""
        with link, contextlib.suppress(OSError):
            while data := link.recv(65536):
                if self.mode == "deaf" and len(data) == 65536:  # the rest stays unread
                    self.close()
                    return
                protocol.receive_data(data)
                for event in protocol.events():
                    if isinstance(event, Request):
                        link.sendall(protocol.send(AcceptConnection()))
                    elif isinstance(event, CloseConnection):
                        return
                    elif isinstance(event, TextMessage):
                        said += event.data
                        if event.message_finished:
                            whole, said = json.loads(said), ""
                            for answer in self._answers(whole):
                                said_back = protocol.send(TextMessage(json.dumps(answer)))
                                if self.mode == "halves" and "queuedSubmission" in answer.get("result", {}):
                                    link.sendall(said_back[: len(said_back) // 2])
                                    return
                                link.sendall(said_back)

    def _answers(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        if "id" not in asked:
            return []
        with self._guard:
            self.calls.append(asked["method"])
            answer = self._answer(asked["method"], asked["params"])
            added = asked["method"] == "thread/queue/add"
            if added and self.mode == "garbles":
                self.mode = "drifted"
            if added and self.mode == "dies":
                self.close()
            if self.mode == "fails" and not added and self.queue:
                self.close()
            silent = self.mode in {"silent", "mute"} and added
        note = {"method": "remoteControl/status/changed", "params": {"status": "disabled"}}
        return [] if silent else [note, {"id": asked["id"], **answer}]

    def _answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if method == "initialize":
            assert params["capabilities"]["experimentalApi"] is True
            return {"result": {"userAgent": "codex-tui/0.171.0", "codexHome": str(self.home), "platformOs": "linux"}}
        if method == "thread/loaded/list":
            return {"result": {"data": [one["id"] for one in self.threads], "nextCursor": None}}
        if method == "thread/read":
            active = {"type": "active", "activeFlags": []} if self.mode == "busy" else {"type": "idle"}
            found = next(one for one in self.threads if one["id"] == params["threadId"])
            thread = {**found, "status": active}
            if self.mode == "drifted":
                del thread["cwd"]
            return {"result": {"thread": thread, "readState": None}}
        if method == "thread/queue/list":
            mine = [one for one in self.queue if one["thread"] == params["threadId"]]
            items = [{k: v for k, v in one.items() if k != "thread"} for one in mine]
            return {"result": {"data": items, "nextCursor": None}}
        if method == "thread/queue/add":
            if self.mode == "refuses":
                return {"error": {"code": -32600, "message": f"thread not found: {params['threadId']}"}}
            item = {"id": str(uuid.uuid4()), **{key: params[key] for key in ("input", "clientUserMessageId")}}
            self.queue.append({**item, "thread": params["threadId"]})
            self._take()
            if self.mode in {"complains", "fails"}:
                return {"error": {"code": -32603, "message": "internal error"}}
            return {"result": {"queuedSubmission": item}}
        if method == "turn/start":
            assert params["input"] == []
            if self.mode == "stays cut":
                return {"error": {"code": -32603, "message": "internal error"}}
            thread = next(one for one in self.threads if one["id"] == params["threadId"])
            self.record(thread, "event_msg", {"type": "task_started"}, {"type": "task_complete"})
            return {"result": {"turn": {"id": str(uuid.uuid4()), "items": [], "status": "inProgress"}}}
        if method == "thread/queue/start":
            if self.mode == "stopped":
                self.mode = ""
            self._take()
            return {"result": {}}
        return {"error": {"code": -32601, "message": f"unknown method {method}"}}

    def _take(self) -> None:
        """Begin the turns of what waits; each ends at once."""
        while self.queue and self.mode not in {"busy", "stopped", "silent", "garbles", "drifted", "dies", "fails"}:
            item = self.queue.pop(0)
            thread = next(one for one in (*self.threads, *self._left) if one["id"] == item["thread"])
            self.turns.append(item["input"][0]["text"])
            content = [{"type": "input_text", "text": item["input"][0]["text"]}]
            self.record(thread, "response_item", {"type": "message", "role": "user", "content": content})
            if self.mode == "nameless":
                continue
            said = {"type": "UserMessage", "client_id": item["clientUserMessageId"], "content": item["input"]}
            self.record(thread, "event_msg", {"type": "item_completed", "thread_id": thread["id"], "item": said})
            if self.mode != "cut":
                self.record(thread, "event_msg", {"type": "turn_aborted" if self.mode == "ended" else "task_complete"})

    def record(self, thread: dict[str, Any], kind: str, *payloads: dict[str, Any]) -> None:
        """Written as it writes it: without blanks."""
        with Path(thread["path"]).open("a") as file:
            for payload in payloads:
                said = {"timestamp": _now(), "type": kind, "payload": payload}
                file.write(json.dumps(said, separators=(",", ":")) + "\n")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def home_of(home: Path) -> Path:
    """CODEX_HOME where none is named."""
    return Path(os.fspath(home)) / ".codex"


def main() -> None:
    """Serve until the input ends."""
    daemon = CodexDaemon(home_of(Path.home()))
    daemon.open(str(Path.cwd()))
    for line in sys.stdin:
        daemon.mode = line.strip()


if __name__ == "__main__":
    main()
