"""The bus client: everything that is new in an inbox, whichever generation of bridge cuts its pages.

How each does: docs/wire.md#pages.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.bus.errors import CoherenceError, PageIncompleteError
from worker.bus.presence import Presence
from worker.bus.requests import LARGEST_LIMIT, BusRequests, Endpoint
from worker.bus.wire import InboxMessage, Page

_WIDEN = 32


class Seen(Protocol):
    """What the ledger knows of one agent's inbox."""

    def cursor(self) -> tuple[int, int]:
        """An id such that everything at or below it is known or too old to matter; asked for as `since`.

        It must lie well before the newest known id: with merged streams a message may come with an older id
        than one that came before it. It must not follow an id from the future.
        """

    def overlap(self) -> int:
        """How many known messages lie after the cursor; they are sent again, so pages grow by as many."""

    def known(self, messages: Sequence[InboxMessage]) -> set[tuple[str, str]]:
        """The (stream, message_id) of those that are in the ledger, or at or below the floor."""


@dataclass(frozen=True, slots=True)
class Collected:
    """All that is new, oldest first; why items were skipped, without texts; how many requests it took."""

    messages: tuple[InboxMessage, ...]
    malformed: tuple[str, ...]
    requests: int


class BusClient(BusRequests):
    """Collects inboxes and keeps their agents announced. One a process; safe to share between threads.

    `max_connections` should be at least the number of agents, so that one hanging bridge keeps nobody
    waiting.
    """

    def __init__(self, *, max_connections: int = 32) -> None:
        super().__init__(max_connections=max_connections)
        self._presence = Presence(self)

    def collect(self, endpoint: Endpoint, seen: Seen, turn: Callable[[], None]) -> Collected:
        """Everything new; or BusError and nothing, since what half a page leaves out is never found again.

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
        malformed: tuple[str, ...] = ()
        while True:
            page = self._page(endpoint, since, limit, count)
            malformed = page.malformed
            if page.raw_count < limit or _reaches(page, since):
                break
            if limit == LARGEST_LIMIT:
                raise PageIncompleteError(
                    f"{LARGEST_LIMIT:,} new messages or more wait for {endpoint.agent}; none was taken. "
                    "Start a new ledger with `install --from DURATION` to leave the oldest behind."
                )
            limit = min(limit * _WIDEN, LARGEST_LIMIT)
        known = seen.known(page.messages)
        new = tuple(message for message in page.messages if message.key not in known)
        return Collected(new, malformed, requests)

    def _page(self, endpoint: Endpoint, since: tuple[int, int], limit: int, turn: Callable[[], None]) -> Page:
        turn()
        try:
            return self.inbox(endpoint, since, limit)
        except CoherenceError:
            if not endpoint.presence:
                raise
        self._presence.renew(endpoint, turn)
        turn()
        return self.inbox(endpoint, since, limit)


def _reaches(page: Page, since: tuple[int, int]) -> bool:
    """Whether a page of a bridge that ignores `since` reaches down to it all the same."""
    if page.names_streams or not page.messages:
        return False
    oldest = page.messages[0]
    return (oldest.ms, oldest.seq) <= since
