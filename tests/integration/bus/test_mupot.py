"""mupot as a source: what it promises beyond what every bus does, and what it must never do to an inbox."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.buses import again
from tests.fakes.ledgers import MemoryLedger
from tests.fakes.mupot import FakePot, Letters, id_of
from tests.world.polled import Polled
from worker.bus import errors
from worker.bus.client import BusClient
from worker.bus.mupot import Mupot
from worker.bus.requests import Endpoint
from worker.ledger.errors import LedgerFullError
from worker.secret import Secret

DAY = 86400.0


class Pot(Polled):
    """A worker that polls one inbox of a pot."""

    bridge: FakePot

    @property
    def letters(self) -> Letters:
        letters: Letters = self.bridge.streams
        return letters

    @property
    def unread(self) -> list[str]:
        return [row.body for row in self.letters.unread("bob")]

    @property
    def in_order(self) -> list[str]:
        """The texts that are to be delivered, as their lane has them."""
        query = "select text from deliveries d join messages m on m.id = d.message order by d.ms, d.seq, d.id"
        return self.db.read(lambda db: [row["text"] for row in db.execute(query)])


@pytest.fixture
def pot(tmp_path: Path) -> Iterator[Pot]:
    made = Pot("mupot", None, tmp_path)
    yield made
    made.close()


def test_it_is_acknowledged_once_the_ledger_has_it_and_never_consumed(
    pot: Pot, monkeypatch: pytest.MonkeyPatch
) -> None:
    pot.send("hello")
    held = pot.letters.ack

    def ack(agent: str, ids: list[str]) -> dict[str, list[str]]:
        assert pot.delivered == ["hello"], "acknowledged before it was in the ledger"
        return held(agent, ids)

    monkeypatch.setattr(pot.letters, "ack", ack)
    pot.settle()
    assert pot.unread == []
    assert pot.bridge.consumed == 0, "nothing was read without peek"


def test_what_the_ledger_could_not_take_stays_unread(pot: Pot, monkeypatch: pytest.MonkeyPatch) -> None:
    pot.send("hello")
    full = LedgerFullError("the disk is full")

    def no_room(*_: Any, **__: Any) -> None:
        raise full

    with monkeypatch.context() as patch:
        patch.setattr("worker.ledger.intake.take_in", no_room)
        with pytest.raises(LedgerFullError):
            pot.poll()
    assert pot.unread == ["hello"]
    pot.settle()
    assert pot.unread == []


@pytest.mark.parametrize("kind", ["close", "status"])
def test_an_acknowledgement_that_is_lost_is_made_up_for_and_nothing_comes_twice(pot: Pot, kind: str) -> None:
    pot.bridge.fault(kind, path="/mcp", times=3, value=500)
    for number in range(3):
        pot.send(f"{number}")
        pot.poll()
    assert pot.delivered == ["0", "1", "2"], "a pot that takes no acknowledgement keeps no message from coming"
    pot.settle()
    assert pot.unread == []


def test_more_than_a_page_comes_in_order_page_by_page(pot: Pot) -> None:
    for number in range(250):
        pot.send(f"{number:03}")
    pot.settle()
    assert pot.in_order == [f"{number:03}" for number in range(250)]
    assert pot.unread == []


def test_history_stays_unread_and_hides_nothing(pot: Pot) -> None:
    """More of it than a page holds, so that what is new is not on the first one."""
    for number in range(150):
        pot.history(f"old {number}", 2 * DAY)
    pot.send("new")
    pot.settle()
    pot.send("newer")
    pot.settle()
    assert len(pot.unread) == 150
    assert pot.in_order == ["new", "newer"]


def test_what_another_reader_leased_and_left_is_delivered(pot: Pot) -> None:
    """A lease hides a message for five minutes, and for ever after five of them; a peek shows it."""
    pot.send("leased by somebody who died")
    pot.letters.lease("bob")
    pot.settle()
    pot.send("parked")
    for _ in range(6):
        pot.letters.lease("bob", seconds=0)
    assert pot.letters.unread("bob")[0].parked
    pot.settle()
    assert pot.unread == []
    assert max(row.attempts for row in pot.letters.rows) == 5, "we lease nothing ourselves"


def test_what_somebody_else_read_is_not_ours(pot: Pot) -> None:
    pot.send("ours")
    pot.letters.add("bob", "theirs")
    pot.letters.rows[-1].read_at = 1.0
    pot.settle()


def test_the_order_is_that_of_the_pot_whatever_its_clock_says(pot: Pot) -> None:
    pot.send("0")
    pot.send("1")
    pot.poll()
    for number, back in enumerate((3600.0, 90.0, 7200.0, -3600.0, 0.0), 2):
        pot.bus.ahead = -back
        pot.send(f"{number}")
        pot.poll()
    pot.settle()
    assert pot.in_order == [f"{number}" for number in range(7)]


def test_a_pot_that_was_put_back_gives_the_same_numbers_again(pot: Pot) -> None:
    for number in range(3):
        pot.send(f"{number}")
    pot.settle()
    pot.letters.rows.clear()
    pot.letters.next_seq = 1
    for number in range(3, 6):
        pot.send(f"{number}")
    pot.settle()
    assert pot.in_order == [f"{number}" for number in range(6)]


def test_a_worker_that_comes_back_asks_for_nothing_twice(pot: Pot) -> None:
    pot.bridge.fault("status", path="/mcp", value=500)
    pot.send("before")
    pot.poll()
    pot.end()
    pot.bridge.clear_faults()
    pot.begin()
    pot.send("after")
    pot.settle()
    assert pot.in_order == ["before", "after"]
    assert pot.unread == []


BAD: list[Any] = [
    None,
    7,
    "text",
    [],
    {},
    {"seq": 1},
    {"seq": "1", "id": "x", "created_at": "2026-11-27T10:00:00Z"},
    {"seq": True, "id": "x", "created_at": "2026-11-27T10:00:00Z"},
    {"seq": -1, "id": "x", "created_at": "2026-11-27T10:00:00Z"},
    {"seq": 2**63, "id": "x", "created_at": "2026-11-27T10:00:00Z"},
    {"seq": 1, "id": "", "created_at": "2026-11-27T10:00:00Z"},
    {"seq": 1, "id": "x" * 200, "created_at": "2026-11-27T10:00:00Z"},
    {"seq": 1, "id": "x"},
    {"seq": 1, "id": "x", "created_at": 12},
    {"seq": 1, "id": "x", "created_at": "yesterday"},
    {"seq": 1, "id": "x", "created_at": "1960-01-01T00:00:00Z"},
]


@pytest.fixture
def client() -> Iterator[BusClient]:
    with BusClient(max_connections=4) as client:
        yield client


@pytest.fixture
def bare() -> Iterator[FakePot]:
    with FakePot() as bare:
        yield bare


def endpoint_of(pot: FakePot, agent: str, **changes: Any) -> Endpoint:
    token = Secret(pot.add_token(agent))
    return Endpoint(agent, None, pot.url, lambda: token, 10, presence=False, kind="mupot", **changes)


def collect(client: BusClient, endpoint: Endpoint, ledger: MemoryLedger | None = None) -> Any:
    return Mupot(client).collect(endpoint, ledger or MemoryLedger(), lambda: None)


def test_poison_costs_only_itself(bare: FakePot, client: BusClient) -> None:
    bob = endpoint_of(bare, "bob")
    for raw in BAD:
        bare.streams.add("bob", "x", raw=raw)
    bodies = [None, 7, {"a": [1]}, "", "nul \x00 esc \x1b", "half \ud83d of it", "\U0001f600"]
    for body in bodies:
        bare.streams.add("bob", body)
    bare.streams.add("bob", "from nobody", source=None)
    found = collect(client, bob)
    assert len(found.malformed) == len({repr(raw) for raw in BAD})
    assert [message.text for message in found.messages] == [
        *("", "7", '{"a":[1]}', "", "nul \x00 esc \x1b", "half \ufffd of it", "\U0001f600", "from nobody")
    ]
    assert found.messages[-1].source == "?"


@pytest.mark.parametrize(
    "written", ["2026-11-27T10:00:00.123Z", "2026-11-27 10:00:00.123", "2026-11-27T12:00:00.123+02:00"]
)
def test_when_it_was_written(bare: FakePot, client: BusClient, written: str) -> None:
    bare.streams.add("bob", "x")
    bare.streams.rows[-1].created_at = written
    (message,) = collect(client, endpoint_of(bare, "bob")).messages
    assert message.message_id == "1795773600123-1"


def test_kinds_are_classes_and_senders_have_the_names_that_people_know(bare: FakePot, client: BusClient) -> None:
    bob = endpoint_of(bare, "bob")
    endpoint_of(bare, "alice")
    for kind in ("message", "request", "ack"):
        bare.streams.add("bob", kind, kind=kind)
    bare.streams.add("bob", "a stranger's", source="agent:mallory")
    found = collect(client, bob).messages
    assert [message.message_class for message in found] == [None, "actionable", "reaction", None]
    assert [message.source for message in found] == ["agent:alice"] * 3 + [f"agent:{id_of('mallory')}"]


def test_a_slug_that_could_be_something_else_is_no_name(bare: FakePot, client: BusClient) -> None:
    bob = endpoint_of(bare, "bob")
    bare.add_token("x] $(id) [")
    bare.streams.add("bob", "x", source="agent:x] $(id) [")
    (message,) = collect(client, bob).messages
    assert message.source == f"agent:{id_of('x] $(id) [')}"


def test_names_are_asked_for_once(bare: FakePot, client: BusClient) -> None:
    mupot, ledger, bob = Mupot(client), MemoryLedger(), endpoint_of(bare, "bob")
    for number in range(5):
        bare.streams.add("bob", str(number), source="agent:mallory")
        ledger.take(mupot.collect(bob, ledger, lambda: None).messages)
    assert len(bare.seen("/mcp")) == 1


CODES: list[tuple[Callable[[FakePot], object], type[errors.BusError], str]] = [
    (lambda pot: pot.tokens.clear(), errors.UnauthorizedError, "401"),
    (lambda pot: pot.tokens.update(dict.fromkeys(pot.tokens, type(next(iter(pot.tokens.values())))("", None))),
     errors.IdentityError, "not_agent_bound"),
    (lambda pot: pot.fenced.add(id_of("bob")), errors.ForbiddenError, "consumer_fenced"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "kind", "words"), CODES)
def test_refusals_are_told_apart(
    bare: FakePot, client: BusClient, spoil: Callable[[FakePot], object], kind: type[errors.BusError], words: str
) -> None:
    bob = endpoint_of(bare, "bob")
    bare.streams.add("bob", "x")
    spoil(bare)
    with pytest.raises(kind, match=words):
        collect(client, bob)
    assert [row.read_at for row in bare.streams.rows] == [None]


def test_a_bridge_that_is_no_pot_and_a_pot_that_is_no_bridge(bare: FakePot, client: BusClient) -> None:
    with pytest.raises(errors.NotFoundError, match="bus_kind"):
        client.collect(endpoint_of(bare, "bob"), MemoryLedger(), lambda: None)


def test_a_message_that_is_handed_in_twice_is_one(bare: FakePot, client: BusClient) -> None:
    alice = endpoint_of(bare, "alice")
    endpoint_of(bare, "bob")
    first, second = (Mupot(client).hand_in(alice, "bob", "hello", "n-1") for _ in range(2))
    assert first == second
    assert first.stream == "mupot:agent:bob"
    assert [row.body for row in bare.streams.unread("bob")] == ["hello"]


@pytest.mark.parametrize(
    ("to", "text", "kind"),
    [
        ("nobody", "x", errors.NoSuchAgentError),
        ("bob", "", errors.UnsendableError),
        ("bob", "x" * 8001, errors.UnsendableError),
        ("bob", "\U0001f600" * 4001, errors.UnsendableError),
    ],
)
def test_what_a_pot_does_not_take(
    bare: FakePot, client: BusClient, to: str, text: str, kind: type[errors.BusError]
) -> None:
    alice = endpoint_of(bare, "alice")
    endpoint_of(bare, "bob")
    with pytest.raises(kind):
        Mupot(client).hand_in(alice, to, text, "n-1")


@pytest.mark.parametrize("text", ["x" * 8000, "\U0001f600" * 4000, "\x01" * 8000, 'a "b" \\ \n c'])
def test_the_longest_texts_come_as_they_went(bare: FakePot, client: BusClient, text: str) -> None:
    alice, bob = endpoint_of(bare, "alice"), endpoint_of(bare, "bob")
    Mupot(client).hand_in(alice, "bob", text, "n-1")
    (message,) = collect(client, bob).messages
    assert (message.text, message.source) == (text, "agent:alice")


def test_a_full_inbox_is_no_refusal(bare: FakePot, client: BusClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fakes.mupot.MOST_UNREAD", 1)
    alice = endpoint_of(bare, "alice")
    endpoint_of(bare, "bob")
    names = (f"n-{number}" for number in itertools.count())
    Mupot(client).hand_in(alice, "bob", "first", next(names))
    with pytest.raises(errors.UnavailableError, match="full"):
        Mupot(client).hand_in(alice, "bob", "second", next(names))


def test_a_pot_that_comes_back_has_what_was_sent_meanwhile(pot: Pot) -> None:
    pot.send("before")
    pot.settle()
    pot.bridge.__exit__(None, None, None)
    pot.poll()
    pot.bridge = again(pot.bridge)  # type: ignore[assignment]
    pot.send("meanwhile")
    with pot.bridge:
        pot.settle()
        assert pot.unread == []
    pot.bridge = FakePot()
    pot.bridge.__enter__()
