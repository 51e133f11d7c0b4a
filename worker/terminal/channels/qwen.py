"""The inbox socket of a Qwen Code session: the message reaches the model marked as another session's.

Facts are 0.24.4's, found by running it and from its own manual (features/commands.md, 6). `sessions/PID.json` names the
session, its socket and its key. Unless the owner's settings accept messages, one waits for a review that may never
come. That is foreseen, and never caused. An id that the session has taken is not taken again while it lives.
"""

import json
import os
import re
import socket
import uuid
from typing import Any

from worker import process_table
from worker.secret import Secret
from worker.terminal.channels import owned
from worker.terminal.channels.answers import parsed
from worker.terminal.channels.channel import AsideError, DriftError, Message, NotTakenError, Site
from worker.terminal.channels.inbox import InboxSession, of
from worker.terminal.channels.records import Records

_SHAPE = {"pid": int, "sessionId": str, "cwd": str, "kind": str, "procStart": str}
_BUSY = re.compile(r"esc to cancel\)|⏳ \d+ queued")
_MAX_FRAME = 1024 * 1024 - 4096  # characters, escapes included; the session takes no longer line than 1 MiB


def find(site: Site, until: float, handed: str = "") -> "QwenSession | Records":
    """See `channel.Module.find`."""
    base = site.where.environment.get("QWEN_HOME") or f"{site.where.home}/.qwen"
    try:
        return _shown(base, site, until)
    except AsideError as why:
        if not handed:
            raise
        return QwenSession.records(f"{base}/projects", site.where.directory, handed, why)


def _shown(base: str, site: Site, until: float) -> "QwenSession":
    known = _described(base, [one.pid for one in site.group])
    fields = process_table.stat(known["pid"])
    if fields is not None and not known["procStart"].endswith(f":{fields[process_table.START].decode()}"):
        raise AsideError(f"sessions/{known['pid']}.json is of an earlier process")
    path, key = known.get("ipcPath"), known.get("ipcToken")
    if not (isinstance(path, str) and path.startswith("/")):
        raise AsideError("this session has no inbox: agents.crossSessionMessaging is off, or /peers says why")
    if not (isinstance(key, str) and key):
        raise DriftError("the key of its inbox is of a kind that is not known")
    _accepts(base, known["cwd"])
    link = owned.connected(path, until)
    busy = bool(_BUSY.search(site.screen))
    return QwenSession(link, path, Secret(key), f"{base}/projects", known["cwd"], known["sessionId"], busy=busy)


def _described(base: str, pids: list[int]) -> dict[str, Any]:
    """What the session of one of the processes says of itself.

    Raises:
        AsideError: there is none.
        DriftError: it is not of the shape that was measured.
    """
    for pid in pids:
        path = f"{base}/sessions/{pid}.json"
        if not os.path.exists(path):  # noqa: PTH110 - these commands start without pathlib
            continue
        known = parsed(owned.content(path, secret=True))
        if (version := known.get("schemaVersion")) != 1:
            raise DriftError(f"sessions/{pid}.json is of version {str(version)[:20]!r}, not 1")
        if any(not isinstance(known.get(name), kind) for name, kind in _SHAPE.items()) or known["pid"] != pid:
            raise DriftError(f"sessions/{pid}.json is of a shape that is not known")
        if known["kind"] != "tui":
            raise AsideError(f"its session is {known['kind'][:20]!r}, and no terminal shows it")
        return known
    raise AsideError("there is no session file of this process")


def _accepts(base: str, folder: str) -> None:
    """Raises AsideError if a message would be held for review."""
    for path, wanted in ((f"{base}/settings.json", ("accept",)), (f"{folder}/.qwen/settings.json", ("accept", None))):
        agents = parsed(owned.settings(path)).get("agents")
        inbound = agents.get("crossSessionInbound") if isinstance(agents, dict) else None
        if inbound not in wanted:
            raise AsideError(
                f"agents.crossSessionInbound is {str(inbound)[:20]!r} in {path}, so it would be held for review: "
                "bus-watch agent setup qwen --write, then start it again"
            )


class QwenSession(InboxSession):
    """One session; see `inbox.InboxSession`."""

    agent = "qwen"
    below = "chats/"
    records_queue = False

    def __init__(
        self, link: socket.socket, path: str, key: Secret, projects: str, folder: str, session: str, *, busy: bool
    ) -> None:
        self._key = key
        super().__init__(link, path, projects, folder, session, busy=busy)

    def _frames(self, message: Message, text: str, reply: str) -> list[dict[str, Any]]:
        said = {
            "msgV": 1,
            "msgId": str(uuid.UUID(message.id)),
            "type": "user",
            "priority": "next",
            "from": reply,
            "fromName": "bus-watch",
            "toSessionId": self.id,
            "message": {"role": "user", "content": text},
        }
        if len(json.dumps(said)) > _MAX_FRAME:
            raise NotTakenError("its inbox takes no message of that size")
        return [{"msgV": 1, "type": "auth", "token": self._key.reveal()}, said]

    @staticmethod
    def _state(record: dict[str, Any]) -> str:
        return "submitted" if record.get("type") == "user" else ""

    def _told(self, frame: dict[str, Any], message: Message) -> tuple[str, str]:
        mine = of(str(uuid.UUID(message.id)), frame, "origMsgId", "droppedMsgIds")
        if frame.get("action") != "delivery_status" or not mine:
            return "", ""
        status, reason = str(frame.get("status")), str(frame.get("dropReason") or "")[:100]
        if status == "delivered":
            return "queued", ""
        if status in {"dropped", "misaddressed", "refused"}:
            return "dropped", reason or status
        return ("held", status) if status in {"held", "denied", "expired"} else ("", "")
