"""mupot as a source: SOS's successor, whose inbox keeps what is unread. Read in its source, 0.30.0: docs/wire.md#mupot.

It is read with `peek`, and acknowledged once the ledger has it. Its leases are not taken: a message that is leased when
its reader dies is hidden for five minutes, and after five such deaths for good.
"""

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx

from worker.bus.errors import BadAnswerError, BusError, TooLargeError, UnsendableError
from worker.bus.mupot_page import EVENT_END, PAGE, PotPage, listed, stream_of, streamed
from worker.bus.requests import BusRequests, Endpoint, SentMessage, date_of
from worker.bus.source import Collected, KnownInbox, Turn, Watch
from worker.bus.wire import InboxMessage, parse_object

LONGEST_BODY = 8000
"""UTF-16 code units, which is what JavaScript counts."""

NAMES_SECONDS = 600.0
"""How long what the agents of a squad are called is believed, at least."""

_SOONEST_MS = "250"  # after which a stream says that there is nothing
_LARGEST_PAGE = 8 * 1024 * 1024  # a hundred of the longest texts, each character escaped, are under 5 MB


@dataclass(frozen=True, slots=True)
class _Names:
    """Ids by slugs, as they were when they were asked for (monotonic seconds)."""

    ids: Mapping[str, str]
    asked_at: float

    @property
    def slugs(self) -> dict[str, str]:
        """The other way round."""
        return {one: slug for slug, one in self.ids.items()}

    def slug_of(self, source: str) -> str | None:
        """What the sender `agent:ID` is called; None where nobody knows."""
        return self.slugs.get(source.removeprefix("agent:"))


