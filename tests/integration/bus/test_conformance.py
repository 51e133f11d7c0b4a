"""One contract, two servers: the fake of the newest bridge and the embedded bus must pass the same tests."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.fakes.bridges import FakeBridge
from tests.fakes.ledgers import MemoryLedger
from worker.bus.client import BusClient
from worker.bus.doorbell import Doorbell, Timings
from worker.bus.embedded.server import EmbeddedBus
from worker.bus.requests import Endpoint
from worker.secret import Secret


@dataclass
class Bus:
    url: str
    add_agent: Callable[[str, str | None], str]


@contextmanager
def fake_bus(path: Path) -> Iterator[Bus]:
    with FakeBridge("C") as bridge:
        yield Bus(bridge.url, bridge.add_token)


@contextmanager
def embedded_bus(path: Path) -> Iterator[Bus]:
    with EmbeddedBus(path / "bus.db") as bus:
        yield Bus(bus.url, bus.store.add_agent)


@pytest.fixture(params=[fake_bus, embedded_bus])
def bus(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bus]:
    with request.param(tmp_path) as bus:
        yield bus


@pytest.fixture
def client() -> Iterator[BusClient]:
    with BusClient(max_connections=8) as client:
        yield client


def endpoint_of(bus: Bus, agent: str, project: str | None = None, **changes: Any) -> Endpoint:
    token = Secret(bus.add_agent(agent, project))
    return Endpoint(agent, changes.pop("asks_for", project), bus.url, lambda: token, 10, presence=False, **changes)


def call(
    bus: Bus, method: str, path: str, *, token: str | None = None, body: Any = None, raw: bytes | None = None
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(urlsplit(bus.url).netloc, timeout=10)
    try:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        content = raw if raw is not None else None if body is None else json.dumps(body).encode()
        connection.request(method, path, content, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def inbox(bus: Bus, token: str, **query: Any) -> list[dict[str, Any]]:
    words = "&".join(f"{name}={value}" for name, value in query.items())
    status, answer = call(bus, "GET", f"/inbox?agent=bob&format=json&{words}", token=token)
    assert status == 200
    messages: list[dict[str, Any]] = answer["messages"]
    return messages


def test_send_answers_with_stream_and_id(bus: Bus) -> None:
    token = bus.add_agent("alice", None)
    status, answer = call(bus, "POST", "/send", token=token, body={"from": "alice", "to": "bob", "text": "hello bob"})
    assert status == 200
    entry_id = answer.pop("entry_id")
    assert [part.isdigit() for part in entry_id.split("-")] == [True, True]
    assert len(answer.pop("message_id")) >= 16
    assert answer == {"ok": True, "status": "queued", "stream": "sos:stream:global:agent:bob", "project": None}


def test_a_message_has_the_newest_generation_s_fields(bus: Bus) -> None:
    alice, bob = bus.add_agent("alice", None), bus.add_agent("bob", None)
    call(bus, "POST", "/send", token=alice, body={"from": "alice", "to": "bob", "text": "héllo"})
    (message,) = inbox(bus, bob)
    assert message["id"] == message["stream_id"]
    assert message["source"] == message["sender"] == "agent:alice"
    assert message["stream"] == "sos:stream:global:agent:bob"
    assert message["target"] == "agent:bob"
    assert message["text"] == "héllo"
    assert message["type"] == "send"
    assert message["project"] == ""
    assert set(message) == {
        *("id", "stream_id", "stream", "stream_kind", "source", "sender", "target", "type", "text"),
        *("timestamp", "project"),
    }


def test_pages_are_newest_first_and_since_is_exclusive(bus: Bus) -> None:
    alice, bob = bus.add_agent("alice", None), bus.add_agent("bob", None)
    ids = []
    for number in range(25):
        sent = {"from": "alice", "to": "bob", "text": str(number)}
        ids.append(call(bus, "POST", "/send", token=alice, body=sent)[1]["entry_id"])
    texts = [message["text"] for message in inbox(bus, bob, limit=10)]
    assert texts == [str(number) for number in range(24, 14, -1)]
    texts = [message["text"] for message in inbox(bus, bob, limit=10, since=ids[4])]
    assert texts == [str(number) for number in range(14, 4, -1)]
    assert inbox(bus, bob, since=ids[-1]) == []
    assert len(inbox(bus, bob, limit=100_000, since="0-0")) == 25
    assert len(inbox(bus, bob, limit=100_000, since="nonsense")) == 25, "a malformed since is ignored"
    assert inbox(bus, bob, since="99999999999999999999-0") == []


def test_project_and_global_streams_are_merged_and_cut_together(bus: Bus, client: BusClient) -> None:
    bob = endpoint_of(bus, "bob", "acme")
    inside, outside = endpoint_of(bus, "carol", "acme"), endpoint_of(bus, "alice")
    for number in range(15):
        client.send(outside, "bob", f"global {number}")
    for number in range(15):
        client.send(inside, "bob", f"project {number}")
    client.send(outside, "bob", "elsewhere", project="other")
    everything = client.inbox(bob, (0, 0), 100).messages
    assert len(everything) == 30
    assert client.inbox(bob, (0, 0), 20).messages == everything[-20:], "the oldest ten fell out"
    collected = client.collect(bob, MemoryLedger(), lambda: None)
    assert len(collected.messages) == 30


def test_a_token_s_project_overrides_the_one_asked_for(bus: Bus, client: BusClient) -> None:
    bound = endpoint_of(bus, "alice", "acme", asks_for="other")
    assert client.send(bound, "bob", "x").stream == "sos:stream:project:acme:agent:bob"


@pytest.mark.parametrize("header", [None, "Bearer wrong", "bearer {}", "Basic {}", "Bearer", ""])
def test_a_wrong_token_is_401(bus: Bus, header: str | None) -> None:
    token = bus.add_agent("bob", None)
    connection = http.client.HTTPConnection(urlsplit(bus.url).netloc, timeout=10)
    headers = {} if header is None else {"Authorization": header.format(token)}
    connection.request("GET", "/inbox?agent=bob", headers=headers)
    assert connection.getresponse().status == 401
    connection.close()


def test_a_token_is_bound_to_its_agent(bus: Bus) -> None:
    token = bus.add_agent("bob", None)
    for status, answer in (
        call(bus, "GET", "/inbox?agent=eve", token=token),
        call(bus, "GET", "/inbox", token=token),
        call(bus, "GET", "/watch?agent=eve", token=token),
        call(bus, "POST", "/send", token=token, body={"from": "eve", "to": "bob", "text": "x"}),
        call(bus, "POST", "/announce", token=token, body={"agent": "eve"}),
        call(bus, "POST", "/heartbeat", token=token, body={"agent": "eve"}),
    ):
        assert (status, answer["error"]) == (403, "identity_binding_mismatch")


@pytest.mark.parametrize(
    "body", [{"to": "bob"}, {"text": "x"}, {"to": "", "text": "x"}, {"to": "bob", "text": "x" * 16_385}]
)
def test_a_message_that_is_none_is_400(bus: Bus, body: dict[str, str]) -> None:
    token = bus.add_agent("alice", None)
    assert call(bus, "POST", "/send", token=token, body={"from": "alice"} | body)[0] == 400


def test_what_is_not_there_is_404_and_bad_json_400(bus: Bus) -> None:
    token = bus.add_agent("bob", None)
    assert call(bus, "GET", "/nothing", token=token)[0] == 404
    assert call(bus, "GET", "/inbox?agent=bob&limit=abc", token=token)[0] == 400
    assert call(bus, "POST", "/send", token=token, raw=b"{")[0] == 400


def test_a_text_of_the_longest_length_comes_back_as_it_went(bus: Bus, client: BusClient) -> None:
    alice, bob = endpoint_of(bus, "alice"), endpoint_of(bus, "bob")
    texts = ["\U0001f600" * 16_384, "nul \x00 esc \x1b", '{"a": "b\\n"}', " "]
    for text in texts:
        client.send(alice, "bob", text)
    collected = client.collect(bob, MemoryLedger(), lambda: None)
    assert [message.text for message in collected.messages] == texts


def test_announced_agents_are_peers(bus: Bus, client: BusClient) -> None:
    bob = endpoint_of(bus, "bob")
    client.heartbeat(bob)
    assert client.peers(bob)["registered"] == []
    client.announce(bob)
    client.heartbeat(bob)
    client.send(bob, "bob", "x")
    peers = client.peers(bob)
    assert [peer["name"] for peer in peers["registered"]] == ["bob"]
    assert peers["registered"][0]["last_seen"]
    assert peers["streams"] == [{"agent": "bob", "messages": 1}]


def test_health_needs_no_token(bus: Bus) -> None:
    assert call(bus, "GET", "/health") == (200, {"status": "ok", "redis": "connected"})


def test_watch_rings_for_project_and_global_messages(bus: Bus, client: BusClient) -> None:
    bob, alice, carol = endpoint_of(bus, "bob", "acme"), endpoint_of(bus, "alice"), endpoint_of(bus, "carol", "acme")
    rung = threading.Semaphore(0)
    doorbell = Doorbell([bob], lambda _: rung.release(), Timings(coalesce=0.0))
    doorbell.start()
    try:
        assert rung.acquire(timeout=10)
        for sender in (alice, carol):
            client.send(sender, "bob", "hello")
            assert rung.acquire(timeout=10)
        client.send(alice, "eve", "not for bob")
        assert not rung.acquire(timeout=0.2)
    finally:
        doorbell.close()


def test_watch_frames_hold_the_message(bus: Bus) -> None:
    alice, bob = bus.add_agent("alice", None), bus.add_agent("bob", None)
    connection = http.client.HTTPConnection(urlsplit(bus.url).netloc, timeout=10)
    connection.request("GET", "/watch?agent=bob", headers={"Authorization": f"Bearer {bob}"})
    answer = connection.getresponse()
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.readline().startswith(b":")
    call(bus, "POST", "/send", token=alice, body={"from": "alice", "to": "bob", "text": "hello"})
    line = b""
    while not line.startswith(b"data: "):
        line = answer.readline()
        assert line
    assert json.loads(line.removeprefix(b"data: "))["text"] == "hello"
    answer.close()
    connection.close()


def test_eight_senders_at_once_lose_nothing(bus: Bus, client: BusClient) -> None:
    bob = endpoint_of(bus, "bob")
    senders = [endpoint_of(bus, f"sender{number}") for number in range(8)]

    def send(endpoint: Endpoint) -> None:
        for number in range(20):
            client.send(endpoint, "bob", f"{endpoint.agent} {number}")

    threads = [threading.Thread(target=send, args=(endpoint,)) for endpoint in senders]
    for thread in threads:
        thread.start()
    ledger = MemoryLedger()
    deadline = time.monotonic() + 30
    while len(ledger.taken) < 160 and time.monotonic() < deadline:
        ledger.take(client.collect(bob, ledger, lambda: None).messages)
    for thread in threads:
        thread.join()
    assert len(ledger.taken) == 160
    for endpoint in senders:
        mine = [message.text for message in ledger.taken if message.text.startswith(endpoint.agent + " ")]
        assert mine == [f"{endpoint.agent} {number}" for number in range(20)]
