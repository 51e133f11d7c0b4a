"""The seam: what the rest of the program asks of an inbox, whatever bus it lies on.

`worker.bus.client` is one source, the bridges of SOS; `worker.bus.mupot` is another. A source tells what is new
(`collect`: pages, what is asked for as `since`, and the key of each message), hears that it is safe (`ack`), says where
its doorbell is (`watch`), and takes what our agents send (`hand_in`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from worker.bus.page import Id
from worker.bus.requests import Endpoint, SentMessage
from worker.bus.wire import InboxMessage

Turn = Callable[[], None]
"""Called before every request; blocks until the agent may make one."""


class KnownInbox(Protocol):
    """What the ledger knows of one agent's inbox."""

    def cursor(self) -> Id:
        """An id from which on the bus is asked; asked for as `since`, by a source whose ids are times.

        It should lie before the newest known id: with merged streams a message may come with an older id than one
        that came before it. It must not follow an id from the future.
        """

    def overlap(self) -> int:
        """How many known messages lie after the cursor; they are sent again, so pages grow by as many."""

    def begins(self, bus_time: float | None) -> None:
        """An answer begins, made at this time by the bus's own clock (epoch seconds; None: it does not say)."""

    def known(self, messages: Sequence[InboxMessage]) -> Collection[tuple[str, str]]:
        """The (stream, message_id) of those that are not to be taken: they are in the ledger, or history."""

    def holds(self, messages: Sequence[InboxMessage]) -> Collection[tuple[str, str]]:
        """The (stream, message_id) of those that are in the ledger: the bus need not keep them for us."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What is new, oldest first; why items were skipped, without texts; how many requests it took.

    `more`: newer messages wait, for which there was no room; ask on from the last of these. `count` and `size` are
    the entries and bytes of the page that it was read from, known ones included. `marks`: see Page. `shown_again` are
    in the ledger already, and the bus does not know that yet: to be acknowledged with the new ones.
    """

    messages: tuple[InboxMessage, ...]
    malformed: tuple[str, ...]
    requests: int
    more: bool = False
    count: int = 0
    size: int = 0
    marks: tuple[int, ...] = ()
    shown_again: tuple[InboxMessage, ...] = ()


class Watch(NamedTuple):
    """Where a bus rings: a path that answers with server-sent events, and what it is asked."""

    path: str
    params: Mapping[str, str]


def watch_of_bridge(endpoint: Endpoint) -> Watch:
    """Where a bridge of SOS rings, from its second generation on."""
    return Watch("/watch", {"agent": endpoint.agent} | ({"project": endpoint.project} if endpoint.project else {}))


class Source(Protocol):
    """One kind of bus. Every method may raise BusError."""

    sends_once: bool
    """Whether a message that is handed in twice under the same name is one message: then no lost answer is a doubt."""
    refuses_unknown: bool
    """Whether a message to an agent that is not there is refused: then nobody need look first."""

    def collect(self, endpoint: Endpoint, seen: KnownInbox, turn: Turn) -> Collected:
        """What is new, without gaps from the oldest on; or nothing."""

    def ack(self, endpoint: Endpoint, messages: Sequence[InboxMessage], turn: Turn) -> None:
        """These are in the ledger. May be said again."""

    def watch(self, endpoint: Endpoint) -> Watch:
        """Where it rings; what a frame says does not matter."""

    def glance(self, endpoint: Endpoint) -> Sequence[InboxMessage]:
        """Some of the inbox, to see whether it can be read. Nothing is taken."""

    def hand_in(self, endpoint: Endpoint, to: str, text: str, name: str, answers: str = "") -> SentMessage:
        """Send `text` to the agent `to`. `name` is the message's own, at every try.

        `answers` is the name of the message that it answers, for a bus that has such names.
        """

    def peers(self, endpoint: Endpoint) -> Mapping[str, Any]:
        """Who else is there: `registered`, `streams`, and `agents` where it names all of them; as `GET /peers` does."""
