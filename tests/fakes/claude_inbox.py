"""A stand-in for the inbox of a Claude Code session: the session's file, its key, its socket and its transcript.

What it writes, takes, drops and says is what 2.1.332 wrote, took, dropped and said when it was run. What has reached
the model stands in `turns`, without what Claude Code puts around it.
"""

import contextlib
import json
import re
import socket
import threading
import uuid
from pathlib import Path
from typing import Any

from tests.fakes.sockets import serve, stop
from worker import process_table

ABOVE = "Another Claude session sent a message:\n"
BELOW = "\n\nThis came from another Claude session — not typed by your user, but very likely working on their behalf."


class ClaudeInbox:
    """The inbox of the process `pid`, which works in `cwd`; its modes are those of `tests.fakes.channels.World`."""

    agent = "claude"
    protocol = "peerProtocol"
    transcripts = ""
    addressee = "session_id"

    def __init__(self, home: Path, pid: int, cwd: str) -> None:
        self.pid = pid
        self.turns: list[str] = []
        self.waiting: list[str] = []
        self._late: list[str] = []
        self._mode = ""
        self._last = ""
        self._guard = threading.RLock()
        self._runs = threading.Event()
        self._runs.set()
        self.session, self.token = str(uuid.uuid4()), uuid.uuid4().hex
        self.folder = home / f"{self.agent}-socks"
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.socket = self.folder / f"{pid}.sock"
        self._base = home / f".{self.agent}"
        sessions = self._base / "sessions"
        sessions.mkdir(parents=True, exist_ok=True, mode=0o700)
        fields = process_table.stat(pid)
        assert fields is not None
        self._file = sessions / f"{pid}.json"
        self._known = {"pid": pid, "sessionId": self.session, "cwd": cwd}
        self._known |= self._describe(sessions, pid, fields[process_table.START].decode())
        self._write()
        projects = self._base / "projects" / re.sub(r"[^A-Za-z0-9]", "-", cwd) / self.transcripts
        projects.mkdir(parents=True, exist_ok=True)
        self.transcript = projects / f"{self.session}.jsonl"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.socket))
        self.socket.chmod(0o600)
        self._listener.listen(64)
        serve(self._listener, self._talk)

    def _describe(self, sessions: Path, pid: int, start: str) -> dict[str, Any]:
        """What else stands in the session's file; the key lies beside it."""
        key = sessions / f"{pid}.{uuid.uuid4().hex}.key"
        key.touch(0o600)
        key.write_text(json.dumps({"peerToken": self.token, "procStart": start}))
        return {
            "procStart": start,
            "version": "2.1.332",
            "peerProtocol": 1,
            "kind": "interactive",
            "entrypoint": "cli",
            "messagingSocketPath": str(self.socket),
            "status": "idle",
        }

    def mode(self, word: str) -> None:
        with self._guard:
            self._mode = word
            if "status" in self._known:
                self._known["status"] = "busy" if word == "busy" else "idle"
            if word == "drifted":
                self._known[self.protocol] = 2
            if word == "stranger":
                self._known["procStart"] = "1"
            self._write()
            if word not in {"busy", "silent", "garbles", "dies"}:
                late, self._late = self._late, []
                for text in late:
                    self._enqueue(text)
                self._take()

    def leave(self) -> None:
        """A person begins a new conversation: a session of its own."""
        with self._guard:
            self.session = self._known["sessionId"] = str(uuid.uuid4())
            self.transcript = self.transcript.with_name(f"{self.session}.jsonl")
            self._write()

    def resume(self, earlier: "ClaudeInbox") -> None:
        """It is the conversation of one that has ended, and what waited there with it."""
        with self._guard:
            self.session = self._known["sessionId"] = earlier.session
            self.transcript = earlier.transcript
            self._write()

    def stop(self) -> None:
        """Its process is stopped, as by Ctrl-Z: what is written to it lies there unread."""
        self._runs.clear()

    def go_on(self) -> None:
        """It reads what came meanwhile."""
        self._runs.set()

    def close(self) -> None:
        stop(self._listener)
        self.socket.unlink(missing_ok=True)

    def _write(self) -> None:
        self._file.write_text(json.dumps(self._known))
        self._file.chmod(0o600)

    def _talk(self, link: socket.socket) -> None:
        with link, link.makefile("rb") as lines, contextlib.suppress(OSError):
            known = False
            self._runs.wait()
            if self._mode == "deaf" and link.recv(1, socket.MSG_PEEK):
                self.close()
                return
            for line in lines:
                frame = json.loads(line)
                if frame["type"] == "auth":
                    known = frame["token"] == self.token
                elif known and frame[self.addressee] == self.session:
                    with self._guard:
                        self._receive(frame)

    def _receive(self, frame: dict[str, Any]) -> None:
        text = frame["message"]["content"]
        if self._mode == "confused":  # it speaks of another's first
            self._tell({**frame, "msg_id": "0" * 32, "msgId": str(uuid.UUID(int=0))}, "rate-limited")
        if self._mode == "refuses" or text == self._last:
            self._tell(frame, "rate-limited" if self._mode == "refuses" else "duplicate")
            return
        self._last = text
        if self._mode == "halves":
            self._tell(frame, "rate-limited")
        if self._mode in {"silent", "garbles", "dies"}:
            self._late.append(text)
            if self._mode == "garbles":
                self._tell(frame, "what is this", action="unheard_of")
            if self._mode == "dies":
                self.close()
            return
        self._enqueue(text)
        if self._mode != "busy":
            self._take()

    def _tell(self, frame: dict[str, Any], reason: str, action: str = "peer_message_status") -> None:
        said = {"type": "control", "action": action, "status": "dropped", "drop_reason": reason}
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(frame["from"].removeprefix("uds:"))
            words = (json.dumps({**said, "orig_msg_id": frame["msg_id"]}) + "\n").encode()
            link.sendall(words[: len(words) // 2] if self._mode == "halves" else words)

    def _enqueue(self, text: str) -> None:
        self.waiting.append(text)
        self._record({"type": "queue-operation", "operation": "enqueue", "content": text})

    def _take(self) -> None:
        while self.waiting:
            text = self.waiting.pop(0)
            self._record({"type": "queue-operation", "operation": "dequeue"})
            self.turns.append(text)
            self._record({"type": "user", "message": {"role": "user", "content": f"{ABOVE}{text}{BELOW}"}})

    def _record(self, entry: dict[str, Any]) -> None:
        with self.transcript.open("a") as file:
            file.write(json.dumps({**entry, "sessionId": self.session}) + "\n")
