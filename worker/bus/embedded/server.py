"""The embedded bus as a process runs it: uvicorn in a thread of its own, around `BusApi`. Needs the extra `bus`."""

import asyncio
import socket
import threading
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn

from worker import open_files
from worker.bus.embedded.api import BusApi
from worker.bus.embedded.connections import IDLE_SECONDS, LARGEST_HEAD, MOST_CONNECTIONS, Connection, Places
from worker.bus.embedded.store import BusStore

_BACKLOG = 128
_LAST_ANSWERS = 3  # seconds
_OTHER_FILES = 64


class EmbeddedBus:
    """A running bus; a context manager. Port 0 takes a free one.

    `enforce_rate_limit`: answer 429 beyond 60 requests a minute; otherwise they are only logged. Raises OSError if it
    cannot listen there, and what `BusStore` raises.
    """

    def __init__(self, path: Path, *, host: str = "127.0.0.1", port: int = 0, enforce_rate_limit: bool = False) -> None:
        self.store = BusStore(path)
        try:
            self._socket = _listen(host, port)
        except BaseException:
            self.store.close()
            raise
        address, bound = self._socket.getsockname()[:2]
        self.url = f"http://[{address}]:{bound}" if ":" in address else f"http://{address}:{bound}"
        """Where it listens, for `bridge_url`."""
        self._api = BusApi(self.store, enforce_rate_limit=enforce_rate_limit)
        self._server = uvicorn.Server(_config(self._api))
        self._running = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bus", daemon=True)

    @property
    def answered(self) -> int:
        """How many requests it answered so far."""
        return self._server.server_state.total_requests

    def __enter__(self) -> Self:
        self._thread.start()
        self._running.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop accepting, let running requests end (listeners at once), close the store."""
        self._server.should_exit = True
        self._loop.call_soon_threadsafe(self._api.listeners.stop)
        self._thread.join()
        self.store.close()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.store.on_arrival = lambda stream: self._loop.call_soon_threadsafe(self._api.listeners.ring, stream)
        self._running.set()
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            self.store.on_arrival = None
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()


def _config(api: BusApi) -> uvicorn.Config:
    protocol: Any = partial(Connection, places=Places())
    return uvicorn.Config(
        api.app,
        http=protocol,
        ws="none",
        lifespan="off",
        workers=1,  # else it reads WEB_CONCURRENCY
        interface="asgi3",
        h11_max_incomplete_event_size=LARGEST_HEAD,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=_LAST_ANSWERS,
        backlog=_BACKLOG,
        proxy_headers=False,
        server_header=False,
        # Its log would name each start, and every caller that speaks no HTTP.
        log_config=None,
        log_level="critical",
        access_log=False,
    )


def _listen(host: str, port: int) -> socket.socket:
    """A socket that callers may connect to already; asyncio's own would look the host's name up."""
    # TCP is named because asyncio turns Nagle's algorithm off only where it is: it costs 40 ms an answer.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def allow_connections() -> None:
    """Let this process open as many files as the bus may have connections, where its hard limit allows them."""
    open_files.allow(MOST_CONNECTIONS + _OTHER_FILES)
