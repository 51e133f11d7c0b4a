"""The doorbell against bridges that ring, that cannot, and that misbehave."""

import os
import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.fakes.bridges import FakeBridge
from tests.world.waiting import until
from worker.bus.doorbell import LONGEST_LINE, Doorbell, Lines, Timings
from worker.bus.keepalive import BETWEEN_SECONDS, IDLE_SECONDS, PROBES
from worker.bus.requests import BusRequests, Endpoint
from worker.secret import Secret

QUICK = Timings(first_retry=0.02, longest_retry=0.1, refused_retry=0.1, unsupported_retry=0.1, silence=5.0)
PATIENCE = 10.0


def endpoint_of(bridge: FakeBridge, agent: str = "bob", **changes: Any) -> Endpoint:
    token = Secret(bridge.add_token(agent))
    fields: dict[str, Any] = {
        "agent": agent,
        "project": None,
        "bridge_url": bridge.url,
        "token": lambda: token,
        "limit": 10,
    }
    return Endpoint(**fields | changes)


@contextmanager
def listening(*endpoints: Endpoint, timings: Timings = QUICK) -> Iterator["queue.Queue[str]"]:
    rings: queue.Queue[str] = queue.Queue()
    doorbell = Doorbell(endpoints, rings.put, timings)
    doorbell.start()
    try:
        yield rings
    finally:
        started = time.monotonic()
        doorbell.close()
        assert time.monotonic() - started < 3.0
        assert not any(thread.name == "doorbell" for thread in threading.enumerate())


@pytest.mark.parametrize("generation", ["B", "C"])
def test_a_message_rings_within_milliseconds(generation: Any) -> None:
    with FakeBridge(generation) as bridge, listening(endpoint_of(bridge)) as rings:
        assert rings.get(timeout=PATIENCE) == "bob"  # the connection opened
        waits = []
        for number in range(20):
            started = time.monotonic()
            bridge.streams.add("bob", f"message {number}")
            assert rings.get(timeout=PATIENCE) == "bob"
            waits.append(time.monotonic() - started)
            time.sleep(0.06)  # longer than rings are held together
        assert sorted(waits)[10] < 0.05
        bridge.streams.add("eve", "not for bob")
        with pytest.raises(queue.Empty):
            rings.get(timeout=0.2)


def test_a_burst_is_a_few_rings_and_the_last_comes_after_its_end() -> None:
    with FakeBridge("C") as bridge, listening(endpoint_of(bridge)) as rings:
        rings.get(timeout=PATIENCE)
        for number in range(300):
            bridge.streams.add("bob", str(number))
        count = 0
        while True:
            try:
                rings.get(timeout=0.5)
            except queue.Empty:
                break
            count += 1
        assert 1 <= count < 60


def test_many_agents_share_one_thread() -> None:
    with FakeBridge("C") as bridge:
        agents = [f"agent{number}" for number in range(40)]
        with listening(*(endpoint_of(bridge, agent) for agent in agents)) as rings:
            opened = {rings.get(timeout=PATIENCE) for _ in agents}
            assert opened == set(agents)
            for agent in agents:
                bridge.streams.add(agent, "hello")
            assert {rings.get(timeout=PATIENCE) for _ in agents} == set(agents)
            assert sum(thread.name == "doorbell" for thread in threading.enumerate()) == 1


def test_a_lost_connection_comes_back_and_rings() -> None:
    with FakeBridge("C") as bridge, listening(endpoint_of(bridge)) as rings:
        for _ in range(3):
            rings.get(timeout=PATIENCE)
            bridge.drop_watchers()
        rings.get(timeout=PATIENCE)


def test_a_bridge_without_watch_is_asked_rarely_and_silently(caplog: pytest.LogCaptureFixture) -> None:
    timings = Timings(first_retry=0.01, longest_retry=0.01, unsupported_retry=3600)
    with FakeBridge("A") as bridge, listening(endpoint_of(bridge), timings=timings) as rings:
        until(lambda: bridge.seen("/watch"), "the /watch requests")
        with pytest.raises(queue.Empty):
            rings.get(timeout=0.3)
        assert len(bridge.seen("/watch")) == 1
    assert [
        record for record in caplog.records if record.levelname != "DEBUG" and record.name.startswith("worker")
    ] == []


@pytest.mark.parametrize("kind", ["close", "unauthorized", "identity", "html", "rate", "status", "truncated"])
def test_whatever_the_bridge_does_it_comes_back(kind: str) -> None:
    with FakeBridge("C") as bridge:
        bridge.fault(kind, path="/watch", times=2, value={"status": 500, "rate": "none"}.get(kind))
        with listening(endpoint_of(bridge)) as rings:
            assert rings.get(timeout=PATIENCE) == "bob"
            assert len(bridge.seen("/watch")) == 3


def test_a_silent_connection_is_given_up() -> None:
    with FakeBridge("C") as bridge:
        bridge.fault("silent", path="/watch", times=1)
        timings = Timings(first_retry=0.02, longest_retry=0.1, silence=0.3)
        with listening(endpoint_of(bridge), timings=timings) as rings:
            rings.get(timeout=PATIENCE)
            until(lambda: len(bridge.seen("/watch")) >= 2, "the /watch requests")
            rings.get(timeout=PATIENCE)


def test_keepalives_keep_it_alive_and_ring_nobody() -> None:
    timings = Timings(first_retry=0.02, longest_retry=0.1, silence=1.0)
    with FakeBridge("C", keepalive=0.1) as bridge, listening(endpoint_of(bridge), timings=timings) as rings:
        rings.get(timeout=PATIENCE)
        with pytest.raises(queue.Empty):
            rings.get(timeout=2.0)
        assert len(bridge.seen("/watch")) == 1


