"""The bridges of SOS as a source: what is new in an inbox, whichever generation cuts its pages.

How each does: docs/wire.md#pages.
"""

import time
from collections.abc import Callable, Sequence

from worker.bus.errors import CoherenceError, PageIncompleteError
from worker.bus.page import Id, Page
from worker.bus.presence import Presence
from worker.bus.requests import BusRequests, Endpoint, SentMessage
from worker.bus.source import Collected, KnownInbox, Turn, Watch, watch_of_bridge
from worker.bus.wire import LARGEST_LIMIT, InboxMessage

_WIDEN = 32
_BEYOND = 1_000_000  # the last try; a bridge that knows a smaller limit answers it with so many, and no more


class BusClient(BusRequests):
    """Collects inboxes and keeps their agents announced. One a process; safe to share between threads.

    `max_connections` should be at least the number of agents, so that one hanging bridge keeps nobody
    waiting.
    """

    sends_once = False
    refuses_unknown = False

    def __init__(self, *, max_connections: int | None = 32) -> None:
        super().__init__(max_connections=max_connections)
        self._presence = Presence(self)

    def collect(self, endpoint: Endpoint, seen: KnownInbox, turn: Turn) -> Collected:
        """What is new, without gaps from the oldest on; or BusError and nothing.

        `turn` is called before every request and blocks until the agent may make one.

        A page that is not full is complete: a bridge that knows `since` had no more after it, one that does not
        sent its whole stream. A full page is complete only where a bridge ignores `since` (those name no streams)
        and the page reaches down to it: such a page is the newest part of one stream, without gaps. On later
        bridges a known id proves nothing, because two streams are merged and cut together, and paging on from the
        largest id would skip what the cut left out: so ask for a wider page from the same cursor.
        """
        requests = 0

        def count() -> None:
            nonlocal requests
            turn()
            requests += 1

        self._presence.keep(endpoint, count)
        since = seen.cursor()
        limit = min(endpoint.limit + seen.overlap(), LARGEST_LIMIT)
        while True:
            page = self._page(endpoint, seen, since, limit, count)
            full = page.raw_count >= limit or page.raw_count == LARGEST_LIMIT
            if not full or _reaches(page, since):
                return _collected(page, requests, more=page.more)
            if limit == _BEYOND:
                return self._oldest_part(endpoint, page, requests)
            limit = min(limit * _WIDEN, LARGEST_LIMIT) if limit < LARGEST_LIMIT else _BEYOND

    def ack(self, endpoint: Endpoint, messages: Sequence[InboxMessage], turn: Turn) -> None:
        """A bridge keeps its streams whoever has read them."""

    def watch(self, endpoint: Endpoint) -> Watch:
        """`/watch`, of the later generations."""
        return watch_of_bridge(endpoint)

    def glance(self, endpoint: Endpoint) -> Sequence[InboxMessage]:
        """What came in the last minute."""
        return self.inbox(endpoint, (int((time.time() - 60) * 1000), 0), endpoint.limit).messages

    def hand_in(self, endpoint: Endpoint, to: str, text: str, name: str = "", answers: str = "") -> SentMessage:  # noqa: ARG002 - Source has it
        """`send`, and once more where the bus wanted the agent announced first: then it had not taken it."""
        try:
            return self.send(endpoint, to, text)
        except CoherenceError:
            if not endpoint.presence:
                raise
        self._presence.renew(endpoint, lambda: None)
        return self.send(endpoint, to, text)

    @staticmethod
    def _oldest_part(endpoint: Endpoint, page: Page, requests: int) -> Collected:
        """What is safe to take of the widest page that there is, still full: all of it if it is of one stream.

        A bridge that knows `since` then sent what comes next in that stream. Of two streams it cut the older end off.
        """
        if page.names_streams and page.streams == 1:
            return _collected(page, requests, more=True)
        raise PageIncompleteError(
            f"{LARGEST_LIMIT:,} new messages or more wait for {endpoint.agent}; none was taken. "
            "Start a new ledger with `install --from DURATION` to leave the oldest behind."
        )

    def _page(self, endpoint: Endpoint, seen: KnownInbox, since: Id, limit: int, turn: Callable[[], None]) -> Page:
        turn()
        try:
            return self.inbox(endpoint, since, limit, known=seen.known, begins=seen.begins)
        except CoherenceError:
            if not endpoint.presence:
                raise
        self._presence.renew(endpoint, turn)
        turn()
        return self.inbox(endpoint, since, limit, known=seen.known, begins=seen.begins)


def _collected(page: Page, requests: int, *, more: bool) -> Collected:
    return Collected(page.messages, page.malformed, requests, more, page.raw_count, page.size, page.marks)


def _reaches(page: Page, since: Id) -> bool:
    """Whether a page of a bridge that ignores `since` reaches down to it all the same."""
    return not page.names_streams and page.oldest is not None and page.oldest <= since
