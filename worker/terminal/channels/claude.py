"""The inbox socket of a Claude Code session: the message reaches the model marked as another session's.

Facts are 2.1.332's, found by running it (documented from 2.1.224 as cross-session messaging). `sessions/PID.json` names
the session and its socket, and says whether it is `idle`, `busy` or `waiting` for a person; the key lies beside it. A
message has no answer: the session's transcript proves it. What is dropped is told to the sender's own socket at once:
the same text twice in a row, a burst, a full queue. The transcript has not the message's id, so that is in the text,
which is then never the same twice.

In a session that bypasses permissions a message opens a dialog on the screen, unless the owner's settings accept
messages. That is foreseen, and never caused.
"""

import contextlib
import glob
import json
import os
import re
import select
import socket
import time
from typing import Any, Self

from worker import process_table
from worker.fault_steps import step
from worker.secret import Secret
from worker.terminal.channels import owned
from worker.terminal.channels.channel import AsideError, DriftError, Message, Site
from worker.terminal.proof import Verdict

_BYPASS = re.compile(r"--dangerously-skip-permissions|--allow-dangerously-skip-permissions|bypassPermissions")
_BYPASS_SHOWN = "bypass permissions on"
_DAY = 86400.0
_GLANCE = 0.03
_PATIENCE = 3.0  # seconds for which an idle session may keep a message in its queue; it takes 0.1
_MAX_REPLY = 64 * 1024


def find(site: Site, until: float) -> "ClaudeSession":
    """See `channel.Module.find`."""
    base = site.where.environment.get("CLAUDE_CONFIG_DIR") or f"{site.where.home}/.claude"
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
    key = _json(owned.content(keys[0], secret=True)).get("peerToken")
    if not isinstance(key, str) or not key:
        raise DriftError("the key of its inbox is of a kind that is not known")
    link = owned.connected(path, until)
    folder = re.sub(r"[^A-Za-z0-9]", "-", str(known["cwd"]))
    return ClaudeSession(link, path, Secret(key), known, f"{base}/projects/{folder}")


def _described(base: str, pids: list[int]) -> dict[str, Any]:
    """What the session of one of the processes says of itself.

    Raises:
        AsideError: there is none.
        DriftError: it is not of the shape that was measured.
    """
    for pid in pids:
        path = f"{base}/sessions/{pid}.json"
        if os.path.exists(path):  # noqa: PTH110 - no pathlib here
            known = _json(owned.content(path))
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
    settings: dict[str, Any] = {}
    with contextlib.suppress(AsideError):
        settings = _json(owned.content(f"{base}/settings.json"))
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


