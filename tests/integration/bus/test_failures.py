"""Each row of the failure table: what the caller is told, and that the next poll loses nothing."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.bridges import FakeBridge
from tests.fakes.buses import BUSES, Bus, start_bus
from tests.fakes.ledgers import MemoryLedger
from tests.fakes.serving import FakeBus
from worker.bus import errors
from worker.bus.client import BusClient
from worker.bus.requests import Endpoint
from worker.bus.source import Collected
from worker.bus.sources import sources
from worker.secret import Secret

CANARY = "canary-token-4f9c1b"


@pytest.fixture
def client() -> Iterator[BusClient]:
    with BusClient(max_connections=8) as client:
        yield client


def endpoint_of(bridge: FakeBus, **changes: Any) -> Endpoint:
    bridge.add_token("bob", token=CANARY)
    fields: dict[str, Any] = {
        "agent": "bob",
        "project": None,
        "bridge_url": bridge.url,
        "token": lambda: Secret(CANARY),
        "limit": 10,
        "presence": False,
        "kind": bridge.kind,
    }
    return Endpoint(**fields | changes)


def collect(client: BusClient, endpoint: Endpoint, ledger: MemoryLedger) -> Collected:
    return sources(client)[endpoint.kind].collect(endpoint, ledger, lambda: None)


def failure(client: BusClient, endpoint: Endpoint) -> errors.BusError:
    with pytest.raises(errors.BusError) as raised:
        collect(client, endpoint, MemoryLedger())
    error = raised.value
    chain: BaseException | None = error
    while chain is not None:
        assert CANARY not in f"{chain} {chain!r}", "the token is in the error"
        chain = None if chain.__suppress_context__ else chain.__context__
    return error


ROWS: list[tuple[str, Any, type[errors.BusError], str]] = [
    ("close", None, errors.ClosedError, "bus-closed"),
    ("unauthorized", None, errors.UnauthorizedError, "bus-unauthorized"),
    ("identity", None, errors.IdentityError, "bus-identity"),
    ("malformed_record", None, errors.IdentityError, "bus-identity"),
    ("coherence", None, errors.CoherenceError, "bus-coherence"),
    ("forbidden", None, errors.ForbiddenError, "bus-forbidden"),
    ("status", 500, errors.ServerError, "bus-server-error"),
    ("status", 503, errors.UnavailableError, "bus-unavailable"),
    ("status", 400, errors.RequestRefusedError, "bus-refused"),
    ("status", 404, errors.NotFoundError, "bus-not-found"),
    ("status", 204, errors.BadAnswerError, "bus-bad-answer"),
    ("html", None, errors.BadAnswerError, "bus-bad-answer"),
    ("truncated", None, errors.BadAnswerError, "bus-bad-answer"),
    ("short", None, errors.ClosedError, "bus-closed"),
    ("list", None, errors.BadAnswerError, "bus-bad-answer"),
]


@pytest.mark.parametrize("bus", BUSES)
@pytest.mark.parametrize(("kind", "value", "expected", "code"), ROWS)
def test_each_failure_is_told_apart_and_loses_nothing(
    client: BusClient,
    bus: Bus,
    kind: str,
    value: Any,
    expected: type[errors.BusError],
    code: str,
) -> None:
    with start_bus(bus) as bridge:
        endpoint = endpoint_of(bridge)
        bridge.streams.add("bob", "hello")
        bridge.fault(kind, times=1, value=value)
        error = failure(client, endpoint)
        assert type(error) is expected
        assert error.code == code
        collected = collect(client, endpoint, MemoryLedger())
        assert [message.text for message in collected.messages] == ["hello"]


def test_a_failure_in_the_middle_of_widening_takes_nothing(client: BusClient) -> None:
    with FakeBridge("C") as bridge:
        endpoint = endpoint_of(bridge)
        for number in range(50):
            bridge.streams.add("bob", str(number))
        requests = 0

        def break_the_second() -> None:
            nonlocal requests
            requests += 1
            if requests == 2:
                bridge.fault("close", times=1)

        with pytest.raises(errors.ClosedError):
            client.collect(endpoint, MemoryLedger(), break_the_second)
        assert requests == 2
        assert len(client.collect(endpoint, MemoryLedger(), lambda: None).messages) == 50


@pytest.mark.parametrize("where", ["seconds", "date", "body"])
def test_the_wait_that_the_bus_asks_for_is_read_from_all_places(client: BusClient, where: str) -> None:
    with FakeBridge("C") as bridge:
        bridge.fault("rate", value=where)
        error = failure(client, endpoint_of(bridge))
        assert isinstance(error, errors.RateLimitedError)
        assert error.retry_after is not None
        assert 1.0 <= error.retry_after <= 3.0


@pytest.mark.parametrize("bus", BUSES)
def test_nobody_there(client: BusClient, bus: Bus) -> None:
    with start_bus(bus) as bridge:
        endpoint = endpoint_of(bridge)
    assert type(failure(client, endpoint)) is errors.UnreachableError


def test_an_empty_answer_proves_nothing(client: BusClient) -> None:
    """B and C say so while Redis is down: what came before and after is still taken once."""
    with FakeBridge("C") as bridge:
        endpoint, ledger = endpoint_of(bridge), MemoryLedger()
        bridge.streams.add("bob", "before")
        bridge.fault("empty", times=1200)
        for _ in range(1200):  # an hour of it, at the usual 3 s
            assert client.collect(endpoint, ledger, lambda: None).messages == ()
        bridge.streams.add("bob", "after")
        collected = client.collect(endpoint, ledger, lambda: None)
        assert [message.text for message in collected.messages] == ["before", "after"]


@pytest.mark.parametrize("bus", ["C", "mupot"])
@pytest.mark.parametrize("kind", ["slow_headers", "slow_body", "hang"])
def test_a_request_takes_its_time_and_no_longer(client: BusClient, bus: Bus, kind: str) -> None:
    with start_bus(bus) as bridge:
        # Bytes come often enough that no single read ever times out.
        bridge.fault(kind, value=0.1)
        started = time.monotonic()
        error = failure(client, endpoint_of(bridge, request_timeout=1.0))
        assert type(error) is errors.TooSlowError
        assert 0.9 <= time.monotonic() - started < 5.0


@pytest.mark.parametrize(
    "piece", ["0, ", "{}, ", '{"id": "1-0", "stream": ""}, ', '], "a": [', '], "a": 1, "messages": ["", ']
)
def test_an_endless_list_of_rubbish_takes_no_longer(client: BusClient, piece: str) -> None:
    with FakeBridge("C") as bridge:
        bridge.fault("rubbish", value=piece)
        started = time.monotonic()
        error = failure(client, endpoint_of(bridge, request_timeout=1.0))
        assert type(error) in {errors.TooSlowError, errors.TooLargeError}
        assert time.monotonic() - started < 5.0


def test_an_endless_list_of_messages_ends_too(client: BusClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.bus.page._MOST_ENTRIES", 50_000)
    with FakeBridge("C") as bridge:
        bridge.fault("rubbish", value='{"id": "1-0", "text": ""}, ')
        assert type(failure(client, endpoint_of(bridge))) is errors.TooLargeError
    with FakeBridge("C") as bridge:
        monkeypatch.setattr("worker.bus.requests._LONGEST_EXTENSION", 0.5)
        bridge.fault("rubbish", value=json.dumps({"id": "1-0", "text": "x" * 40_000}) + ", ")
        assert type(failure(client, endpoint_of(bridge, request_timeout=0.5))) is errors.TooSlowError


@pytest.mark.parametrize("bus", ["C", "mupot"])
def test_a_long_page_that_comes_slowly_is_waited_for(client: BusClient, bus: Bus) -> None:
    """Four times as long as a request may take: 600 kB that are worth it."""
    with start_bus(bus) as bridge:
        endpoint = endpoint_of(bridge, request_timeout=1.0, limit=100)
        page: list[dict[str, object]] = [
            {"id": f"{number}-0", "source": "agent:alice", "text": "x" * 16_000} for number in range(1, 38)
        ]
        if bus == "mupot":
            moment = "2026-11-27T10:00:00.000Z"
            page = [{"seq": n, "id": f"m{n}", "body": "x" * 16_000, "created_at": moment} for n in range(37, 0, -1)]
        bridge.fault("paced", value=json.dumps({"agent": "bob", "messages": page[::-1]}))
        started = time.monotonic()
        assert len(collect(client, endpoint, MemoryLedger()).messages) == 37
        assert time.monotonic() - started > 3.0


@pytest.mark.parametrize("bus", ["C", "mupot"])
@pytest.mark.parametrize("kind", ["huge", "endless"])
def test_a_body_is_cut_while_it_comes(client: BusClient, bus: Bus, kind: str) -> None:
    with start_bus(bus) as bridge:
        bridge.fault(kind)
        error = failure(client, endpoint_of(bridge, max_page_bytes=1_000_000))
        assert type(error) is errors.TooLargeError


def test_a_redirect_is_refused_and_the_token_stays_here(client: BusClient) -> None:
    with FakeBridge("C") as bridge, FakeBridge("C") as thief:
        thief.add_token("bob", token=CANARY)
        endpoint = endpoint_of(bridge)
        for path in ("/inbox", "/send", "/announce", "/heartbeat", "/peers"):
            bridge.fault("redirect", path=path, value=thief.url + path)
        assert type(failure(client, endpoint)) is errors.RedirectError
        for call in (
            lambda: client.send(endpoint, "alice", "hi"),
            lambda: client.announce(endpoint),
            lambda: client.heartbeat(endpoint),
            lambda: client.peers(endpoint),
        ):
            with pytest.raises(errors.RedirectError):
                call()
        assert thief.requests == []


def test_the_environment_chooses_no_proxy(client: BusClient, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeBridge("C") as bridge, FakeBridge("C") as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        with BusClient() as fresh:
            fresh.collect(endpoint_of(bridge), MemoryLedger(), lambda: None)
        assert proxy.requests == []
        assert len(bridge.requests) == 1


@pytest.mark.parametrize("token", ["two words", "line\nend", "tökèn", "\x00"])
def test_a_token_that_cannot_be_sent_is_not_printed_either(client: BusClient, token: str) -> None:
    with FakeBridge("C") as bridge:
        endpoint = endpoint_of(bridge, token=lambda: Secret(CANARY + token))
        assert type(failure(client, endpoint)) is errors.UnsendableError
        assert bridge.requests == []


def test_a_page_that_never_completes_says_so(client: BusClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.bus.client.LARGEST_LIMIT", 1_000)
    monkeypatch.setattr("worker.bus.client._BEYOND", 1_500)
    with FakeBridge("C") as bridge:
        endpoint = endpoint_of(bridge, project="acme")
        for number in range(1_000):
            bridge.streams.add("bob", "x", ms=1_795_300_000_000 + number)
            bridge.streams.add("bob", "x", project="acme", ms=1_795_300_000_000 + number)
        error = failure(client, endpoint)
        assert type(error) is errors.PageIncompleteError
        assert "1,000" in str(error)
        assert [request.query["limit"] for request in bridge.requests] == ["10", "320", "1000", "1500"]


def test_of_one_stream_any_number_comes_in_parts(client: BusClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.bus.client.LARGEST_LIMIT", 100)
    monkeypatch.setattr("worker.bus.client._BEYOND", 200)
    with FakeBridge("C") as bridge:
        endpoint, ledger = endpoint_of(bridge), MemoryLedger()
        sent = [bridge.streams.add("bob", "x", ms=1_795_300_000_000 + 70_000 * number) for number in range(450)]
        more = True
        while more:
            collected = client.collect(endpoint, ledger, lambda: None)
            ledger.take(collected.messages)
            more = collected.more
        assert [(message.ms, message.seq) for message in ledger.taken] == sent


@pytest.mark.parametrize("text", ["", "x" * 16_385])
def test_a_text_no_bridge_takes_is_not_sent(client: BusClient, text: str) -> None:
    with FakeBridge("C") as bridge, pytest.raises(errors.UnsendableError):
        client.send(endpoint_of(bridge), "alice", text)
    assert bridge.requests == []


def test_every_code_is_unique() -> None:
    codes = [kind.code for kind in _subclasses(errors.BusError)]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch(r"bus-[a-z-]+", code) for code in codes)


def _subclasses(kind: type[errors.BusError]) -> list[type[errors.BusError]]:
    return [kind, *(deep for child in kind.__subclasses__() for deep in _subclasses(child))]


_MEMORY = """
import re, resource, sys
from pathlib import Path
from tests.fakes.buses import BUSES, Bus, start_bus
from tests.fakes.ledgers import MemoryLedger
from tests.fakes.serving import FakeBus
from worker.bus.client import BusClient
from worker.bus.errors import BusError
from worker.bus.requests import Endpoint
from worker.bus.source import Collected
from worker.bus.sources import sources
from worker.secret import Secret

