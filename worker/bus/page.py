"""An inbox page, read while it comes: never the whole of it in memory, and never all or nothing.

A page lists the newest entries first, and may hold a hundred thousand. What the ledger knows is passed over at once;
of the rest the oldest that fit into a bounded room are kept, for they are delivered first, and what is left out for
now is asked for again from there. Every item is cut out and decoded on its own, so that one that cannot be decoded
costs only itself.
"""

import heapq
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from worker.bus.errors import BadAnswerError, TooLargeError
from worker.bus.wire import InboxMessage, MalformedItemError, decode_item, message_of, page_project, stream_name

Id = tuple[int, int]
Known = Callable[[Sequence[InboxMessage]], Collection[tuple[str, str]]]
"""Those of the messages, as (stream, message_id), that the caller knows."""

ROOM = 8 * 1024 * 1024
"""Bytes of entries, as sent, that one page may bring into memory."""

_ENTRY_COSTS = 500  # bytes that an entry takes beside what was sent
_BATCH = 500  # entries, or
_BATCH_BYTES = 512 * 1024  # so many bytes of them, for which the ledger is asked at a time
_MOST_REASONS = 1000
_MOST_ENTRIES = 1_000_000  # no bridge sends more than the widest page that is ever asked for
_MANY_STREAMS = 1000
_MOST_FIELDS = 1000  # beside the list of messages; bridges send two

