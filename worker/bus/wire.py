"""What the bus sends, made safe: an inbox page becomes messages, whatever other writers put into it.

Every item is cut out of the page and decoded on its own, so an item that cannot be decoded costs only itself,
and a page never exists a second time in memory as one decoded string.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from worker.bus.errors import BadAnswerError

LARGEST_ID_PART = 2**63 - 1
"""Redis ids are two unsigned 64-bit numbers, SQLite's integers signed ones; no clock gets near either."""

LONGEST_STREAM_NAME = 512
LONGEST_CLASS = 64
_LONGEST_INTEGER = 4000
"""Python refuses to convert integers of more than 4,300 digits; longer ones stay text."""

_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["{}\[\],]', re.DOTALL)
_ID = re.compile(r"(0|[1-9][0-9]{0,18})-(0|[1-9][0-9]{0,18})", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")
_BLANK = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class InboxMessage:
    """One inbox entry. `message_id` is `MS-SEQ`; its key on the bus is (stream, message_id).

    `text` and `source` are any text without lone surrogates (they may hold NUL and escapes). `message_class`
    is the entry's `class` field as sent, not yet checked against the known classes.
    """

    stream: str
    message_id: str
    ms: int
    seq: int
    source: str
    text: str
    message_class: str | None
    project: str | None
    timestamp: str | None

    @property
    def key(self) -> tuple[str, str]:
        """(stream, message_id): unique within one agent's inbox."""
        return self.stream, self.message_id


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of `GET /inbox`.

    `messages` are oldest first by (ms, seq, stream). `raw_count` counts the items as sent, malformed ones
    included: it is what tells a full page. `malformed` holds one reason an item, without its text.
    `names_streams` is true when any item named its stream, which no bridge of the oldest generation does.
    """

    messages: tuple[InboxMessage, ...]
    raw_count: int
    malformed: tuple[str, ...]
    names_streams: bool


class _MalformedItemError(Exception):
    """An item that is no message; its argument says why, without its text."""


def stream_name(agent: str, project: str | None) -> str:
    """The name the bridge gives an agent's stream (as in its `_agent_stream`, every generation)."""
    scope = f"project:{project}" if project else "global"
    return f"sos:stream:{scope}:agent:{agent}"


def clean(text: str) -> str:
    """The text with U+FFFD for each lone surrogate, so that it can be stored, printed and passed on."""
    return _SURROGATE.sub("\ufffd", text)


def as_text(value: object) -> str:
    """The text of a field of any type: null is empty, numbers and objects are compact JSON."""
    if isinstance(value, str):
        return clean(value)
    if value is None:
        return ""
    return clean(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def parse_page(body: bytes | bytearray, agent: str, project: str | None) -> Page:
    """Read one `/inbox` answer.

    An item without a stream (oldest generation) gets the name its bridge would give: by the project the
    answer itself names, since a token's project overrides the one asked for, else by `project`.

    Raises BadAnswerError when the body is not one whole JSON object with a list of messages. A bad item never
    raises.
    """
    fields = _top_level(body)
    if "messages" not in fields:
        raise BadAnswerError("The bus sent no list of messages; is bridge_url really a bridge? Retrying.")
    start, end = fields["messages"]
    if body[start : start + 1] != b"[":
        raise BadAnswerError("The bus sent messages that are not a list; is bridge_url really a bridge? Retrying.")
    if "project" in fields:
        project = _page_project(body, fields["project"], project)
    unnamed = stream_name(agent, project)

    found: dict[tuple[str, str], InboxMessage] = {}
    malformed: list[str] = []
    names_streams = False
    raw_count = 0
    for position, (first, last) in enumerate(_items(body, start, end), start=1):
        raw_count += 1
        try:
            item = _decode_item(bytes(body[first:last]))
            names_streams = names_streams or item.get("stream") is not None
            message = _message(item, unnamed)
        except _MalformedItemError as reason:
            malformed.append(f"item {position} of the page {reason}")
        else:
            found.setdefault(message.key, message)
    ordered = sorted(found.values(), key=lambda message: (message.ms, message.seq, message.stream))
    return Page(tuple(ordered), raw_count, tuple(malformed), names_streams)


def parse_object(body: bytes | bytearray) -> dict[str, Any]:
    """Read an answer that is one small JSON object; BadAnswerError otherwise."""
    try:
        value = _loads(bytes(body))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BadAnswerError("The bus did not answer with a JSON object; is bridge_url really a bridge?")
    return value


def _loads(raw: bytes) -> Any:
    # strict=False: raw control characters inside strings are not worth losing a message for.
    return json.loads(raw.decode("utf-8", "replace"), strict=False, parse_int=_integer)


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else digits


def _decode_item(raw: bytes) -> dict[str, Any]:
    try:
        item = _loads(raw)
    except (ValueError, RecursionError):
        raise _MalformedItemError("is not readable JSON") from None
    if not isinstance(item, dict):
        raise _MalformedItemError("is not an object")
    return item


def _message(item: dict[str, Any], unnamed: str) -> InboxMessage:
    message_id = item.get("id")
    if message_id is None:
        message_id = item.get("stream_id")
    if message_id is None:
        raise _MalformedItemError("has no id")
    match = _ID.fullmatch(message_id) if isinstance(message_id, str) else None
    if match is None:
        raise _MalformedItemError("has an id that is not MS-SEQ")
    ms, seq = int(match[1]), int(match[2])
    if max(ms, seq) > LARGEST_ID_PART:
        raise _MalformedItemError("has an id beyond 2^63-1")
    stream = item.get("stream")
    if stream is None:
        stream = unnamed
    if not isinstance(stream, str) or not 0 < len(stream) <= LONGEST_STREAM_NAME:
        raise _MalformedItemError("names no usable stream")
    source = item.get("source")
    if source is None:
        source = item.get("sender")
    try:
        return InboxMessage(
            stream=clean(stream),
            message_id=str(message_id),
            ms=ms,
            seq=seq,
            source="?" if source is None else as_text(source),
            text=as_text(item.get("text")),
            message_class=_optional(item.get("class"), LONGEST_CLASS),
            project=_optional(item.get("project")),
            timestamp=_optional(item.get("timestamp")),
        )
    except (ValueError, RecursionError):
        raise _MalformedItemError("has a text that cannot be written as JSON") from None


def _optional(value: object, longest: int = LONGEST_STREAM_NAME) -> str | None:
    return clean(value) if isinstance(value, str) and 0 < len(value) <= longest else None


def _page_project(body: bytes | bytearray, span: tuple[int, int], asked: str | None) -> str | None:
    try:
        project = _loads(bytes(body[span[0] : span[1]]))
    except (ValueError, RecursionError):
        return asked
    if project is None or project == "":
        return None
    return _optional(project) or asked


def _top_level(body: bytes | bytearray) -> dict[str, tuple[int, int]]:
    """Where each field of the outermost object lies: key to (start, end). Checks that the object is whole."""
    fields: dict[str, tuple[int, int]] = {}
    start = _skip(body, 3 if body[:3] == b"\xef\xbb\xbf" else 0)
    depth = 0
    key: str | None = None
    value_at = 0
    for token in _TOKEN.finditer(body, start):
        kind = body[token.start()]
        if (depth == 0 and (token.start() != start or kind != _OPEN_OBJECT)) or token.group() == b'"':
            break
        if kind == _QUOTE and depth == 1 and key is None:
            key = token.group()[1:-1].decode("utf-8", "replace")
            value_at = _skip(body, _skip(body, token.end()) + 1)
        depth += (kind in _OPENING) - (kind in _CLOSING)
        if key is not None and ((kind == _COMMA and depth == 1) or depth == 0):
            fields[key] = (value_at, token.start())
            key = None
        if depth == 0:
            if _skip(body, token.end()) == len(body):
                return fields
            break
    raise BadAnswerError("The bus did not answer with one whole JSON object (HTML, or cut short). Retrying.")


def _items(body: bytes | bytearray, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The (start, end) of each element of the list that begins at `start` and ends before `end`."""
    depth = 0
    first = start + 1
    for token in _TOKEN.finditer(body, start, end):
        kind = body[token.start()]
        depth += (kind in _OPENING) - (kind in _CLOSING)
        if (kind == _COMMA and depth == 1) or depth == 0:
            blank = not bytes(body[first : token.start()]).strip(_BLANK)
            if not (blank and depth == 0):
                yield first, token.start()
            first = token.end()
        if depth == 0:
            return


def _skip(body: bytes | bytearray, position: int) -> int:
    while position < len(body) and body[position] in _BLANK:
        position += 1
    return position


_QUOTE = ord('"')
_COMMA = ord(",")
_OPEN_OBJECT = ord("{")
_OPENING = b"{["
_CLOSING = b"}]"
