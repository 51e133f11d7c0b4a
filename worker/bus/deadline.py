"""One request takes so long and no longer: an httpx transport under one total time.

httpx's own timeouts count anew for each read, and httpcore 1.0.9 collects response headers with any number of
reads: a server that sends one byte a second would hold a poll for a day. Here each connect, read and write
gets only what is left of the whole request.
"""

import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

from worker.bus.keepalive import SOCKET_OPTIONS
from worker.bus.reaching import DIRECT, Route, tls


class Deadline(threading.local):
    """When the request that this thread is making must be over, in `time.monotonic()` seconds."""

    at = float("inf")

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Everything inside must be over in `seconds`."""
        self.at = time.monotonic() + seconds
        try:
            yield
        finally:
            self.at = float("inf")

    def extend(self, at: float) -> None:
        """The request that is under way may take until `at`, if that is later."""
        self.at = max(self.at, at)

    def clamp(self, timeout: float | None) -> float:
        """What is left, and at most `timeout`; httpcore.ReadTimeout when nothing is."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the time for this request is over")
        return min(left, float("inf") if timeout is None else timeout)


class DeadlineTransport(httpx.BaseTransport):
    """Connections to bridges, shared by all threads. Raises httpcore's exceptions, not httpx's."""

    def __init__(self, deadline: Deadline, max_connections: int | None) -> None:
        self._deadline = deadline
        self._max_connections = max_connections
        self._pools: dict[Route, httpcore.ConnectionPool] = {}
        self._lock = threading.Lock()

    def _pool(self, route: Route) -> httpcore.ConnectionPool:
        with self._lock:
            if route not in self._pools:
                self._pools[route] = httpcore.ConnectionPool(
                    ssl_context=tls(route.ca_file),
                    max_connections=self._max_connections,
                    max_keepalive_connections=self._max_connections,
                    keepalive_expiry=30.0,
                    network_backend=_Backend(self._deadline),
                    proxy=httpcore.Proxy(route.proxy) if route.proxy else None,
                )
            return self._pools[route]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; the answer's body is still to be read."""
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.extensions["raw_path"],
        )
        response = self._pool(request.extensions.get("route", DIRECT)).handle_request(
            httpcore.Request(
                request.method,
                url,
                headers=request.headers.raw,
                content=request.read(),
                extensions=request.extensions,
            )
        )
        return httpx.Response(response.status, headers=response.headers, stream=_Body(response))

    def renew(self) -> None:
        """Use none of the connections that there are for another request: they may be dead."""
        with self._lock:
            self._pools = {}  # each is closed with the last request that it carries

    def close(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        return self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


class _Backend(httpcore.NetworkBackend):
    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left = self._deadline.clamp(timeout)
        options = [*SOCKET_OPTIONS, *(socket_options or ())]
        stream = self._backend.connect_tcp(host, port, left, local_address, options)
        return _Stream(stream, self._deadline)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.clamp(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.clamp(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._deadline.clamp(timeout))
        return _Stream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