url = sys.argv[1]
endpoint = Endpoint("bob", None, url, lambda: Secret("canary-token-4f9c1b"), 10, presence=False)
seen = []
with BusClient() as client:
    for _ in range(int(sys.argv[2])):
        try:
            ledger, more = MemoryLedger(), True
            while more:
                collected = client.collect(endpoint, ledger, lambda: None)
                ledger.take(collected.messages)
                more = collected.more
            seen.append(str(len(ledger.taken)))
        except BusError as error:
            seen.append(error.code)

# Not ru_maxrss: Linux carries it over from the process that forked this one.
status = Path("/proc/self/status")
if status.exists():
    peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1]) // 1024
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024**2
print(*seen, peak)
"""


@pytest.mark.usefixtures("unmeasured")
def test_memory_stays_bounded_whatever_comes() -> None:
    """A process of its own: 200 MB, an endless body, and a true page of 15 and of 60 MiB, all under 120 MB."""
    with FakeBridge("C") as bridge:
        endpoint_of(bridge)
        for _ in range(950):
            bridge.streams.add("bob", "x" * 16_384 + "\u2603")
        bridge.fault("huge", times=2)
        bridge.fault("endless", times=2)
        done = subprocess.run(
            [sys.executable, "-c", _MEMORY, bridge.url, "5"],
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
            cwd=Path(__file__).parents[3],
            env={"PATH": os.environ["PATH"]},
        )
        *seen, megabytes = done.stdout.split()
        assert seen == ["bus-too-large"] * 4 + ["950"]
        assert int(megabytes) < 120