class Mupot:
    """Inboxes of a pot. `bridge_url` is its address, without a path. Safe to share between threads."""

    sends_once = True
    refuses_unknown = True

    def __init__(self, requests: BusRequests) -> None:
        self._requests = requests
        self._names: dict[tuple[str, str], _Names] = {}
        self._lock = threading.Lock()

    def collect(self, endpoint: Endpoint, seen: KnownInbox, turn: Turn) -> Collected:
        """What is new of the oldest hundred unread messages; or, where all of them are history, of those behind."""
        page, requests = self._peek(endpoint, seen, turn), 1
        malformed, again, count, size = dict(page.malformed), list[InboxMessage](), page.count, page.size
        while True:
            fresh, held = _told_apart(page, seen)
            again += held
            if fresh or not page.full or page.last is None:
                break
            page = self._after(endpoint, page.last, seen, turn)
            malformed |= dict(page.malformed)
            requests, count, size = requests + 1, count + page.count, size + page.size
        named = self._named(endpoint, fresh, turn)
        return Collected(
            named, tuple(malformed.values()), requests, page.full, count, size, tuple(malformed), tuple(again)
        )

    def ack(self, endpoint: Endpoint, messages: Sequence[InboxMessage], turn: Turn) -> None:
        """Mark them read. One that is not there any more was read by somebody else."""
        handles = [message.handle for message in messages if message.handle]
        for first in range(0, len(handles), PAGE):
            turn()
            self._tool(endpoint, "inbox_ack", {"ids": handles[first : first + PAGE]})

    def watch(self, endpoint: Endpoint) -> Watch:  # noqa: ARG002 - Source has it
        """A stream of what is unread: whose it is, the token says."""
        return Watch("/api/inbox/stream", {"since": "0"})

    def glance(self, endpoint: Endpoint) -> Sequence[InboxMessage]:
        """The oldest unread message."""
        body = self._get(endpoint, "/api/inbox", {"peek": "1", "limit": "1"})
        return listed(body, endpoint.agent).messages

    def hand_in(self, endpoint: Endpoint, to: str, text: str, name: str, answers: str = "") -> SentMessage:
        """Send it, under its own name: a pot that has it already says so, if it answers the same."""
        length = len(text.encode("utf-16-le", "surrogatepass")) // 2
        if not 0 < length <= LONGEST_BODY:
            raise UnsendableError(f"A text has 1 to {LONGEST_BODY:,} characters on a mupot; this one has {length:,}.")
        with self._lock:
            names = self._names.get((endpoint.bridge_url, endpoint.agent))
        ref = names.ids.get(to, to) if names else to
        asked = {"to": ref, "body": text, "request_id": name} | ({"in_reply_to": answers} if answers else {})
        found = self._tool(endpoint, "send", asked)
        handle, seq = found.get("id"), found.get("seq")
        if not isinstance(handle, str) or not isinstance(seq, int):
            raise BadAnswerError("The pot did not say that it has the message. Retrying.")
        # When it was written, which is in its recipient's key, only the recipient is told.
        return SentMessage(stream_of(to), f"0-{seq}", handle, None)

    def peers(self, endpoint: Endpoint) -> Mapping[str, Any]:
        """The agents of its squad."""
        return {"registered": [{"name": slug} for slug in self._squad(endpoint)], "streams": []}

    def _squad(self, endpoint: Endpoint) -> dict[str, str]:
        """The ids of the agents of its squad, by their slugs: what people call them."""
        found = self._tool(endpoint, "peers", {}).get("peers")
        peers = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
        pairs = [(one.get("slug"), one.get("id")) for one in peers]
        return {slug: one for slug, one in pairs if isinstance(one, str) and isinstance(slug, str) and _is_name(slug)}

    def _named(self, endpoint: Endpoint, messages: tuple[InboxMessage, ...], turn: Turn) -> tuple[InboxMessage, ...]:
        """With the slug of each sender of its squad instead of its id; asked for where somebody new writes."""
        key = endpoint.bridge_url, endpoint.agent
        with self._lock:
            names = self._names.get(key) or _Names({}, float("-inf"))
        known = names.slugs.keys()
        strange = any(message.source.removeprefix("agent:") not in known for message in messages)
        if strange and time.monotonic() - names.asked_at > NAMES_SECONDS:
            turn()
            with contextlib.suppress(BusError):  # ids do, too
                names = _Names(self._squad(endpoint), time.monotonic())
            with self._lock:
                self._names[key] = replace(names, asked_at=time.monotonic())
        return tuple(
            replace(message, source=f"agent:{slug}") if (slug := names.slug_of(message.source)) else message
            for message in messages
        )

    def _peek(self, endpoint: Endpoint, seen: KnownInbox, turn: Turn) -> PotPage:
        turn()
        # Without `peek` everything in the answer would count as read.
        params = {"peek": "1", "limit": str(PAGE)}
        return listed(self._get(endpoint, "/api/inbox", params, seen.begins), endpoint.agent)

    def _after(self, endpoint: Endpoint, seq: int, seen: KnownInbox, turn: Turn) -> PotPage:
        """The hundred after `seq`: what the stream begins with. The other address knows no `since`."""
        turn()
        params = {"since": str(seq), "poll_ms": _SOONEST_MS}
        body = self._get(endpoint, "/api/inbox/stream", params, seen.begins, until=EVENT_END)
        return streamed(body, endpoint.agent)

    def _get(
        self,
        endpoint: Endpoint,
        path: str,
        params: Mapping[str, str],
        begins: Callable[[float | None], None] = lambda _: None,
        *,
        until: bytes = b"",
    ) -> bytes:
        """What an address answers: all of it, or until `until` has come."""
        body = bytearray()

        def take(response: httpx.Response) -> None:
            begins(date_of(response.headers))
            started = time.monotonic()
            for chunk in response.iter_raw():
                body.extend(chunk)
                self._requests.wait_longer(endpoint, started, len(body))
                if len(body) > _LARGEST_PAGE:
                    raise TooLargeError(f"The pot sent a page of more than {_LARGEST_PAGE:,} bytes; it was cut off.")
                if until and until in body:
                    return

        try:
            self._requests.exchange(endpoint, "GET", path, params=params, take=take)
            return bytes(body)
        finally:  # the traceback of an error would keep it for as long as it pleases the garbage collector
            body.clear()

    def _tool(self, endpoint: Endpoint, tool: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """What a tool of the pot says. Its own addresses take 8 KB at most, and have no acknowledgement."""
        content = json.dumps({"tool": tool, "args": args}, ensure_ascii=False).encode("utf-8", "replace")
        answer = parse_object(self._requests.exchange(endpoint, "POST", "/mcp", content=content))
        result = answer.get("result")
        if answer.get("ok") is not True or not isinstance(result, dict):
            raise BadAnswerError("The pot did not say that it did what it was asked; is bridge_url a mupot? Retrying.")
        return result


def _is_name(slug: str) -> bool:
    """Whether it may stand where an agent's name does: in a preamble, in a command that an agent is to call."""
    return re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,127}", slug) is not None


def _told_apart(page: PotPage, seen: KnownInbox) -> tuple[tuple[InboxMessage, ...], list[InboxMessage]]:
    """What is new of a page; and what the ledger has, so that only its acknowledgement is missing."""
    known: Collection[tuple[str, str]] = seen.known(page.messages)
    again = [message for message in page.messages if message.key in known]
    held = seen.holds(again) if again else ()
    fresh = tuple(message for message in page.messages if message.key not in known)
    return fresh, [message for message in again if message.key in held]
