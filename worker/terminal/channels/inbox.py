"""A session that takes other sessions' messages by a socket of its own: what Claude Code and Qwen Code have in common.

A message has no answer on its connection. The session's transcript proves it; what is not taken is said on a socket of
the sender's, beside the session's. The transcript has not the message's id, so that stands in the text, which is then
never the same twice.
"""

import contextlib
import glob
import json
import os
import re
import select
import socket
import time
from abc import ABC, abstractmethod
from typing import Any, Self

from worker.fault_steps import step
from worker.terminal.channels import owned, records
from worker.terminal.channels.answers import parsed
from worker.terminal.channels.channel import AsideError, Message, NotTakenError
from worker.terminal.channels.records import Records
from worker.terminal.pace import pace
from worker.terminal.proof import Verdict

_DAY = 86400.0
_PATIENCE = 3.0  # seconds for which an idle session may keep a message in its queue; it takes 0.1
_ANSWERS = 3.0  # seconds for the session to end a connection that we have ended
_WRITES = 1.0  # seconds in which what it has read is in its record
_MAX_REPLY = 64 * 1024
_QUEUE = b'"queue-operation"'
_AGAIN = "duplicate"  # why a session drops a text that is the same as the one before
_TAG = re.compile(r"\(message ([0-9a-f]{16})\)")
# How the notes begin that Claude Code 2.1.332 and Qwen Code 0.24.4 put around what another session says.
_ENDS = r"\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029"
_NOTE = re.compile(
    rf"(^|[{_ENDS}])(?=[^\w{_ENDS}]*"
    r"(?:(?:another|this came from another) (?:claude|qwen)\b|cross_session_message\b))",
    re.IGNORECASE,
)


def dashed(folder: str) -> str:
    """The name under which both keep what belongs to a folder."""
    return re.sub(r"[^A-Za-z0-9]", "-", folder)


def tag(message: Message) -> str:
    """What tells the message in a transcript, and makes its text another than that of every other message."""
    return f"(message {message.id[:16]})"


def unforged(text: str) -> str:
    """The text without what only the agent itself puts around a message, and without the tag of another message."""
    return _TAG.sub(r"(message: \1)", _NOTE.sub(r"\1> ", text))


def of(name: str, frame: dict[str, Any], single: str, several: str) -> bool:
    """Whether a frame is of the message of that name: an earlier sender may have had our number, and so our socket."""
    others = frame.get(several)
    return frame.get(single) == name or (isinstance(others, list) and name in others)


