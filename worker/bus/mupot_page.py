"""What a pot answers with, made safe: a page of its inbox, in either of the two forms that it has."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from worker.bus.errors import BadAnswerError
from worker.bus.wire import (
    LARGEST_ID_PART,
    LONGEST_STREAM_NAME,
    InboxMessage,
    MalformedItemError,
    as_text,
    clean,
    parse_object,
)

PAGE = 100
"""Messages that an answer holds, and ids that one acknowledgement takes, at most."""
EVENT_END = b"\n\n"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CLASSES = {"request": "actionable", "ack": "reaction"}
_LONGEST_HANDLE = 128


@dataclass(frozen=True, slots=True)
class PotPage:
    """One answer, oldest first: `last` is the largest `seq` of all, `full` says that there is more behind it."""

    messages: tuple[InboxMessage, ...] = ()
    malformed: tuple[tuple[int, str], ...] = ()
    last: int | None = None
    full: bool = False
    count: int = 0
    size: int = 0


def stream_of(agent: str) -> str:
    """The name that an inbox of a pot has in the ledger."""
    return f"mupot:agent:{agent}"


def listed(body: bytes, agent: str) -> PotPage:
    """The answer of `GET /api/inbox`. BadAnswerError."""
    answer = parse_object(body)
    items, remaining = answer.get("messages"), answer.get("remaining")
    if not isinstance(items, list):
        raise BadAnswerError("The bus sent no list of messages; is bridge_url a mupot? Retrying.")
    # Of a peek, `remaining` counts what it shows, too.
    full = remaining > len(items) if isinstance(remaining, int) else len(items) >= PAGE
    return _page(items, agent, full=full, size=len(body))


def streamed(body: bytes, agent: str) -> PotPage:
    """The first event of a stream: a page, or a sign of life where there is nothing. BadAnswerError."""
    event, end, _ = body.partition(EVENT_END)
    if not end:
        raise BadAnswerError("The bus ended a stream without an event; is bridge_url a mupot? Retrying.")
    if not event.startswith(b"data:"):
        return PotPage()
    said = parse_object(event.removeprefix(b"data:"))
    items = said.get("messages") if said.get("type") == "initial" else [said.get("message")]
    if not isinstance(items, list):
        raise BadAnswerError("The bus sent an event without messages; is bridge_url a mupot? Retrying.")
    return _page(items, agent, full=len(items) >= PAGE, size=len(body))


def _page(items: Sequence[Any], agent: str, *, full: bool, size: int) -> PotPage:
    messages, malformed = [], []
    for number, item in enumerate(items, 1):
        try:
            messages.append(_message(item, agent))
        except MalformedItemError as reason:
            malformed.append((hash(repr(item)), f"item {number} of the page {reason}"))
    messages.sort(key=lambda message: message.seq)
    seqs = [item["seq"] for item in items if isinstance(item, dict) and type(item.get("seq")) is int]
    last = max(seqs, default=None)
    return PotPage(tuple(messages), tuple(malformed), last, full, len(items), size)


def _message(item: Any, agent: str) -> InboxMessage:
    """One message. Its key is when it was written, and its `seq`: a pot that was put back gives numbers again."""
    if not isinstance(item, dict):
        raise MalformedItemError("is not an object")
    seq, handle, sender = item.get("seq"), item.get("id"), item.get("from_agent")
    if type(seq) is not int or not 0 <= seq <= LARGEST_ID_PART:
        raise MalformedItemError("has no usable seq")
    if not isinstance(handle, str) or not 0 < len(handle) <= _LONGEST_HANDLE:
        raise MalformedItemError("has no usable id")
    project, written = item.get("project_id"), item.get("created_at")
    ms = _milliseconds(written)
    try:
        text = as_text(item.get("body"))
    except (ValueError, RecursionError):
        raise MalformedItemError("has a body that cannot be written as JSON") from None
    return InboxMessage(
        stream=stream_of(agent),
        message_id=f"{ms}-{seq}",
        ms=ms,
        seq=seq,
        source=f"agent:{clean(sender)}" if isinstance(sender, str) and sender else "?",
        text=text,
        message_class=_CLASSES.get(str(item.get("kind"))),
        project=clean(project) if isinstance(project, str) and 0 < len(project) <= LONGEST_STREAM_NAME else None,
        timestamp=clean(str(written)),
        handle=handle,
        in_order=True,
        name=_reference(item.get("request_id")) or _reference(handle),
        answers=_reference(item.get("in_reply_to")),
    )


def _reference(value: Any) -> str:
    """A name that a pot takes as `in_reply_to`; empty where it is none."""
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_.:-]{1,128}", value) else ""


def _milliseconds(written: Any) -> int:
    """When a message was written: ISO 8601, in UTC where it does not say. MalformedItemError."""
    try:
        moment = datetime.fromisoformat(written)
        ms = (moment.replace(tzinfo=moment.tzinfo or UTC) - _EPOCH) // timedelta(milliseconds=1)
    except (TypeError, ValueError, OverflowError):
        raise MalformedItemError("has no usable created_at") from None
    if ms < 0:
        raise MalformedItemError("has a created_at before 1970")
    return ms
