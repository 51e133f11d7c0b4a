"""Why a bridge is not reached: each cause has its own sentence; and what is trusted, or goes by a proxy, arrives."""

import contextlib
import errno
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpcore
import pytest

from tests.fakes.bridges import FakeBridge
from tests.fakes.ledgers import MemoryLedger
from worker.bus.client import BusClient
from worker.bus.doorbell import Doorbell
from worker.bus.errors import BusError, ClosedError, NetworkForbiddenError, TlsError, UnreachableError
from worker.bus.reaching import Route, tls, why_unreachable
from worker.bus.requests import Endpoint
from worker.secret import Secret

FILES = Path(__file__).resolve().parents[2] / "fixtures" / "tls"
CERTIFICATE = FILES / "localhost.pem"


def ask(url: str, route: Route = Route()) -> list[str]:  # noqa: B008 - a constant
    endpoint = Endpoint("bob", None, url, lambda: Secret("t"), 10, presence=False, request_timeout=5.0, route=route)
    with BusClient() as client:
        return [message.text for message in client.collect(endpoint, MemoryLedger(), lambda: None).messages]


def error_of(url: str, route: Route = Route()) -> BusError:  # noqa: B008 - a constant
    with pytest.raises(BusError) as raised:
        ask(url, route)
    return raised.value


@pytest.fixture
def secure() -> Iterator[FakeBridge]:
    """A bridge behind TLS, by a certificate that nobody knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, FILES / "localhost.key")
    bridge = FakeBridge("C")
    bridge.socket = context.wrap_socket(bridge.socket, server_side=True)
    with bridge:
        bridge.add_token("bob", token="t")
        bridge.streams.add("bob", "hello")
        yield bridge


def test_an_unknown_certificate_is_named_and_ca_file_trusts_it(secure: FakeBridge) -> None:
    url = f"https://localhost:{secure.server_address[1]}"
    error = error_of(url)
    assert type(error) is TlsError
    assert "certificate is not trusted" in str(error)
    assert "ca_file" in str(error)
    assert ask(url, Route(ca_file=str(CERTIFICATE))) == ["hello"]


def test_openssls_own_variable_is_honoured(secure: FakeBridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    tls.cache_clear()
    try:
        assert ask(f"https://localhost:{secure.server_address[1]}") == ["hello"]
    finally:
        tls.cache_clear()


def test_a_ca_file_of_no_use_is_named(secure: FakeBridge, tmp_path: Path) -> None:
    url = f"https://localhost:{secure.server_address[1]}"
    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    empty.write_text("no certificate")
    assert "cannot be read: No such file" in str(error_of(url, Route(ca_file=str(missing))))
    assert "holds no certificate" in str(error_of(url, Route(ca_file=str(empty))))


def test_tls_to_a_port_without_it(tmp_path: Path) -> None:
    with FakeBridge("C") as bridge:
        error = error_of(bridge.url.replace("http:", "https:"))
    assert type(error) is TlsError
    assert "is it http://" in str(error)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n<h1>The plain HTTP request was sent to HTTPS port</h1>",
        b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
    ],
)
def test_plain_http_to_a_port_with_tls(answer: bytes) -> None:
    def serve(server: socket.socket) -> None:
        client, _ = server.accept()
        with client:
            client.recv(65536)
            client.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        error = error_of(f"http://localhost:{server.getsockname()[1]}")
    assert type(error) is TlsError
    assert "is it https://" in str(error)


def test_plain_http_to_a_port_with_tls_that_hangs_up() -> None:
    """It cannot be told from a bridge that closes; so both are named."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            client.close()

        threading.Thread(target=serve, daemon=True).start()
        error = error_of(f"http://localhost:{server.getsockname()[1]}")
    assert type(error) is ClosedError
    assert "is it https:// and not http://?" in str(error)


def test_a_name_that_nobody_knows() -> None:
    error = error_of("http://no-such-host.invalid:6380")
    assert type(error) is UnreachableError
    assert "Nobody knows the host's name" in str(error)