_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["{}\[\],]', re.DOTALL)
_BLANK = b" \t\r\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_QUOTE, _COMMA, _OPEN_LIST, _OPEN_OBJECT = b'",[{'
_OPENING, _CLOSING = b"{[", b"}]"


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of `GET /inbox`, as far as it was new.

    `messages` are oldest first by (ms, seq, stream). `raw_count` counts the items as sent, malformed and known ones
    included: it is what tells a full page. `malformed` holds one reason an item, without its text, and `marks` what
    tells such an item from others when it comes again. `names_streams` is true when any item named its stream, which no
    bridge of the oldest generation does; `streams` is how many there are, counted to a thousand. `oldest` is the
    smallest id of all. `more`: newer ones were left out because there was no room. `size` is that of the answer, in
    bytes.
    """

    messages: tuple[InboxMessage, ...]
    raw_count: int
    malformed: tuple[str, ...]
    names_streams: bool
    streams: int = 0
    oldest: Id | None = None
    more: bool = False
    size: int = 0
    marks: tuple[int, ...] = ()


def none_known(_messages: Sequence[InboxMessage]) -> Collection[tuple[str, str]]:
    """For who has no ledger to ask."""
    return ()


def parse_page(body: bytes | bytearray, agent: str, project: str | None) -> Page:
    """Read one whole `/inbox` answer; see PageReader."""
    reader = PageReader(agent, project, longest_item=len(body) + 1)
    reader.feed(bytes(body))
    return reader.close()


class PageReader:
    """Takes the body of an answer in pieces: cuts it into items, and keeps what is new."""

    def __init__(
        self, agent: str, project: str | None, *, longest_item: int, room: int = ROOM, known: Known = none_known
    ) -> None:
        """`longest_item`: bytes that one entry, or anything else in the answer, may have."""
        self._longest = longest_item
        self._entries = _Entries(agent, project, room, known)
        self._size = 0
        self._buffer = bytearray()  # what is still wanted, and what has not been looked at
        self._at = 0  # up to here it has been looked at
        self._look_at = 0  # how long it must be before looking again is worth it
        self._begun = self._whole = self._broken = False
        self._depth = 0
        self._key: str | None = None
        self._value_at = 0  # where the value of `_key`, or the next item of the list, begins
        self._in_list = self._had_list = self._had_no_list = False
        self._fields = 0

    @property
    def progress(self) -> int:
        """How many bytes of the answer were worth waiting for: messages, and what may become one. Rubbish is not."""
        return self._entries.size + len(self._buffer)

    def feed(self, chunk: bytes) -> None:
        """Read on.

        Raises TooLargeError when something in the answer has no end, or the answer itself, and what `known` raises.
        """
        self._size += len(chunk)
        self._buffer += chunk
        if not self._broken and len(self._buffer) >= self._look_at:
            self._scan()
        if len(self._buffer) > self._longest:
            raise TooLargeError(
                f"The bus sent an entry of more than {self._longest:,} bytes; it was cut off. "
                "If entries really are that long, raise max_page_bytes."
            )

    def close(self) -> Page:
        """The page.

        Raises BadAnswerError when the answer was not one whole JSON object with a list of messages.
        """
        if not self._broken:
            self._scan()
        if self._broken or not self._whole or self._buffer.strip(_BLANK):
            raise BadAnswerError("The bus did not answer with one whole JSON object (HTML, or cut short). Retrying.")
        if self._had_no_list:
            raise BadAnswerError("The bus sent messages that are not a list; is bridge_url really a bridge? Retrying.")
        if not self._had_list:
            raise BadAnswerError("The bus sent no list of messages; is bridge_url really a bridge? Retrying.")
        return self._entries.page(self._size)

    def drop(self) -> None:
        """Forget what was not taken in."""
        self._buffer.clear()

    def _scan(self) -> None:
        """Look at what has come, up to the first string that has no end yet."""
        buffer = self._buffer
        for token in _TOKEN.finditer(buffer, self._at):
            kind = buffer[token.start()]
            if kind == _QUOTE and token.end() - token.start() == 1:
                self._at = token.start()
                break
            if not self._begun:
                before = bytes(buffer[: token.start()]).removeprefix(_BYTE_ORDER_MARK)
                self._begun = True
                self._broken = kind != _OPEN_OBJECT or bool(before.strip(_BLANK))
            self._broken = self._broken or self._whole  # something follows the object
            if self._broken:
                return
            self._take(kind, token.start(), token.end())
            self._at = token.end()
        else:
            if self._begun and not self._whole:
                self._at = len(buffer)
        wanted = self._value_at if self._key is not None else self._at
        if self._begun:
            del buffer[:wanted]
            self._at -= wanted
            self._value_at = 0
        # A string of many pieces is looked at from its beginning each time: rarely, then.
        self._look_at = len(buffer) + len(buffer) // 4

    def _take(self, kind: int, start: int, end: int) -> None:
        """One token: a whole string, a bracket or a comma."""
        if kind == _QUOTE:
            if self._depth == 1 and self._key is None:
                self._key = self._buffer[start + 1 : end - 1].decode("utf-8", "replace")
                self._value_at = end
            return
        opens_list = kind == _OPEN_LIST and self._depth == 1 and self._key == "messages" and self._is_first(start)
        self._depth += (kind in _OPENING) - (kind in _CLOSING)
        if opens_list:
            self._in_list = self._had_list = True
            self._value_at = end
        elif self._in_list:
            self._end_item(kind, start, end)
        elif self._key is not None and ((kind == _COMMA and self._depth == 1) or self._depth == 0):
            self._end_field(bytes(self._buffer[self._value_at : start]))
        if self._depth == 0:
            self._whole = True

    def _is_first(self, start: int) -> bool:
        """Whether only the colon stands between the key and here."""
        return bytes(self._buffer[self._value_at : start]).strip(_BLANK) == b":"

    def _end_item(self, kind: int, start: int, end: int) -> None:
        closed = self._depth == 1
        if closed or (kind == _COMMA and self._depth == 2):
            raw = bytes(self._buffer[self._value_at : start])
            if raw.strip(_BLANK) or not closed:
                self._entries.add(raw)
            self._value_at = end
        if closed:
            self._in_list = False
            self._key = None

    def _end_field(self, raw: bytes) -> None:
        self._fields += 1
        if self._fields > _MOST_FIELDS:
            raise TooLargeError(f"The bus sent more than {_MOST_FIELDS:,} fields beside its messages; it was cut off.")
        if self._key == "messages":
            self._had_no_list = True
        elif self._key == "project":
            self._entries.name_project(raw.strip(_BLANK).removeprefix(b":"))
        self._key = None


class _Entries:
    """The items of a page: decoded, looked up, and the oldest new ones kept.

    An item without a stream (oldest generation) gets the name its bridge would give: by the project the answer
    itself names, since a token's project overrides the one asked for, else by the one asked for.
    """

    def __init__(self, agent: str, project: str | None, room: int, known: Known) -> None:
        self._agent, self._project, self._known = agent, project, known
        self._unnamed = stream_name(agent, project)
        self._kept = _Oldest(room)
        self._batch: dict[tuple[str, str], tuple[InboxMessage, int]] = {}
        self._batch_size = 0
        self._malformed: list[str] = []
        self._marks: list[int] = []
        self._raw_count = 0
        self.size = 0  # bytes of those that are messages
        self._names_streams = False
        self._oldest: Id | None = None
        self._streams: set[str] = set()
        self._renamed: dict[str, str] = {}

    def name_project(self, raw: bytes) -> None:
        """The answer's own word for the project."""
        named = stream_name(self._agent, page_project(raw, self._project))
        if self._raw_count and named != self._unnamed:  # it came behind the items
            self._renamed = {self._unnamed: named}
        self._unnamed = named

    def add(self, raw: bytes) -> None:
        """One item as it was sent."""
        self._raw_count += 1
        if self._raw_count > _MOST_ENTRIES:
            raise TooLargeError(f"The bus sent more than {_MOST_ENTRIES:,} entries in one answer; it was cut off.")
        try:
            item = decode_item(raw)
            self._names_streams = self._names_streams or item.get("stream") is not None
            message = message_of(item, self._unnamed)
        except MalformedItemError as reason:
            if len(self._malformed) < _MOST_REASONS:
                self._malformed.append(f"item {self._raw_count} of the page {reason}")
                self._marks.append(hash(raw.strip(_BLANK)))
            return
        self.size += len(raw)
        if len(self._streams) < _MANY_STREAMS:  # a hostile bus may name a new one in each entry
            self._streams.add(message.stream)
        self._oldest = min(self._oldest or (message.ms, message.seq), (message.ms, message.seq))
        self._batch.setdefault(message.key, (message, len(raw) + _ENTRY_COSTS))
        self._batch_size += len(raw)
        if len(self._batch) >= _BATCH or self._batch_size >= _BATCH_BYTES:
            self._look_up()

    def _look_up(self) -> None:
        if not self._batch:  # as nearly always: whatever would be asked costs a quiet inbox more than its answer
            return
        known = self._known([message for message, _ in self._batch.values()])
        for message, size in self._batch.values():
            if message.key not in known:
                self._kept.add(message, size)
        self._batch.clear()
        self._batch_size = 0

    def page(self, size: int) -> Page:
        """All of it."""
        self._look_up()
        messages, more = self._kept.oldest_first()
        if self._renamed and not self._names_streams:
            messages = [replace(m, stream=self._renamed.get(m.stream, m.stream)) for m in messages]
        return Page(
            messages=tuple(messages),
            raw_count=self._raw_count,
            malformed=tuple(self._malformed),
            names_streams=self._names_streams,
            streams=len(self._streams),
            oldest=self._oldest,
            more=more,
            size=size,
            marks=tuple(self._marks),
        )


class _Oldest:
    """The oldest messages that fit into `room` bytes, whatever order they come in."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._heap: list[tuple[int, int, int, tuple[str, str]]] = []  # newest on top
        self._messages: dict[tuple[str, str], tuple[InboxMessage, int]] = {}
        self._used = 0
        self._left_out: Id | None = None  # the oldest that was

    def add(self, message: InboxMessage, size: int) -> None:
        """Keep it, and let go of newer ones that have no room beside it."""
        if message.key in self._messages:
            return
        self._messages[message.key] = message, size
        heapq.heappush(self._heap, (-message.ms, -message.seq, len(self._heap), message.key))
        self._used += size
        while self._used > self._room and len(self._heap) > 1:
            ms, seq, _, key = heapq.heappop(self._heap)
            self._used -= self._messages.pop(key)[1]
            self._left_out = min(self._left_out or (-ms, -seq), (-ms, -seq))

    def oldest_first(self) -> tuple[list[InboxMessage], bool]:
        """What was kept, without gaps up to what was left out; and whether anything was."""
        messages = sorted((m for m, _ in self._messages.values()), key=lambda m: (m.ms, m.seq, m.stream))
        if self._left_out is None:
            return messages, False
        without_gaps = [m for m in messages if (m.ms, m.seq) < self._left_out]
        return without_gaps or messages, True