class InboxSession(ABC):
    """One session; see `channel.Session`."""

    agent = ""
    below = ""
    """Where transcripts lie below their folder's."""
    records_queue = True
    """Whether what waits behind a turn stands in the transcript."""

    def __init__(self, link: socket.socket, path: str, projects: str, folder: str, session: str, *, busy: bool) -> None:
        """`path` is the socket's to which `link` is connected; `session` works in `folder`."""
        self._link, self._path, self._projects = link, path, projects
        self._folder = f"{projects}/{dashed(folder)}/{self.below}"
        self._transcript = f"{self._folder}{session}.jsonl"
        self.id, self.busy = session, busy

    @classmethod
    def records(cls, projects: str, folder: str, session: str, why: AsideError) -> Records:
        """What stands for a session of a folder that cannot be reached for that reason."""

        def took(path: str, message: Message) -> bool:
            wanted = tag(message).encode()
            return any(wanted in line and cls._state(parsed(line)) == "submitted" for line, _ in records.lines(path))

        theirs = f"{projects}/{dashed(folder)}/{cls.below}"
        return Records(session, {*cls._of(projects, session), *_late(theirs)}, took, why)

    @classmethod
    def _of(cls, projects: str, session: str) -> list[str]:
        """The transcripts of that session: it may have been in another folder."""
        return glob.glob(f"{glob.escape(projects)}/*/{cls.below}{glob.escape(session)}.jsonl")  # noqa: PTH207 - these commands start without pathlib

    @abstractmethod
    def _frames(self, message: Message, text: str, reply: str) -> list[dict[str, Any]]:
        """What is said to the session; `reply` is where it may answer."""

    @staticmethod
    @abstractmethod
    def _state(record: dict[str, Any]) -> str:
        """What a record of the transcript that has the message says: `submitted`, `queued`, or nothing."""

    @abstractmethod
    def _told(self, frame: dict[str, Any], message: Message) -> tuple[str, str]:
        """What a frame at our socket says of the message: `queued`, `dropped` or `held`, or nothing; and why."""

    def lookup(self, message: Message) -> Verdict | None:
        """See `channel.Session.lookup`; a conversation that has been cleared since has a transcript of its own."""
        paths = {self._transcript, *_late(self._folder)}
        if message.session not in {"", self.id}:
            if not (theirs := self._of(self._projects, message.session)):
                raise AsideError("it was handed to another session, whose record is not there")
            paths.update(theirs)
        found = self._in(paths, message)
        if message.ended and found != "submitted":
            for path in paths:
                self._check_unbegun(path, message)
            return None
        if not found and message.session:
            self._catch_up()
            end = time.monotonic() + _WRITES
            while not (found := self._in(paths, message)) and time.monotonic() < end:
                time.sleep(0.1)
            if not found and self.busy and not self.records_queue:
                raise AsideError("a turn runs, and what waits behind it stands in no record")
        return self._verdict(found, "it was handed over earlier") if found else None

    def _check_unbegun(self, path: str, message: Message) -> None:
        """Of what waited in a queue that has ended with its process: AsideError if a turn may have begun with it."""
        waits = False
        for line, _ in records.lines(path):
            if tag(message).encode() in line:
                waits = waits or self._state(parsed(line)) == "queued"
            elif waits and _QUEUE in line and parsed(line).get("operation") != "enqueue":
                raise AsideError("its session has ended, and something was taken from the queue in which it waited")

    def _in(self, paths: set[str], message: Message) -> str:
        """The best that those transcripts say of the message."""
        return max((self._recorded(one, message, 0)[0] for one in paths), key=("", "queued", "submitted").index)

    def _catch_up(self) -> None:
        """Wait until the session has read what was written to its socket before: it ends our connection when we do.

        Raises:
            AsideError: it does not. It is stopped, perhaps, and what an earlier sender wrote may still lie there.
        """
        try:
            self._link.shutdown(socket.SHUT_WR)
            self._link.settimeout(_ANSWERS)
            while self._link.recv(4096):
                pass
        except OSError:
            raise AsideError("its session does not answer: what was written to it may still be unread") from None

    def send(self, message: Message, until: float) -> Verdict:
        """See `channel.Session.send`."""
        try:
            start = os.stat(self._transcript).st_size  # noqa: PTH116 - no pathlib here
        except OSError:
            start = 0
        with _Replies(self._path) as replies:
            frames = self._frames(message, f"{unforged(message.text)}\n\n{tag(message)}", replies.path)
            data = "".join(f"{json.dumps(one)}\n" for one in frames).encode()
            self._link.settimeout(max(0.1, until - time.monotonic()))
            sent = 0
            try:
                while sent < len(data):
                    sent += self._link.send(data[sent:])
            except OSError as why:
                words = f"its session did not take it whole: {why.strerror or why}"
                if sent < len(data) - 1:  # half a line is none; a line may do without its end
                    raise NotTakenError(words) from None
                return Verdict("unproven", words)
            step("channel.sent")
            return self._follow(message, replies, start, until)

    def close(self) -> None:
        """See `channel.Session.close`."""
        self._link.close()

    def _follow(self, message: Message, replies: "_Replies", start: int, until: float) -> Verdict:
        began = time.monotonic()
        seen = ""
        while time.monotonic() < until:
            found, start = self._recorded(self._transcript, message, start)
            seen = found or seen
            if not seen and self._is_unread():
                raise NotTakenError("its session ended, and had not read it")
            if seen == "submitted" or (seen and (self.busy or time.monotonic() - began > _PATIENCE)):
                return self._verdict(seen, "its session has it")
            status, reason = self._told(replies.next(pace(time.monotonic() - began)), message)
            if status == "queued":
                seen = status
            elif status == "dropped" and reason == _AGAIN:
                pass  # no two texts are the same: what it has got before is this message, by an earlier attempt
            elif status == "dropped" and not seen:
                raise NotTakenError(f"the session dropped it: {reason}")
            elif status == "held":
                return Verdict("unproven", f"the session says that the message is {reason}")
        if seen:
            return self._verdict(seen, "its session has it")
        return Verdict("unproven", f"it was handed to {self.agent}, but the session's record has it not")

    def _is_unread(self) -> bool:
        """Whether the session has ended, and had not read the message, which is the last that was written to it."""
        if not select.select([self._link], [], [], 0)[0]:
            return False
        try:
            self._link.recv(1, socket.MSG_PEEK)
        except OSError as why:
            return owned.unread(why)
        return False

    def _verdict(self, found: str, why: str) -> Verdict:
        queued = " in its queue, behind what it does" if found == "queued" else ""
        return Verdict(found, f"{why}{queued}", f"record {self._transcript}")

    def _recorded(self, path: str, message: Message, start: int) -> tuple[str, int]:
        """What the transcript says of the message behind byte `start`, and how far it was read.

        Raises:
            AsideError: it cannot be read.
        """
        found = ""
        wanted = tag(message).encode()
        for line, end in records.lines(path, start):
            start = end
            state = self._state(parsed(line)) if wanted in line else ""
            if state == "submitted":
                return state, start
            found = state or found
        return found, start


def _late(folder: str) -> list[str]:
    """The transcripts in a folder that were written within a day: that of a conversation which was cleared, too."""
    found = []
    for path in glob.glob(f"{glob.escape(folder)}*.jsonl"):  # noqa: PTH207 - no pathlib here
        with contextlib.suppress(OSError):
            if time.time() - os.stat(path).st_mtime < _DAY:  # noqa: PTH116 - no pathlib here
                found.append(path)
    return found


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
            raise NotTakenError(f"{self.path}: {why.strerror}") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        with contextlib.suppress(OSError):
            os.unlink(self.path)  # noqa: PTH108 - no pathlib here

    def next(self, seconds: float) -> dict[str, Any]:
        """The last frame of a connection, if one comes within so long; else nothing."""
        if not select.select([self._listener], [], [], seconds)[0]:
            return {}
        data = b""
        with contextlib.suppress(OSError):
            link, _ = self._listener.accept()
            with link:
                link.settimeout(0.5)
                while len(data) < _MAX_REPLY and (part := link.recv(4096)):
                    data += part
        lines = data.splitlines()
        return parsed(lines[-1]) if lines else {}