def test_nobody_listens() -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as there:
        port = there.getsockname()[1]
    assert "is the bridge running?" in str(error_of(f"http://127.0.0.1:{port}"))


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.EPERM, NetworkForbiddenError, "a sandbox forbids it"),
        (errno.EACCES, NetworkForbiddenError, "a sandbox forbids it"),
        (errno.EHOSTUNREACH, UnreachableError, "no way from here"),
        (errno.ENETUNREACH, UnreachableError, "no way from here"),
        (errno.ETIMEDOUT, UnreachableError, "does not answer"),
        (errno.ECONNREFUSED, UnreachableError, "is the bridge running?"),
    ],
)
def test_what_the_system_says_is_passed_on(number: int, kind: type[BusError], words: str) -> None:
    error = httpcore.ConnectError("connect failed")
    error.__cause__ = OSError(number, "as the system words it")
    found = why_unreachable(error)
    assert type(found) is kind
    assert words in str(found)


def _pass_on(client: socket.socket, there: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := client.recv(65536):
            there.sendall(chunk)


class Proxy(threading.Thread):
    """An HTTP proxy for one request at a time, or one tunnel; remembers what it was asked for."""

    def __init__(self, bridge: FakeBridge) -> None:
        super().__init__(daemon=True)
        self.bridge = bridge
        self.asked: list[bytes] = []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.server.accept()
                with client, socket.create_connection(("127.0.0.1", self.bridge.server_address[1])) as there:
                    request = client.recv(65536)
                    line, _, rest = request.partition(b"\r\n")
                    self.asked.append(line)
                    method, address, version = line.split()
                    if method == b"CONNECT":
                        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                        threading.Thread(target=_pass_on, args=(client, there), daemon=True).start()
                    else:
                        there.sendall(b" ".join([method, address[len(self.bridge.url) :], version]) + b"\r\n" + rest)
                    while chunk := there.recv(65536):
                        client.sendall(chunk)


def test_a_proxy_is_used_if_the_configuration_names_it_and_never_for_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with FakeBridge("C") as bridge:
        bridge.add_token("bob", token="t")
        bridge.streams.add("bob", "hello")
        proxy = Proxy(bridge)
        proxy.start()
        with contextlib.closing(proxy.server):
            for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
                monkeypatch.setenv(name, proxy.url)
            assert ask(bridge.url) == ["hello"]
            assert proxy.asked == []
            assert ask(bridge.url, Route(proxy=proxy.url)) == ["hello"]
            assert proxy.asked
            assert proxy.asked[0].startswith(f"GET {bridge.url}/inbox".encode())


def rings(bridge: FakeBridge, url: str, route: Route) -> None:
    """It rings at once, and is closed at once."""
    opened, rung = threading.Event(), threading.Event()
    endpoint = Endpoint("bob", None, url, lambda: Secret("t"), 10, route=route)
    doorbell = Doorbell([endpoint], lambda _: rung.set(), opened=lambda _: opened.set())
    doorbell.start()
    try:
        assert opened.wait(10)
        bridge.streams.add("bob", "x" * 300_000)
        assert rung.wait(10)
    finally:
        began = time.monotonic()
        doorbell.close()
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("tunnel", [False, True])
def test_the_doorbell_rings_through_tls(secure: FakeBridge, tunnel: bool) -> None:
    proxy = Proxy(secure)
    proxy.start()
    with contextlib.closing(proxy.server):
        route = Route(ca_file=str(CERTIFICATE), proxy=proxy.url if tunnel else None)
        rings(secure, f"https://localhost:{secure.server_address[1]}", route)
    assert bool(proxy.asked) == tunnel


def test_the_doorbell_rings_through_a_proxy() -> None:
    with FakeBridge("C") as bridge:
        bridge.add_token("bob", token="t")
        proxy = Proxy(bridge)
        proxy.start()
        with contextlib.closing(proxy.server):
            rings(bridge, bridge.url, Route(proxy=proxy.url))
        assert proxy.asked[0].startswith(f"GET {bridge.url}/watch".encode())


def test_an_ipv6_loopback_needs_no_permission() -> None:
    from worker.urls import travels_in_clear

    assert not travels_in_clear("http://[::1]:6380")
    assert travels_in_clear("http://[2001:db8::1]:6380")