def _json(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class ClaudeSession:
    """One session; see `channel.Session`."""

    def __init__(self, link: socket.socket, path: str, key: Secret, known: dict[str, Any], folder: str) -> None:
        self._link, self._path, self._key, self._folder = link, path, key, folder
        self._id = str(known["sessionId"])
        self._transcript = f"{folder}/{self._id}.jsonl"
        self.busy = known["status"] != "idle"

    def lookup(self, message: Message) -> Verdict | None:
        """See `channel.Session.lookup`; a conversation that has been cleared since has a transcript of its own."""
        found = ""
        for path in glob.glob(f"{glob.escape(self._folder)}/*.jsonl"):  # noqa: PTH207 - no pathlib here
            with contextlib.suppress(OSError):
                if path == self._transcript or time.time() - os.stat(path).st_mtime < _DAY:  # noqa: PTH116 - the same
                    found = max(found, _recorded(path, _tag(message), 0)[0], key=("", "queued", "submitted").index)
        return self._verdict(found, "it was handed over earlier") if found else None

    def send(self, message: Message, until: float) -> Verdict:
        """See `channel.Session.send`."""
        try:
            start = os.stat(self._transcript).st_size  # noqa: PTH116 - no pathlib here
        except OSError:
            start = 0
        with _Replies(self._path) as replies:
            said = {
                "type": "user",
                "message": {"role": "user", "content": f"{message.text}\n\n{_tag(message)}"},
                "from": f"uds:{replies.path}",
                "msg_id": message.id,
                "session_id": self._id,
            }
            frames = json.dumps({"type": "auth", "token": self._key.reveal()}), json.dumps(said)
            try:
                self._link.settimeout(max(0.1, until - time.monotonic()))
                self._link.sendall("".join(f"{one}\n" for one in frames).encode())
            except OSError as why:
                return Verdict("unproven", f"it was handed to claude, then the connection broke: {why.strerror or why}")
            step("channel.sent")
            return self._follow(message, replies, start, until)

    def close(self) -> None:
        """See `channel.Session.close`."""
        self._link.close()

    def _follow(self, message: Message, replies: "_Replies", start: int, until: float) -> Verdict:
        began = time.monotonic()
        tag = _tag(message)
        seen = ""
        while time.monotonic() < until:
            found, start = _recorded(self._transcript, tag, start)
            seen = found or seen
            if seen == "submitted" or (seen and (self.busy or time.monotonic() - began > _PATIENCE)):
                return self._verdict(seen, "its session has it")
            status, reason = replies.next(_GLANCE)
            if status == "dropped" and not seen:
                raise AsideError(f"the session dropped it: {reason}")
            if status in {"held", "denied", "expired"}:
                return Verdict("unproven", f"the session says that the message is {status}: {reason}")
        if seen:
            return self._verdict(seen, "its session has it")
        return Verdict("unproven", "it was handed to claude, but the session's record has it not")

    def _verdict(self, found: str, why: str) -> Verdict:
        queued = " in its queue, behind what it does" if found == "queued" else ""
        return Verdict(found, f"{why}{queued}", f"record {self._transcript}")


def _tag(message: Message) -> str:
    """What tells the message in a transcript, and makes its text another than that of every other message."""
    return f"(message {message.id[:16]})"


def _recorded(path: str, tag: str, start: int) -> tuple[str, int]:
    """`submitted` or `queued` if the transcript has the message behind byte `start`, and how far it was read."""
    found = ""
    wanted = tag.encode()
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - no pathlib here
            file.seek(start)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                start += len(line)
                if wanted not in line:
                    continue
                kind = _json(line)
                if kind.get("type") in {"user", "attachment"}:  # a turn of its own, or absorbed into the one that runs
                    return "submitted", start
                if kind.get("type") == "queue-operation" and kind.get("operation") == "enqueue":
                    found = "queued"
    except OSError:
        pass
    return found, start


class _Replies:
    """A socket of our own beside the session's, on which it says what it will not take."""

    def __init__(self, beside: str) -> None:
        self.path = f"{os.path.dirname(os.path.realpath(beside))}/{os.getpid()}.sock"  # noqa: PTH120 - no pathlib here
        self._listener = socket.socket(socket.AF_UNIX)

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError):
            os.unlink(self.path)  # noqa: PTH108 - of an earlier process with our number
        try:
            self._listener.bind(self.path)
            os.chmod(self.path, 0o600)  # noqa: PTH101 - no pathlib here
            self._listener.listen(4)
        except OSError as why:
            self._listener.close()
            raise AsideError(f"{self.path}: {why.strerror}") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        with contextlib.suppress(OSError):
            os.unlink(self.path)  # noqa: PTH108 - no pathlib here

    def next(self, seconds: float) -> tuple[str, str]:
        """The status and reason of a frame, if one comes within so long; else nothing."""
        if not select.select([self._listener], [], [], seconds)[0]:
            return "", ""
        data = b""
        with contextlib.suppress(OSError):
            link, _ = self._listener.accept()
            with link:
                link.settimeout(0.5)
                while b"\n" not in data and len(data) < _MAX_REPLY and (part := link.recv(4096)):
                    data += part
        frame = _json(data.partition(b"\n")[0])
        if frame.get("action") != "peer_message_status":
            return "", ""
        return str(frame.get("status")), str(frame.get("drop_reason") or frame.get("reason") or "")[:100]
