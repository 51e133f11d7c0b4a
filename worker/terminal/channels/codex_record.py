"""The record of one of Codex's threads (its rollout): which message began a turn, and what followed.

Facts are codex-cli 0.171.0's, found by running it. Two lines say that a turn has a message, within some 2 ms: what the
person's side said, which is what a resumed thread goes on with, and then whose it was. A server that is killed between
a message and its answer leaves a record that ends with it.
"""

from collections.abc import Iterator

from worker.terminal.channels import records
from worker.terminal.channels.answers import parsed
from worker.terminal.channels.channel import DriftError

_NAMED = b'"UserMessage"'
_SAID = b'"role":"user"'
_ENDED = b'"task_complete"'


class Record:
    """One record, of which each line is read once. Whatever reads raises AsideError: it cannot be read."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.is_nameless = False
        """Whether the text that was asked for is there, and no line behind it says whose it is."""
        self._read = self._message = 0

    def check(self) -> None:
        """Raises DriftError if it has turns, and none is written down in the way that was measured."""
        ended = known = False
        for line in self._lines():
            known = known or (_NAMED in line and b'"client_id"' in line)
            ended = ended or _ENDED in line
            if known:
                break
        self._read = 0
        if ended and not known:
            raise DriftError("its record does not say which turn was whose")

    def has_turn(self, client_id: str, text: str) -> bool:
        """Whether a message of that id began a turn; `text` is its text, see `is_nameless`."""
        for line in self._lines():
            if client_id.encode() in line and _is_turn(line, client_id):
                self._message, self.is_nameless = self._read, False
                return True
            if _NAMED in line:
                self.is_nameless = False  # the text in front of it was that one's
            elif _SAID in line and _has_text(line, text):
                self._message, self.is_nameless = self._read, True
        return False

    def ends_with_it(self) -> bool:
        """Whether nothing stands behind the message that `has_turn` has found, or its text."""
        return self._message == self._read and not self.has_more()

    def has_more(self) -> bool:
        """Whether there is another line."""
        return next(self._lines(), None) is not None

    def _lines(self) -> Iterator[bytes]:
        for line, end in records.lines(self.path, self._read):
            self._read = end
            yield line


def _is_turn(line: bytes, client_id: str) -> bool:
    payload = parsed(line).get("payload")
    item = payload.get("item") if isinstance(payload, dict) and payload.get("type") == "item_completed" else None
    return isinstance(item, dict) and item.get("client_id") == client_id


def _has_text(line: bytes, text: str) -> bool:
    payload = parsed(line).get("payload")
    content = payload.get("content") if isinstance(payload, dict) and payload.get("type") == "message" else None
    return isinstance(content, list) and [one.get("text") for one in content if isinstance(one, dict)] == [text]
