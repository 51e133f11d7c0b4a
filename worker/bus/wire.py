"""What the bus sends, made safe: an entry becomes a message, whatever other writers put into it."""

import json
import re
from dataclasses import dataclass
from typing import Any

from worker.bus.errors import BadAnswerError

LARGEST_LIMIT = 100_000
"""The largest `limit` of an inbox page that every generation accepts."""

LONGEST_TEXT = 16_384
"""Characters; bridges refuse more."""

LARGEST_ID_PART = 2**63 - 1
"""Redis ids are two unsigned 64-bit numbers, SQLite's integers signed ones; no clock gets near either."""

LONGEST_STREAM_NAME = 512
LONGEST_CLASS = 64
_LONGEST_INTEGER = 4000
"""Python refuses to convert integers of more than 4,300 digits; longer ones stay text."""

_ID = re.compile(r"(0|[1-9][0-9]{0,18})-(0|[1-9][0-9]{0,18})", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class InboxMessage:
    """One inbox entry. `message_id` is `MS-SEQ`; its key on the bus is (stream, message_id).

    `text` and `source` are any text without lone surrogates (they may hold NUL and escapes). `message_class`
    is the entry's `class` field as sent, not yet checked against the known classes. `handle` is what the bus calls it
    when it is acknowledged. `in_order`: it comes after all that this bus showed before it, whatever time its id names.
    `name` is what an answer to it says that it answers, `answers` what this one says so; empty where there is none.
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
    handle: str = ""
    in_order: bool = False
    name: str = ""
    answers: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """(stream, message_id): unique within one agent's inbox."""
        return self.stream, self.message_id


class MalformedItemError(Exception):
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


def decode_item(raw: bytes) -> dict[str, Any]:
    """One item of a page; MalformedItemError where it is no JSON object."""
    try:
        item = _loads(raw)
    except (ValueError, RecursionError):
        raise MalformedItemError("is not readable JSON") from None
    if not isinstance(item, dict):
        raise MalformedItemError("is not an object")
    return item


def message_of(item: dict[str, Any], unnamed: str) -> InboxMessage:
    """An item as a message, in the stream `unnamed` where it names none; MalformedItemError."""
    message_id = item.get("id")
    if message_id is None:
        message_id = item.get("stream_id")
    if message_id is None:
        raise MalformedItemError("has no id")
    match = _ID.fullmatch(message_id) if isinstance(message_id, str) else None
    if match is None:
        raise MalformedItemError("has an id that is not MS-SEQ")
    ms, seq = int(match[1]), int(match[2])
    if max(ms, seq) > LARGEST_ID_PART:
        raise MalformedItemError("has an id beyond 2^63-1")
    stream = item.get("stream")
    if stream is None:
        stream = unnamed
    if not isinstance(stream, str) or not 0 < len(stream) <= LONGEST_STREAM_NAME:
        raise MalformedItemError("names no usable stream")
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
        raise MalformedItemError("has a text that cannot be written as JSON") from None


def _optional(value: object, longest: int = LONGEST_STREAM_NAME) -> str | None:
    return clean(value) if isinstance(value, str) and 0 < len(value) <= longest else None


def page_project(raw: bytes, asked: str | None) -> str | None:
    """The project that an answer names in `raw`; `asked` where that cannot be read."""
    try:
        project = _loads(raw)
    except (ValueError, RecursionError):
        return asked
    if project is None or project == "":
        return None
    return _optional(project) or asked
