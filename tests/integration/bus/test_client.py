"""The client against all three generations: the same calls, whichever answers."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.bridges import FakeBridge
from tests.fakes.ledgers import MemoryLedger
from tests.fakes.streams import GENERATIONS, Generation
from worker.bus.client import BusClient
from worker.bus.requests import Endpoint
from worker.secret import Secret


@pytest.fixture
def client() -> Iterator[BusClient]:
    with BusClient(max_connections=8) as client:
        yield client


@pytest.fixture(params=GENERATIONS)
def bridge(request: pytest.FixtureRequest) -> Iterator[FakeBridge]:
    generation: Generation = request.param
    with FakeBridge(generation) as bridge:
        yield bridge


def endpoint_of(bridge: FakeBridge, agent: str = "bob", **changes: Any) -> Endpoint:
    token = Secret(bridge.add_token(agent))
    fields: dict[str, Any] = {
        "agent": agent,
        "project": None,
        "bridge_url": bridge.url,
        "token": lambda: token,
        "limit": 10,
        "presence": False,
    }
    return Endpoint(**fields | changes)


class Turns:
    """Counts the turns that were asked for."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def collect(client: BusClient, endpoint: Endpoint, ledger: MemoryLedger) -> list[str]:
    """Poll once into the ledger; the texts that were new."""
    turns = Turns()
    collected = client.collect(endpoint, ledger, turns)
    assert turns.count == collected.requests
    ledger.take(collected.messages)
    return [message.text for message in collected.messages]


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 200, 1_000])
def test_everything_sent_while_off_comes_once_in_order(bridge: FakeBridge, client: BusClient, count: int) -> None:
    texts = [f"message {number}" for number in range(count)]
    for text in texts:
        bridge.streams.add("bob", text)
    endpoint, ledger = endpoint_of(bridge), MemoryLedger()
    assert collect(client, endpoint, ledger) == texts
    assert collect(client, endpoint, ledger) == []


def test_a_live_burst_of_sixty_comes_once_in_order(bridge: FakeBridge, client: BusClient) -> None:
    endpoint, ledger = endpoint_of(bridge), MemoryLedger()
    bridge.streams.add("bob", "first")
    assert collect(client, endpoint, ledger) == ["first"]
    burst = [f"burst {number}" for number in range(60)]
    for text in burst:
        bridge.streams.add("bob", text)
    assert collect(client, endpoint, ledger) == burst
    assert collect(client, endpoint, ledger) == []


def test_a_quiet_inbox_costs_one_request_a_poll(bridge: FakeBridge, client: BusClient) -> None:
    endpoint, ledger = endpoint_of(bridge), MemoryLedger()
    for number in range(50):
        bridge.streams.add("bob", str(number))
    collect(client, endpoint, ledger)
    bridge.requests.clear()
    collect(client, endpoint, ledger)
    bridge.streams.add("bob", "one more")
    assert collect(client, endpoint, ledger) == ["one more"]
    assert len(bridge.requests) == 2


def test_a_long_history_costs_one_request_a_poll_too(bridge: FakeBridge, client: BusClient) -> None:
    now = time.time_ns() // 1_000_000
    for number in range(300):
        bridge.streams.add("bob", str(number), ms=now - 3_600_000 + number)
    endpoint, ledger = endpoint_of(bridge), MemoryLedger()
    collect(client, endpoint, ledger)
    bridge.streams.add("bob", "now")
    collect(client, endpoint, ledger)
    bridge.requests.clear()
    bridge.streams.add("bob", "one more")
    assert collect(client, endpoint, ledger) == ["one more"]
    assert len(bridge.requests) == 1


def test_gaps_between_known_messages_are_found(bridge: FakeBridge, client: BusClient) -> None:
    """A ledger that took over an older tool's list of delivered ids knows some messages and not those between."""
    now = time.time_ns() // 1_000_000
    ids = [bridge.streams.add("bob", f"{number}", ms=now + number) for number in range(100)]
    ledger = MemoryLedger(floor=ids[0])
    ledger.keys |= {("sos:stream:global:agent:bob", f"{ms}-{seq}") for ms, seq in ids[::5]}
    assert collect(client, endpoint_of(bridge), ledger) == [f"{n}" for n in range(100) if n % 5]


