"""A stand-in for the inbox of a Qwen Code session: what 0.24.4 wrote, took, dropped and said when it was run."""

import json
import socket
import uuid
from pathlib import Path
from typing import Any

from tests.fakes.claude_inbox import ClaudeInbox

BELOW = "\n</cross_session_message>\n\nThis came from another Qwen Code session, not from your user."


class QwenInbox(ClaudeInbox):
    """The inbox of one process; see `ClaudeInbox`. Whether a turn runs stands in no file of it."""

    agent = "qwen"
    protocol = "schemaVersion"
    transcripts = "chats"
    addressee = "toSessionId"

    def _describe(self, sessions: Path, pid: int, start: str) -> dict[str, Any]:
        del sessions, pid
        self._taken: set[str] = set()
        settings = {"agents": {"crossSessionInbound": "accept"}}
        (self._base / "settings.json").write_text(json.dumps(settings))
        return {
            "schemaVersion": 1,
            "procStart": f"{uuid.uuid4()}:{start}",
            "qwenVersion": "0.24.4",
            "kind": "tui",
            "ipcPath": str(self.socket),
            "ipcToken": self.token,
        }

    def _receive(self, frame: dict[str, Any]) -> None:
        if frame["msgId"] in self._taken:
            self._say(frame, status="delivered")
            return
        if self._mode != "refuses":
            self._taken.add(frame["msgId"])
        super()._receive(frame)
        if self._mode not in {"refuses", "silent", "garbles", "dies"}:
            self._say(frame, status="delivered")

    def _tell(self, frame: dict[str, Any], reason: str, action: str = "delivery_status") -> None:
        self._say(frame, action=action, status="dropped", dropReason=reason)

    def _say(self, frame: dict[str, Any], **what: str) -> None:
        said = {"msgV": 1, "type": "control", "action": "delivery_status", "origMsgId": frame["msgId"], **what}
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(frame["from"])
            words = (json.dumps(said) + "\n").encode()
            link.sendall((json.dumps({"msgV": 1, "type": "auth", "token": "x"}) + "\n").encode())
            link.sendall(words[: len(words) // 2] if self._mode == "halves" else words)

    def _enqueue(self, text: str) -> None:
        self.waiting.append(text)

    def _take(self) -> None:
        while self.waiting:
            text = self.waiting.pop(0)
            self.turns.append(text)
            said = f'<cross_session_message from="{self.socket}">\n{text}{BELOW}'
            entry = {"type": "user", "subtype": "notification", "message": {"role": "user", "parts": [{"text": said}]}}
            self._record(entry)
