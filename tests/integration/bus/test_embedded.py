"""What the embedded bus promises beyond the contract: bounds, secrets, durability, and its command."""

import http.client
import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.fakes.ledgers import MemoryLedger
from tests.fakes.measuring import measuring
from worker.bus.client import BusClient
from worker.bus.embedded import api, shares, store
from worker.bus.embedded.errors import EmbeddedBusError, QuotaError
from worker.bus.embedded.rate import LIMIT, RateMeter
from worker.bus.embedded.server import EmbeddedBus
from worker.bus.embedded.store import BusStore
from worker.bus.errors import RateLimitedError, RequestRefusedError
from worker.bus.requests import Endpoint
from worker.secret import Secret
from worker.serving.connections import Connection

ROOT = Path(__file__).parents[3]


class Clock:
    def __init__(self, now: float = 1_795_300_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sos" / "bus.db"


@contextmanager
def stored(path: Path, clock: Clock | None = None) -> Iterator[BusStore]:
    kept = BusStore(path, clock or Clock())
    try:
        yield kept
    finally:
        kept.close()


def test_tokens_are_kept_as_hashes_in_private_files(path: Path) -> None:
    with stored(path) as kept:
        token = kept.add_agent("bob")
        found = kept.agent_of(token)
        assert found is not None
        assert found.name == "bob"
        assert kept.agent_of(token + "x") is None
        for file in path.parent.iterdir():
            assert token.encode() not in file.read_bytes()
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        kept.remove_agent("bob")
        assert kept.agent_of(token) is None


def test_ids_never_go_back_with_the_clock(path: Path) -> None:
    clock = Clock()
    with stored(path, clock) as kept:
        first = kept.append(source="agent:a", to="bob", text="1", project=None)
        second = kept.append(source="agent:a", to="bob", text="2", project=None)
        clock.now -= 3600
        third = kept.append(source="agent:a", to="bob", text="3", project=None)
    with stored(path, clock) as kept:
        fourth = kept.append(source="agent:a", to="bob", text="4", project=None)
    assert [message.seq for message in (first, second, third, fourth)] == [0, 1, 2, 3]
    assert {message.ms for message in (first, second, third, fourth)} == {first.ms}


def test_each_stream_keeps_its_newest(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "KEPT_PER_STREAM", 10)
    with stored(path) as kept:
        for number in range(50):
            kept.append(source="agent:a", to="bob", text=str(number), project=None)
            kept.append(source="agent:a", to="eve", text="one of few", project=None) if number < 3 else None
        texts = [message.text for message in kept.page("bob", None, 1000, None)]
        assert texts[0] == "49"
        assert len(texts) == 10
        assert len(kept.page("eve", None, 1000, None)) == 3


def test_a_stream_is_trimmed_whoever_else_is_written_to(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And whenever the process began: the count is kept in the file."""
    monkeypatch.setattr(shares, "KEPT_PER_STREAM", 10)
    for round_ in range(4):
        with stored(path) as kept:
            for number in range(5):
                kept.append(source="agent:a", to="quiet", text=f"{round_} {number}", project=None)
                for _ in range(3):
                    kept.append(source="agent:a", to="busy", text="x", project=None)
    with stored(path) as kept:
        for name in ("quiet", "busy"):
            assert len(kept.page(name, None, 1000, None)) == 10
        assert kept.lengths(None) == [("busy", 10), ("quiet", 10)]
        assert kept.page("quiet", None, 1000, None)[-1].text == "2 0", "the newest ten are there"


def counted(path: Path) -> bool:
    """Whether what the file says of its streams and shares is what it holds."""
    with closing(sqlite3.connect(path)) as db:
        streams = db.execute("select name, messages from streams order by name").fetchall()
        shares = db.execute("select source, bytes from shares where bytes > 0 order by source").fetchall()
        held = db.execute("select stream, count(*) from messages group by stream order by stream").fetchall()
        sizes = db.execute(
            "select source, sum(1024 + length(cast(text as blob))) from messages group by source order by source"
        ).fetchall()
    return bool(streams == held and shares == sizes)


def test_an_agent_has_a_share_of_bytes_and_only_its_old_messages_make_room(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "BYTES_PER_AGENT", 20_000)
    monkeypatch.setattr(shares, "_MAKE_ROOM_BY", 4)
    clock = Clock()
    with stored(path, clock) as kept:
        kept.append(source="agent:eve", to="bob", text="from another", project=None)
        for number in range(9):
            clock.now += 1
            kept.append(source="agent:a", to=f"bob{number % 2}", text=chr(233) * 500, project=None)  # 2,024 bytes each
        with pytest.raises(QuotaError, match="20,000 bytes"):
            kept.append(source="agent:a", to="bob0", text=chr(233) * 500, project=None)
        kept.append(source="agent:a", to="bob0", text="a small one", project=None)
        kept.append(source="agent:eve", to="bob0", text="others go on", project=None)
        assert counted(path)
        clock.now += shares.KEPT_SECONDS + 1
        kept.append(source="agent:a", to="bob0", text=chr(233) * 500, project=None)
        assert counted(path)
        assert [message.text for message in kept.page("bob", None, 10, None)] == ["from another"]
        assert len(kept.page("bob0", None, 10, None)) == 6
        assert len(kept.page("bob1", None, 10, None)) == 2


def test_an_agent_may_begin_so_many_streams(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "STREAMS_PER_AGENT", 3)
    clock = Clock()
    with stored(path, clock) as kept:
        kept.append(source="agent:eve", to="bob", text="x", project=None)
        for to, project in (("bob", None), ("b", None), ("b", "acme"), ("c", None), ("b", None)):
            kept.append(source="agent:a", to=to, text="x", project=project)
        for to, project in (("d", None), ("c", "acme")):
            with pytest.raises(QuotaError, match="was the first to send to 3"):
                kept.append(source="agent:a", to=to, text="x", project=project)
        assert counted(path)
        clock.now += shares.KEPT_SECONDS + 1
        kept.append(source="agent:a", to="d", text="x", project=None)
        assert counted(path)


def test_a_full_share_is_told_with_what_to_do(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "BYTES_PER_AGENT", 3_000)
    with EmbeddedBus(path) as bus, BusClient() as client:
        bob, eve = endpoint_of(bus, "bob"), endpoint_of(bus, "eve")
        client.send(bob, "eve", "x" * 1000)
        with pytest.raises(RequestRefusedError, match="507") as raised:
            client.send(bob, "eve", "x" * 1000)
        assert "week" in str(raised.value)
        client.send(eve, "bob", "x" * 1000)
        assert len(client.inbox(eve, (0, 0), 10).messages) == 1


def test_an_agent_is_present_in_so_many_projects(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_PROJECTS_PER_AGENT", 5)
    clock = Clock()
    with stored(path, clock) as kept:
        kept.announce("eve", None, "codex", "works")
        for number in range(20):
            clock.now += 1
            kept.announce("bob", f"p{number}", "codex", "works")
        assert [peer["project"] for peer in kept.peers(None) if peer["name"] == "bob"] == [
            f"p{n}" for n in range(15, 20)
        ]
        assert [peer["name"] for peer in kept.peers(None)].count("eve") == 1
        clock.now += store.PRESENCE_LIFE
        kept.announce("carol", None, "codex", "works")
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("select name from presence").fetchall() == [("carol",)], "the silent ones are forgotten"


def test_a_file_of_the_first_version_is_taken_over(path: Path) -> None:
    with stored(path) as kept:
        token = kept.add_agent("bob")
        for number in range(3):
            kept.append(source="agent:a", to="bob", text=str(number), project=None)
            kept.append(source="agent:eve", to="bob", text="héllo", project="acme")
    with closing(sqlite3.connect(path)) as db:
        for what in ("table streams", "table shares", "index messages_by_source"):
            db.execute(f"drop {what}")
        db.execute("pragma user_version = 1")
        db.commit()
    with stored(path) as kept:
        assert counted(path)
        assert kept.agent_of(token) is not None
        kept.append(source="agent:a", to="bob", text="4", project=None)
        assert len(kept.page("bob", "acme", 10, None)) == 7
        assert counted(path)


def test_peers_that_fall_silent_are_gone_after_ten_minutes(path: Path) -> None:
    clock = Clock()
    with stored(path, clock) as kept:
        kept.announce("bob", None, "codex", "works")
        clock.now += 590
        kept.heartbeat("bob", None)
        clock.now += 590
        assert [peer["name"] for peer in kept.peers(None)] == ["bob"]
        clock.now += 11
        assert kept.peers(None) == []


@pytest.mark.parametrize("name", ["", "Bob", "../x", "a b", "x" * 65, "-x", "bob\n", "агент"])
def test_names_that_would_confuse_somebody_are_refused(path: Path, name: str) -> None:
    with stored(path) as kept, pytest.raises(EmbeddedBusError):
        kept.add_agent(name)


def test_a_file_of_a_newer_version_is_left_untouched(path: Path) -> None:
    with stored(path):
        pass
    with closing(sqlite3.connect(path)) as db:
        db.execute("pragma user_version = 99")
    before = path.read_bytes()
    with pytest.raises(EmbeddedBusError, match="newer"):
        BusStore(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_named(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("not a database, but a long enough text to look like one" * 100)
    with pytest.raises(EmbeddedBusError, match=r"bus\.db"):
        BusStore(path)


def test_the_meter_counts_fixed_minutes() -> None:
    clock = Clock(1_795_300_020.0)
    meter = RateMeter(3, clock)
    assert [meter.excess("bob")[0] for _ in range(5)] == [0, 0, 0, 1, 2]
    assert meter.excess("eve")[0] == 0
    assert meter.excess("bob")[1] == 60 - 1_795_300_020 % 60
    clock.now += 60
    assert meter.excess("bob")[0] == 0


def endpoint_of(bus: EmbeddedBus, agent: str) -> Endpoint:
    token = Secret(bus.store.add_agent(agent))
    return Endpoint(agent, None, bus.url, lambda: token, 10, presence=False)


def test_the_limit_is_enforced_when_asked_to(path: Path) -> None:
    with EmbeddedBus(path, enforce_rate_limit=True) as bus, BusClient() as client:
        endpoint = endpoint_of(bus, "bob")

        def poll_a_lot() -> None:
            for _ in range(2 * LIMIT + 1):  # a new minute may begin meanwhile
                client.inbox(endpoint, (0, 0), 10)

        with pytest.raises(RateLimitedError) as raised:
            poll_a_lot()
        assert raised.value.retry_after is not None
        assert 1 <= raised.value.retry_after <= 60


def test_connections_are_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = 0
    original = Connection.connection_made

    def count(self: Connection, transport: Any) -> None:
        nonlocal opened
        opened += 1
        original(self, transport)

    monkeypatch.setattr(Connection, "connection_made", count)
    with EmbeddedBus(path) as bus, BusClient() as client:
        endpoint = endpoint_of(bus, "bob")
        for _ in range(20):
            client.inbox(endpoint, (0, 0), 10)
            client.send(endpoint, "bob", "x")
    assert opened == 1


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /send HTTP/1.1\r\nHost: bus\r\nContent-Length: 999999999999\r\n\r\n", 413),
        (b"POST /send HTTP/1.1\r\nHost: bus\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /send HTTP/1.1\r\nHost: bus\r\n\r\n", 411),
        (b"POST /send HTTP/1.1\r\nHost: bus\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (
            b"POST /send HTTP/1.1\r\nHost: bus\r\nAuthorization: Bearer TOKEN\r\nContent-Length: 40000\r\n\r\n"
            + b"[" * 40_000,
            400,
        ),
        (b"POST /send HTTP/1.1\r\nHost: bus\r\nContent-Length: 40000\r\n\r\n" + b"[" * 40_000, 401),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: bus\r\n\r\n", 414),
        (b"GET /health HTTP/1.1\r\nHost: bus\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
    ],
)
def test_requests_have_bounds(path: Path, head: bytes, status: int) -> None:
    with EmbeddedBus(path) as bus:
        address = urlsplit(bus.url)
        with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=10) as connection:
            connection.sendall(head.replace(b"TOKEN", bus.store.add_agent("bob").encode()))
            assert connection.makefile("rb").readline().split()[1] == str(status).encode()


def test_listeners_have_bounds_and_leave_their_place(path: Path) -> None:
    with EmbeddedBus(path) as bus:
        token = bus.store.add_agent("bob")

        def listen() -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
            connection = http.client.HTTPConnection(urlsplit(bus.url).netloc, timeout=10)
            connection.request("GET", "/watch?agent=bob", headers={"Authorization": f"Bearer {token}"})
            return connection, connection.getresponse()

        open_ones = [listen() for _ in range(4)]
        assert [answer.status for _, answer in open_ones] == [200] * 4
        connection, answer = listen()
        assert answer.status == 503
        connection.close()
        for connection, answer in open_ones:
            answer.close()
            connection.close()
        deadline = time.monotonic() + 10
        while True:
            bus.store.append(source="agent:a", to="bob", text="tells who left", project=None)
            connection, answer = listen()
            answer.close()
            connection.close()
            if answer.status == 200:
                break
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_it_stops_at_once_though_listeners_and_idle_connections_are_open(path: Path) -> None:
    with BusClient() as client:
        with EmbeddedBus(path) as bus:
            token = bus.store.add_agent("eve")
            client.inbox(endpoint_of(bus, "bob"), (0, 0), 10)
            listener = http.client.HTTPConnection(urlsplit(bus.url).netloc, timeout=10)
            listener.request("GET", "/watch?agent=eve", headers={"Authorization": f"Bearer {token}"})
            answer = listener.getresponse()
            started = time.monotonic()
        assert time.monotonic() - started < 2.5
        assert answer.read().startswith(b": connected")
        listener.close()


def test_a_quiet_listener_is_told_that_the_bus_lives(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_KEEPALIVE", 0.1)
    with EmbeddedBus(path) as bus:
        token = bus.store.add_agent("bob")
        connection = http.client.HTTPConnection(urlsplit(bus.url).netloc, timeout=10)
        connection.request("GET", "/watch?agent=bob", headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        lines = [answer.readline() for _ in range(6)]
        assert lines == [b": connected\n", b"\n", *[b": keepalive\n", b"\n"] * 2]
        answer.close()
        connection.close()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        (["not an object"], "bad_json"),
        ({"from": "bob", "to": "eve", "text": "x", "project": "../x"}, "bad_project"),
        ({"from": "bob", "to": "Not A Name", "text": "x"}, "bad_message"),
        ({"from": "bob", "to": "eve", "text": 5}, "bad_message"),
    ],
)
def test_what_cannot_be_meant_is_named(path: Path, fields: Any, code: str) -> None:
    with EmbeddedBus(path) as bus:
        headers = {"Authorization": f"Bearer {bus.store.add_agent('bob')}"}
        connection = http.client.HTTPConnection(urlsplit(bus.url).netloc, timeout=10)
        connection.request("POST", "/send", json.dumps(fields), headers)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["error"]) == (400, code)
        connection.close()


def test_it_listens_on_the_other_loopback_too(path: Path) -> None:
    with EmbeddedBus(path, host="::1") as bus, BusClient() as client:
        assert bus.url.startswith("http://[::1]:")
        assert client.health(bus.url)["status"] == "ok"


def test_a_disk_that_fails_is_a_503_and_not_the_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedBus(path) as bus:
        token = bus.store.add_agent("bob")

        def call() -> int:
            connection = http.client.HTTPConnection(urlsplit(bus.url).netloc, timeout=10)
            body = json.dumps({"from": "bob", "to": "bob", "text": "x"})
            connection.request("POST", "/send", body, {"Authorization": f"Bearer {token}"})
            status = connection.getresponse().status
            connection.close()
            return status

        def full(**_: Any) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(bus.store, "append", full)
            assert call() == 503
        assert call() == 200


def bus_watch(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker.cli.main", "bus", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(home), **measuring()},
    )


def test_the_command_from_first_agent_to_stop(tmp_path: Path) -> None:
    token_file = tmp_path / "tokens" / "bob"
    added = bus_watch("--add-agent", "bob", "--token-file", str(token_file), home=tmp_path)
    assert (added.returncode, added.stderr) == (0, "")
    token = token_file.read_text().strip()
    assert token not in added.stdout
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    assert json.loads(bus_watch("--list-agents", "--json", home=tmp_path).stdout)["agents"][0]["name"] == "bob"

    command = [sys.executable, "-m", "worker.cli.main", "bus", "--port", "0"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **measuring()}
    for number in (signal.SIGTERM, signal.SIGINT):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        ) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("listening on http://127.0.0.1:")
            endpoint = Endpoint("bob", None, line.split()[-1], lambda: Secret(token), 10, presence=False)
            with BusClient() as client:
                client.send(endpoint, "bob", number.name)
                # Made while the server runs: no restart is needed.
                late = f"late{number.value}"
                secret = Secret(bus_watch("--add-agent", late, home=tmp_path).stdout.strip())
                other = replace(endpoint, agent=late, token=partial(lambda given: given, secret))
                client.send(other, "bob", "from a late one")
                texts = [message.text for message in client.collect(endpoint, MemoryLedger(), lambda: None).messages]
            process.send_signal(number)
            assert process.wait(10) == 0
            assert process.stderr is not None
            assert process.stderr.read() == ""
    assert texts == ["SIGTERM", "from a late one", "SIGINT", "from a late one"]


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    assert bus_watch("--add-agent", "bob", home=tmp_path).returncode == 0
    again = bus_watch("--add-agent", "bob", home=tmp_path)
    assert again.returncode == 1
    assert "--remove-agent bob" in again.stderr
    token_file = tmp_path / "token"
    token_file.write_text("somebody's")
    kept = bus_watch("--add-agent", "eve", "--token-file", str(token_file), home=tmp_path)
    assert kept.returncode == 1
    assert token_file.read_text() == "somebody's"
    remote = bus_watch("--host", "0.0.0.0", home=tmp_path)
    assert remote.returncode == 64
    assert "--allow-remote" in remote.stderr
    assert bus_watch("--project", "acme", home=tmp_path).returncode == 64
    assert bus_watch("--remove-agent", "nobody", home=tmp_path).returncode == 1
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = bus_watch("--port", str(taken.getsockname()[1]), home=tmp_path)
    assert busy.returncode == 1
    assert "Cannot listen" in busy.stderr
    for done in (again, kept, remote, busy):
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