def test_a_redirect_is_not_followed_with_the_token() -> None:
    with FakeBridge("C") as bridge, FakeBridge("C") as thief:
        bridge.fault("redirect", path="/watch", value=thief.url + "/watch")
        with listening(endpoint_of(bridge)):
            until(lambda: len(bridge.seen("/watch")) >= 3, "the /watch requests")
        assert thief.requests == []


def test_a_ring_that_fails_stops_no_ringing() -> None:
    with FakeBridge("C") as bridge:
        rung = threading.Semaphore(0)

        def ring(agent: str) -> None:
            rung.release()
            raise RuntimeError("whoever listens is broken")

        doorbell = Doorbell([endpoint_of(bridge)], ring, QUICK)
        doorbell.start()
        try:
            assert rung.acquire(timeout=PATIENCE)
            bridge.streams.add("bob", "hello")
            assert rung.acquire(timeout=PATIENCE)
        finally:
            doorbell.close()


def test_a_rotated_token_is_read_with_each_connection() -> None:
    with FakeBridge("C") as bridge:
        tokens = ["not yet valid"[:3]]
        with listening(endpoint_of(bridge, token=lambda: Secret(tokens[-1]))) as rings:
            until(lambda: bridge.seen("/watch"), "the /watch requests")
            tokens.append(bridge.add_token("bob"))
            assert rings.get(timeout=PATIENCE) == "bob"


@pytest.mark.parametrize(
    ("parts", "rings"),
    [
        ((b"data: x\n\n",), 1),
        ((b"da", b"ta", b":", b" x\n", b"\n"), 1),
        ((b"data: a\ndata: b\n\ndata: c\n\n",), 3),
        ((b": data: no\n", b"event: data:\n", b"\n\n"), 0),
        ((b"data:",), 1),
        ((b"id: 1\r\ndata: x\r\n\r\n",), 1),
        ((b"", b"\xff\x00"), 0),
    ],
)
def test_frames_are_found_however_they_are_cut(parts: tuple[bytes, ...], rings: int) -> None:
    lines = Lines()
    assert sum(lines.feed(part)[1] for part in parts) == rings


def test_a_line_without_end_is_no_line() -> None:
    lines = Lines()
    for _ in range(LONGEST_LINE // 65536):
        assert lines.feed(b"x" * 65536) == (0, 0)
    with pytest.raises(ValueError, match="without end"):
        lines.feed(b"x")


def test_a_connection_is_heard_once_a_line_came_and_until_it_ends() -> None:
    timings = Timings(first_retry=60, longest_retry=60, silence=5.0, heard=0.05)
    with FakeBridge("C", keepalive=0.1) as bridge:
        doorbell = Doorbell([endpoint_of(bridge)], lambda _: None, timings)
        doorbell.start()
        try:
            until(lambda: doorbell.is_heard("bob"), "keep-alives", PATIENCE)
            bridge.drop_watchers()
            until(lambda: not doorbell.is_heard("bob"), "its end", PATIENCE)
        finally:
            doorbell.close()


def test_a_connection_that_has_just_opened_is_not_heard_yet() -> None:
    with FakeBridge("C", keepalive=0.05) as bridge:
        opened = threading.Event()
        doorbell = Doorbell([endpoint_of(bridge)], lambda _: None, opened=lambda _: opened.set())
        doorbell.start()
        try:
            assert opened.wait(PATIENCE)
            assert not doorbell.is_heard("bob")
        finally:
            doorbell.close()


def test_an_opened_connection_is_told_apart_from_a_ring() -> None:
    rings: queue.Queue[str] = queue.Queue()
    opened: queue.Queue[str] = queue.Queue()
    with FakeBridge("C") as bridge:
        doorbell = Doorbell([endpoint_of(bridge)], rings.put, QUICK, opened=opened.put)
        doorbell.start()
        try:
            assert opened.get(timeout=PATIENCE) == "bob"
            assert rings.empty()
            bridge.streams.add("bob", "hello")
            assert rings.get(timeout=PATIENCE) == "bob"
            assert opened.empty()
        finally:
            doorbell.close()


def test_connections_are_made_anew_when_asked() -> None:
    """The machine has slept: nothing tells that a connection is dead, and it is not waited for."""
    with FakeBridge("C") as bridge:
        opened: queue.Queue[str] = queue.Queue()
        doorbell = Doorbell([endpoint_of(bridge)], lambda _: None, Timings(first_retry=600), opened=opened.put)
        doorbell.start()
        try:
            for _ in range(3):
                assert opened.get(timeout=PATIENCE) == "bob"
                doorbell.renew()
            assert opened.get(timeout=PATIENCE) == "bob"
        finally:
            doorbell.close()
        assert len(bridge.seen("/watch")) >= 4


def test_the_kernel_watches_every_connection() -> None:
    """A peer that is gone without a word is an error within ten seconds, at /watch and for requests."""
    assert IDLE_SECONDS + BETWEEN_SECONDS * PROBES <= 10
    with FakeBridge("C") as bridge, listening(endpoint_of(bridge)) as rings, BusRequests() as client:
        rings.get(timeout=PATIENCE)
        client.health(bridge.url)
        kept = [
            found
            for descriptor in range(3, 256)
            if (found := _keepalive(descriptor, bridge.server_address[1])) is not None
        ]
    assert (1, IDLE_SECONDS, BETWEEN_SECONDS, PROBES) in kept


def _keepalive(descriptor: int, port: int) -> tuple[int, ...] | None:
    """The keep-alive options of one of our sockets that is connected to that port."""
    try:
        duplicate = os.dup(descriptor)
        with socket.socket(fileno=duplicate) as one:
            if one.getpeername()[1] != port:
                return None
            return (
                int(bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))),
                one.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                one.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
                one.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
            )
    except (OSError, IndexError):
        return None
