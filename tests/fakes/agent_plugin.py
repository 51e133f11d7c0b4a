"""A stand-in for our plugin in OpenCode or pi, with the sessions behind it: what 1.18.33 and 1.5.2 did when it was run.

What it has taken as a prompt stands in `turns`.
"""

import contextlib
import json
import socket
import threading
from pathlib import Path
from typing import Any

from tests.fakes.sockets import serve, stop


class AgentPlugin:
    """The plugin in the process `pid`; its modes are `tests.fakes.channels.World`'s, and `slow`: it waits unseen."""

    def __init__(self, home: Path, pid: int, agent: str, title: str = "") -> None:
        self.turns: list[str] = []
        self.word = ""
        self.session = "ses_1"
        """The one that is open."""
        self._pid, self._agent, self._title = pid, agent, title
        self._messages: dict[str, bool] = {}
        self._sessions: dict[str, str] = {}
        self._waiting: list[tuple[str, str]] = []
        self._guard = threading.RLock()
        self.folder = home / ".local" / "state" / "bus-watch"
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)
        self.socket = self.folder / f"{agent}-{pid}.sock"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.socket))
        self.socket.chmod(0o600)
        self._listener.listen(64)
        serve(self._listener, self._talk)

    def mode(self, word: str) -> None:
        with self._guard:
            self.word = word
            if word not in {"busy", "slow"}:
                self._take()

    def close(self) -> None:
        stop(self._listener)
        self.socket.unlink(missing_ok=True)

    def _talk(self, link: socket.socket) -> None:
        with link, link.makefile("rb") as lines, contextlib.suppress(OSError):
            if self.word == "deaf" and b'"send"' in link.recv(65536, socket.MSG_PEEK):
                self.close()
                return
            if not (line := lines.readline()):
                return
            asked = json.loads(line)
            with self._guard:
                answer = self._look(asked) if asked["op"] == "look" else self._send(asked)
                silent = self.word == "silent" and asked["op"] == "send"
                if asked["op"] == "send" and self.word in {"garbles", "dies"}:
                    self.word = "drifted" if self.word == "garbles" else "gone"
                    if self.word == "gone":
                        self.close()
                version = 2 if self.word == "drifted" else 1
            if not silent:
                known = {"version": version, "agent": self._agent, "pid": self._pid}
                said = (json.dumps({**known, **answer}) + "\n").encode()
                link.sendall(said[: len(said) // 2] if self.word == "halves" and asked["op"] == "send" else said)

    def _look(self, asked: dict[str, Any]) -> dict[str, Any]:
        if "session" not in asked and asked.get("title", "") != self._title:
            return {"sessions": 0}
        session = asked.get("session") or self.session
        # OpenCode is asked for one session's messages; the others' extensions look through all of their own.
        there = [one for one in self._messages if self._agent != "opencode" or self._sessions[one] == session]
        found = next((one for one in there if asked["suffix"] and one.endswith(asked["suffix"])), None)
        busy = self.word == "busy"
        answered = found is not None and self._messages[found]
        said = {"sessions": 1, "session": session, "busy": busy}
        if found is not None and self.word == "slow":
            return {**said, "found": False, "answered": False, "pending": True}
        return {**said, "found": found is not None, "answered": answered}

    def _send(self, asked: dict[str, Any]) -> dict[str, Any]:
        if self.word in {"refuses", "stranger"}:
            return {"error": "Error: BadRequest"}
        name = f"msg_{len(self._messages):012x}{asked['suffix']}"
        self._messages[name] = False
        self._sessions[name] = asked["session"]
        self._waiting.append((name, asked["text"]))
        if self.word not in {"busy", "slow"}:
            self._take()
        return {}

    def _take(self) -> None:
        while self._waiting:
            name, text = self._waiting.pop(0)
            self.turns.append(text)
            self._messages[name] = True
