"""An application served by uvicorn in a thread of its own, on connections with bounds."""

import asyncio
import socket
import threading
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.types import ASGIApp

from worker import open_files
from worker.serving.connections import IDLE_SECONDS, LARGEST_HEAD, MOST_CONNECTIONS, Connection, Places

_BACKLOG = 128
_LAST_ANSWERS = 3  # seconds
_OTHER_FILES = 64


class Server:
    """Listens from the start, serves as a context manager. Port 0 takes a free one.

    `stop` is called in the server's event loop when it ends: answers that go on are to end then. Raises OSError if it
    cannot listen there.
    """

    def __init__(self, app: ASGIApp, *, host: str, port: int, stop: Callable[[], None]) -> None:
        self._socket = _listen(host, port)
        address, bound = self._socket.getsockname()[:2]
        self.port: int = bound
        self.url = f"http://[{address}]:{bound}" if ":" in address else f"http://{address}:{bound}"
        """Where it listens."""
        self._stop = stop
        self._server = uvicorn.Server(_config(app))
        self._running = threading.Event()
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)

    @property
    def answered(self) -> int:
        """How many requests it answered so far."""
        return self._server.server_state.total_requests

    def soon(self, call: Callable[..., object], *arguments: object) -> None:
        """Have something called in the server's event loop; from any thread."""
        self._loop.call_soon_threadsafe(call, *arguments)

    def __enter__(self) -> Self:
        self._thread.start()
        self._running.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop accepting, and let running requests end."""
        self._server.should_exit = True
        self.soon(self._stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running.set()
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()


def _config(app: ASGIApp) -> uvicorn.Config:
    protocol: Any = partial(Connection, places=Places())
    return uvicorn.Config(
        app,
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
    """Let this process open as many files as it may have connections, where its hard limit allows them."""
    open_files.allow(MOST_CONNECTIONS + _OTHER_FILES)
