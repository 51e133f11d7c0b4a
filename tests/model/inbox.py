"""The poll, searched on its own: one inbox of two merged streams, its pages, and what crashes and retention leave.

worker/bus/client.py:collect, worker/bus/page.py, worker/engine/polling.py, worker/ledger/history.py and intake.py. Ids
are small numbers; one of an odd number lies in the second stream. See docs/wire.md#pages.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.model.search import Broken, Found, search

Ids = tuple[int, ...]

OVERLAP = 2  # an ordinary poll asks from so far before the newest known id
BACK = 1  # the id that a bus gives whose clock was set back; the others begin above it, out of its sight


class PollRules(NamedTuple):
    """Each true as in the code. With one of them false the search must find what it is good for."""

    full_page_is_widened: bool = True  # and nothing is taken from it
    known_proves_nothing: bool = True  # that a page holds a known id does not make it complete
    asks_from_before: bool = True  # and not from the newest known id
    oldest_first: bool = True
    keeps_the_oldest: bool = True  # of a page that has no room
    known_is_asked_inside: bool = True  # the transaction, and not before
    floor_is_kept: bool = True  # of what retention has forgotten
    looks_back: bool = True


class Inbox(NamedTuple):
    """What is searched. `late`: an id may arrive after the one that follows it; `back`: one may arrive long after.

    `generation`: of the bridge, docs/wire.md#pages; A has one stream. `room`: messages that a page may bring.
    """

    messages: int = 4
    generation: str = "C"
    limit: int = 1
    room: int = 9
    pollers: int = 1
    crashes: int = 1
    forgets: int = 0
    late: bool = False
    back: bool = False
    rules: PollRules = PollRules()

    @property
    def ids(self) -> Ids:
        """All that ever arrive, but for the one from the past."""
        return tuple(range(BACK + OVERLAP + 1, BACK + OVERLAP + 1 + self.messages))


class Poll(NamedTuple):
    """A poll under way: where it asks from, how wide, whether it looks back.

    `left`: what it is to take in, and `there`: what was on the bus when it read its page; None before it did.
    """

    since: int
    limit: int
    whole: bool
    left: Ids | None = None
    there: Ids = ()
    more: bool = False


class State(NamedTuple):
    """One moment. `known`: in the ledger; `forgotten`: was, until retention came; `floor`: of what it forgot."""

    arrived: Ids = ()
    known: Ids = ()
    forgotten: Ids = ()
    floor: int = 0
    polls: tuple[Poll | None, ...] = ()
    crashes: int = 0
    forgets: int = 0

    def knows(self, one: int) -> bool:
        """`history.known`."""
        return one in self.known or one <= self.floor


class Step(NamedTuple):
    """What happens next."""

    label: str
    world: State
    fault: bool = False


def steps(state: State, inbox: Inbox) -> Iterator[Step]:
    """Everything that may happen next."""
    yield from _arrivals(state, inbox)
    for number, poll in enumerate(state.polls):
        name = f"poll {number}"
        if poll is None:
            yield from _begins(state, inbox, number, name)
            continue
        if state.crashes:
            crashed = _with(state, number, None)._replace(crashes=state.crashes - 1)
            yield Step(f"THE WORKER OF {name} DIES", crashed, fault=True)
        if poll.left is None:
            yield from _reads(state, inbox, number, poll, name)
        else:
            yield _takes_in(state, inbox, number, poll, name)
    if state.forgets and state.known:
        yield from _forgets(state, inbox)


def _forgets(state: State, inbox: Inbox) -> Iterator[Step]:
    """Retention, of what is so old that nothing older can still arrive; its floor remembers that it was done."""
    oldest = min(state.known)
    if oldest + OVERLAP > max(state.known):
        return
    after = state._replace(
        known=tuple(one for one in state.known if one != oldest),
        forgotten=tuple(sorted((*state.forgotten, oldest))),
        floor=max(state.floor, oldest) if inbox.rules.floor_is_kept else 0,
        forgets=state.forgets - 1,
    )
    yield Step(f"retention forgets {oldest}", after, fault=True)


def _with(state: State, number: int, poll: Poll | None) -> State:
    return state._replace(polls=(*state.polls[:number], poll, *state.polls[number + 1 :]))


def _arrivals(state: State, inbox: Inbox) -> Iterator[Step]:
    """The next message, or the one after it; and, once there are others, one of a bus whose clock was set back."""
    waiting = [one for one in inbox.ids if one not in state.arrived]
    skipped = bool(state.arrived) and bool(waiting) and waiting[0] < max(state.arrived)
    for one in waiting[: 2 if inbox.late and not skipped else 1]:
        yield Step(f"{one} arrives", state._replace(arrived=tuple(sorted((*state.arrived, one)))))
    if inbox.back and state.arrived and BACK not in state.arrived:
        yield Step(f"{BACK} arrives, from the past", state._replace(arrived=(BACK, *state.arrived)))


def _begins(state: State, inbox: Inbox, number: int, name: str) -> Iterator[Step]:
    """`history.cursor`, or `LookBack.start`."""
    newest = max((*state.known, state.floor))
    since = max(newest - OVERLAP, 0) if inbox.rules.asks_from_before else newest
    yield Step(f"{name} asks from {since}", _with(state, number, Poll(since, inbox.limit, whole=False)))
    if inbox.rules.looks_back and (inbox.back or inbox.forgets):
        yield Step(f"{name} looks back", _with(state, number, Poll(0, inbox.limit, whole=True)))


def page_of(arrived: Ids, inbox: Inbox, since: int, limit: int) -> Ids:
    """What the bridge answers: the newest; or of each stream what comes next after `since`, and the newest of that."""
    if inbox.generation == "A":
        return arrived[-limit:]
    page: list[int] = []
    for stream in (0, 1):
        page += [one for one in arrived if one % 2 == stream and one > since][:limit]
    return tuple(sorted(page)[-limit:])


def _reads(state: State, inbox: Inbox, number: int, poll: Poll, name: str) -> Iterator[Step]:
    """`BusClient.collect`, one request of it: a full page is asked for again, wider."""
    page, rules = page_of(state.arrived, inbox, poll.since, poll.limit), inbox.rules
    full = len(page) >= poll.limit
    reaches = inbox.generation == "A" and bool(page) and page[0] <= poll.since
    new = tuple(one for one in page if not state.knows(one))
    if not rules.known_proves_nothing:
        reaches = reaches or len(new) < len(page)
    if full and not reaches and rules.full_page_is_widened:
        wider = poll._replace(limit=2 * poll.limit)
        yield Step(f"{name} reads {list(page)}, which is full", _with(state, number, wider))
        return
    more = len(new) > inbox.room
    kept = new[: inbox.room] if rules.keeps_the_oldest else new[-inbox.room :]
    read = poll._replace(left=kept, there=state.arrived, more=more or (full and not reaches))
    yield Step(f"{name} reads {list(page)}; new are {list(new)}", _with(state, number, read))


def _takes_in(state: State, inbox: Inbox, number: int, poll: Poll, name: str) -> Step:
    """`Poller.take_in`, one transaction of it; then on from its last, where there is more."""
    assert poll.left is not None
    if not poll.left:
        return Step(f"{name} is over", _with(state, number, None))
    one = poll.left[0] if inbox.rules.oldest_first else poll.left[-1]
    left = tuple(other for other in poll.left if other != one)
    following: Poll | None = poll._replace(left=left)
    if not left:
        following = Poll(max(one, poll.since), inbox.limit, poll.whole) if poll.more else None
    after = _with(state, number, following)
    if inbox.rules.known_is_asked_inside and state.knows(one):
        return Step(f"{name} finds {one} known", after)
    if one in state.known or one in state.forgotten:
        raise Broken(f"message {one} is recorded twice")
    for older in poll.there:
        if older < one and older != BACK and not state.knows(older) and older not in state.forgotten:
            raise Broken(f"message {one} is taken in before {older}, which was there")
    return Step(f"{name} takes in {one}", after._replace(known=tuple(sorted((*state.known, one)))))


def is_over(state: State, inbox: Inbox) -> bool:
    """Everything has arrived, and has been taken in."""
    expected = len(inbox.ids) + inbox.back
    return len(state.arrived) == expected and len(state.known) + len(state.forgotten) == expected


def look(
    inbox: Inbox, *, most: int = 3_000_000, progress: Callable[[int, int], None] = lambda _found, _left: None
) -> Found:
    """Search it."""
    start = State(polls=(None,) * inbox.pollers, crashes=inbox.crashes, forgets=inbox.forgets)
    return search(
        start,
        lambda state: steps(state, inbox),
        lambda state: is_over(state, inbox),
        most=most,
        progress=progress,
    )
