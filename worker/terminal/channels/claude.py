"""The inbox socket of a Claude Code session: the message reaches the model marked as another session's.

Facts are 2.1.332's, found by running it (documented from 2.1.224 as cross-session messaging). `sessions/PID.json` names
the session and its socket, and says whether it is `idle`, `busy` or `waiting` for a person; the key lies beside it.
What is dropped is told to the sender's own socket at once: the same text twice in a row, a burst, a full queue.

In a session that bypasses permissions a message opens a dialog on the screen, unless the owner's settings accept
messages. That is foreseen, and never caused.
"""

import glob
import os
import re
import socket
from typing import Any

from worker import process_table
from worker.secret import Secret
from worker.terminal.channels import owned
from worker.terminal.channels.answers import parsed
from worker.terminal.channels.channel import AsideError, DriftError, Message, Site
from worker.terminal.channels.inbox import InboxSession, of
from worker.terminal.channels.records import Records

_BYPASS = re.compile(r"--dangerously-skip-permissions|--allow-dangerously-skip-permissions|bypassPermissions")
_BYPASS_SHOWN = "bypass permissions on"


def find(site: Site, until: float, handed: str = "") -> "ClaudeSession | Records":
    """See `channel.Module.find`."""
    base = site.where.environment.get("CLAUDE_CONFIG_DIR") or f"{site.where.home}/.claude"
    try:
        return _shown(base, site, until)
    except AsideError as why:
        if not handed:
            raise
        return ClaudeSession.records(f"{base}/projects", site.where.directory, handed, why)


def _shown(base: str, site: Site, until: float) -> "ClaudeSession":
    known = _described(base, [one.pid for one in site.group])
    pid, path = known["pid"], known.get("messagingSocketPath")
    fields = process_table.stat(pid)
    if fields is not None and known.get("procStart") != fields[process_table.START].decode():
        raise AsideError(f"sessions/{pid}.json is of an earlier process")
    if not isinstance(path, str) or not path.startswith("/"):
        raise AsideError("this session has no inbox (another one may have started in the same second)")
    _accepts(base, site, pid)
    keys = glob.glob(f"{glob.escape(base)}/sessions/{pid}.*.key")  # noqa: PTH207 - no pathlib here
    if len(keys) != 1:
        raise AsideError(f"{len(keys)} keys are there for its inbox")
    key = parsed(owned.content(keys[0], secret=True)).get("peerToken")
    if not isinstance(key, str) or not key:
        raise DriftError("the key of its inbox is of a kind that is not known")
    link = owned.connected(path, until)
    return ClaudeSession(link, path, Secret(key), known, f"{base}/projects")


def _described(base: str, pids: list[int]) -> dict[str, Any]:
    """What the session of one of the processes says of itself.

    Raises:
        AsideError: there is none.
        DriftError: it is not of the shape that was measured.
    """
    for pid in pids:
        path = f"{base}/sessions/{pid}.json"
        if os.path.exists(path):  # noqa: PTH110 - no pathlib here
            known = parsed(owned.content(path))
            shape = {"pid": int, "sessionId": str, "cwd": str, "status": str}
            if any(not isinstance(known.get(name), kind) for name, kind in shape.items()) or known["pid"] != pid:
                raise DriftError(f"sessions/{pid}.json is of a shape that is not known")
            if (protocol := known.get("peerProtocol")) != 1:
                raise DriftError(f"its session speaks protocol {str(protocol)[:20]!r}, not 1")
            if known.get("kind") != "interactive":
                raise AsideError(f"its session is {str(known.get('kind'))[:20]!r}, and no terminal shows it")
            return known
    raise AsideError("there is no session file of this process: it is older than 2.1.224, or just starting")


def _accepts(base: str, site: Site, pid: int) -> None:
    """Raises AsideError if a message would be held behind a dialog."""
    settings = parsed(owned.settings(f"{base}/settings.json"))
    inbound = settings.get("crossSessionInbound")
    if inbound == "accept":
        return
    if inbound is not None:
        raise AsideError(f"crossSessionInbound is {inbound!r} in the user's settings")
    permissions = settings.get("permissions")
    mode = permissions.get("defaultMode") if isinstance(permissions, dict) else None
    started = " ".join(process_table.arguments(pid))
    if mode == "bypassPermissions" or _BYPASS.search(started) or _BYPASS_SHOWN in site.screen:
        raise AsideError(
            "it bypasses permissions, and would ask a person about the message; "
            '"crossSessionInbound": "accept" in its settings lets it in'
        )


class ClaudeSession(InboxSession):
    """One session; see `inbox.InboxSession`."""

    agent = "claude"

    def __init__(self, link: socket.socket, path: str, key: Secret, known: dict[str, Any], projects: str) -> None:
        self._key = key
        busy = known["status"] != "idle"
        super().__init__(link, path, projects, known["cwd"], known["sessionId"], busy=busy)

    def _frames(self, message: Message, text: str, reply: str) -> list[dict[str, Any]]:
        said = {
            "type": "user",
            "message": {"role": "user", "content": text},
            "from": f"uds:{reply}",
            "msg_id": message.id,
            "session_id": self.id,
        }
        return [{"type": "auth", "token": self._key.reveal()}, said]

    @staticmethod
    def _state(record: dict[str, Any]) -> str:
        if record.get("type") in {"user", "attachment"}:  # a turn of its own, or absorbed into the one that runs
            return "submitted"
        queued = record.get("type") == "queue-operation" and record.get("operation") == "enqueue"
        return "queued" if queued else ""

    def _told(self, frame: dict[str, Any], message: Message) -> tuple[str, str]:
        if frame.get("action") != "peer_message_status" or not of(message.id, frame, "orig_msg_id", "dropped_msg_ids"):
            return "", ""
        status = str(frame.get("status"))
        reason = str(frame.get("drop_reason") or frame.get("reason") or "")[:100]
        if status in {"held", "denied", "expired"}:
            return "held", f"{status}: {reason}"
        return ("dropped", reason) if status == "dropped" else ("", "")