def test_history_at_or_below_the_floor_stays_where_it_is(bridge: FakeBridge, client: BusClient) -> None:
    now = time.time_ns() // 1_000_000
    for number in range(400):
        bridge.streams.add("bob", f"old {number}", ms=now - 500_000 + number)
    ledger = MemoryLedger(floor=(now - 400_000, 0))
    endpoint = endpoint_of(bridge)
    assert collect(client, endpoint, ledger) == []
    bridge.streams.add("bob", "new")
    assert collect(client, endpoint, ledger) == ["new"]


@pytest.mark.parametrize("generation", ["B", "C"])
def test_merged_streams_with_colliding_ids_lose_nothing(generation: Generation, client: BusClient) -> None:
    now = time.time_ns() // 1_000_000
    with FakeBridge(generation) as bridge:
        for number in range(150):
            bridge.streams.add("bob", f"project {number}", project="acme", ms=now + number // 3)
            bridge.streams.add("bob", f"global {number}", ms=now + number // 3)
        endpoint, ledger = endpoint_of(bridge, project="acme"), MemoryLedger()
        assert len(collect(client, endpoint, ledger)) == 300
        ids = [(message.ms, message.seq) for message in ledger.taken]
        assert ids == sorted(ids)
        assert {message.stream for message in ledger.taken} == {
            "sos:stream:project:acme:agent:bob",
            "sos:stream:global:agent:bob",
        }
        assert collect(client, endpoint, ledger) == []


def test_the_oldest_generation_names_streams_as_its_successors_do(client: BusClient) -> None:
    """Else every message would run again on the day the bridge is replaced."""
    with FakeBridge("A") as old, FakeBridge("C", streams=old.streams) as new:
        token = old.add_token("bob", project="acme")
        new.add_token("bob", project="acme", token=token)
        old.streams.add("bob", "hello", project="acme")
        ledger = MemoryLedger()
        # The configuration does not say which project the token is bound to.
        endpoint = endpoint_of(old, token=lambda: Secret(token))
        assert collect(client, endpoint, ledger) == ["hello"]
        assert ledger.taken[0].stream == "sos:stream:project:acme:agent:bob"
        assert collect(client, endpoint_of(new, token=lambda: Secret(token)), ledger) == []


POISON: list[Any] = [
    "just a string",
    None,
    17,
    ["a", "list"],
    {"text": "no id"},
    {"id": "not-an-id", "text": "x"},
    {"id": 5, "text": "x"},
    {"id": "-1-0", "text": "x"},
    {"id": "99999999999999999999-0", "text": "x"},
    {"id": "1-9223372036854775808", "text": "x"},
]
ODD_TEXTS: list[tuple[Any, str]] = [
    (None, ""),
    ("", ""),
    (42, "42"),
    (1.5, "1.5"),
    (True, "true"),
    ({"a": [1, "é"]}, '{"a":[1,"é"]}'),
    ("nul \x00 esc \x1b[31m", "nul \x00 esc \x1b[31m"),
    ("lone \ud800 surrogate", "lone \ufffd surrogate"),
    ({"k": "\udfff"}, '{"k":"\ufffd"}'),
    ("x" * 400_000, "x" * 400_000),
    ("\U0001f600 pair", "\U0001f600 pair"),
]


def test_poison_costs_only_itself(bridge: FakeBridge, client: BusClient) -> None:
    bridge.streams.add("bob", "before")
    for raw in POISON:
        bridge.streams.add("bob", "", raw=raw)
    for text, _ in ODD_TEXTS:
        bridge.streams.add("bob", text)
    bridge.streams.add("bob", "odd source", source={"who": 1})
    bridge.streams.add("bob", "no source", source=None)
    bridge.streams.add("bob", "?", source="?")
    human: dict[str, Any] = {"class": "human"}
    bridge.streams.add("bob", "after", **human)
    ledger, endpoint = MemoryLedger(), endpoint_of(bridge)
    turns = Turns()
    collected = client.collect(endpoint, ledger, turns)
    texts = [message.text for message in collected.messages]
    odd = [expected for _, expected in ODD_TEXTS]
    assert texts == ["before", *odd, "odd source", "no source", "?", "after"]
    assert [message.source for message in collected.messages[-4:-1]] == ['{"who":1}', "?", "?"]
    assert collected.messages[-1].message_class == "human"
    assert len(collected.malformed) == len(POISON)
    assert not any("just a string" in reason or "no id" in reason[20:] for reason in collected.malformed[:4])


def test_sending_tells_where_the_message_lies(bridge: FakeBridge, client: BusClient) -> None:
    alice, bob = endpoint_of(bridge, "alice"), endpoint_of(bridge, "bob")
    sent = client.send(alice, "bob", 'hello "bob"\n\u2603')
    ledger = MemoryLedger()
    assert collect(client, bob, ledger) == ['hello "bob"\n\u2603']
    assert ledger.taken[0].key == (sent.stream, sent.entry_id)
    assert ledger.taken[0].source == "agent:alice"


def test_health_needs_no_token_and_sends_none(bridge: FakeBridge, client: BusClient) -> None:
    assert client.health(bridge.url)["status"] == "ok"
    assert bridge.seen("/health")[0].authorization is None


def test_an_agent_is_announced_then_kept_alive(bridge: FakeBridge, client: BusClient) -> None:
    endpoint, ledger = endpoint_of(bridge, presence=True), MemoryLedger()
    for _ in range(3):
        collect(client, endpoint, ledger)
    assert [request.path for request in bridge.requests] == ["/announce", "/inbox", "/inbox", "/inbox"]
    assert [peer["name"] for peer in client.peers(endpoint)["registered"]] == ["bob"]
    client.heartbeat(endpoint)
    assert json.loads(bridge.seen("/heartbeat")[0].body) == {"agent": "bob"}


def test_a_coherence_violation_is_settled_at_once(bridge: FakeBridge, client: BusClient) -> None:
    endpoint, ledger = endpoint_of(bridge, presence=True), MemoryLedger()
    collect(client, endpoint, ledger)
    bridge.streams.add("bob", "hello")
    bridge.fault("coherence")
    bridge.requests.clear()
    assert collect(client, endpoint, ledger) == ["hello"]
    assert [request.path for request in bridge.requests] == ["/inbox", "/announce", "/heartbeat", "/inbox"]


def test_presence_that_fails_stops_no_poll(bridge: FakeBridge, client: BusClient) -> None:
    bridge.fault("status", path="/announce", value=500)
    bridge.streams.add("bob", "hello")
    endpoint, ledger = endpoint_of(bridge, presence=True), MemoryLedger()
    assert collect(client, endpoint, ledger) == ["hello"]
    collect(client, endpoint, ledger)
    assert len(bridge.seen("/announce")) == 1, "a failed announcement is not repeated with each poll"


def test_a_rotated_token_is_used_with_the_next_request(bridge: FakeBridge, client: BusClient) -> None:
    tokens = [bridge.add_token("bob")]
    endpoint, ledger = endpoint_of(bridge, token=lambda: Secret(tokens[-1])), MemoryLedger()
    collect(client, endpoint, ledger)
    tokens.append(bridge.add_token("bob"))
    del bridge.tokens[tokens[0]]
    bridge.streams.add("bob", "after rotation")
    assert collect(client, endpoint, ledger) == ["after rotation"]


def test_one_hanging_bridge_keeps_no_other_agent_waiting(client: BusClient) -> None:
    with FakeBridge("C") as dead, FakeBridge("C") as alive:
        dead.fault("hang")
        alive.streams.add("bob", "hello")
        hanging = endpoint_of(dead, "eve", request_timeout=30.0)
        thread = threading.Thread(target=lambda: _swallow(client, hanging), daemon=True)
        thread.start()
        started = time.monotonic()
        assert collect(client, endpoint_of(alive), MemoryLedger()) == ["hello"]
        assert time.monotonic() - started < 10
        assert thread.is_alive()
    thread.join(20)
    assert not thread.is_alive()


def _swallow(client: BusClient, endpoint: Endpoint) -> None:
    from worker.bus.errors import BusError

    with pytest.raises(BusError):
        client.collect(endpoint, MemoryLedger(), lambda: None)
