"""Push: one `/watch` connection an agent, listened to only for *that* something came.

A frame's content is never used: a flush carries at most 20 messages, and broadcasts do not ring. The poll
that a ring causes fetches everything, and polling goes on without it where a bridge has no `/watch`.
"""

import asyncio
import contextlib
import logging
import random
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from worker.bus.answers import failure_of
from worker.bus.backoff import LONGEST_RETRY_AFTER
from worker.bus.errors import BusError, RequestRefusedError, TlsError
from worker.bus.reaching import Route, tls
from worker.bus.requests import Endpoint, no_cookies, request_headers

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds. `silence`: bridges send a line within 35 s. `steady`: a connection that lived so long was a good one."""

    connect: float = 5.0
    open: float = 45.0
    silence: float = 45.0
    steady: float = 30.0
    first_retry: float = 1.0
    longest_retry: float = 15.0
    refused_retry: float = 60.0
    unsupported_retry: float = 900.0
    coalesce: float = 0.05


LONGEST_LINE = 1024 * 1024


class Doorbell:
    """Calls `ring(agent)` when something may have come for an agent; on a thread of its own, so `ring` must not block.

    It also rings when a connection opens, for what came while there was none. Nothing here raises or logs a
    failure: whatever is wrong with the bus, the poll will say.
    """

    def __init__(
        self, endpoints: Sequence[Endpoint], ring: Callable[[str], None], timings: Timings | None = None
    ) -> None:
        self._endpoints = tuple(endpoints)
        self._ring = ring
        self._timings = timings or Timings()
        self._thread = threading.Thread(target=self._run, name="doorbell", daemon=True)
        self._loop = asyncio.new_event_loop()
        self._main: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    def start(self) -> None:
        """Begin to listen; returns at once."""
        self._thread.start()

    def listen_to(self, endpoints: Sequence[Endpoint]) -> None:
        """From now on to these; the connections of those that are the same as before go on."""
        self._endpoints = tuple(endpoints)
        with contextlib.suppress(RuntimeError):  # it is closed, or has never been started
            self._loop.call_soon_threadsafe(self._changed.set)

    def close(self, timeout: float = 5.0) -> None:
        """Stop listening and wait up to `timeout` seconds for the thread to end. No ring comes afterwards."""
        if not self._thread.is_alive():
            self._loop.close()
            return
        self._loop.call_soon_threadsafe(self._cancel)
        self._thread.join(timeout)

    def _cancel(self) -> None:
        if self._main is not None:
            self._main.cancel()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._main = self._loop.create_task(self._listen_to_all())
        try:
            self._loop.run_until_complete(self._main)
        except asyncio.CancelledError:
            _log.debug("doorbell closed")
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _listen_to_all(self) -> None:
        clients: dict[Route, httpx.AsyncClient] = {}
        listening: dict[Endpoint, asyncio.Task[None]] = {}
        async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                wanted = self._endpoints
                for gone in listening.keys() - set(wanted):
                    listening.pop(gone).cancel()
                for endpoint in wanted:
                    route = endpoint.route
                    if route not in clients:
                        with contextlib.suppress(TlsError):  # the polls of these agents say so
                            clients[route] = await stack.enter_async_context(self._client(route))
                    if endpoint not in listening and route in clients:
                        listening[endpoint] = group.create_task(self._listen_for_ever(clients[route], endpoint))
                await self._changed.wait()

    def _client(self, route: Route) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            verify=tls(route.ca_file),
            proxy=route.proxy,
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),  # one an agent
            timeout=httpx.Timeout(None, connect=self._timings.connect),
            cookies=no_cookies(),
        )

    async def _listen_for_ever(self, client: httpx.AsyncClient, endpoint: Endpoint) -> None:
        bell = _Bell(lambda: self._ring(endpoint.agent), self._timings.coalesce)
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            started = loop.time()
            error: BusError | None = None
            try:
                error = await self._listen(client, endpoint, bell)
            except Exception as surprise:  # noqa: BLE001 - one agent's trouble must not silence the others
                # Its message is not logged: it may quote the Authorization header.
                _log.debug("doorbell of %s: %s", endpoint.agent, type(surprise).__name__)
            finally:
                bell.silence()
            failures = 1 if loop.time() - started >= self._timings.steady else failures + 1
            await asyncio.sleep(self._pause(error, failures))

    async def _listen(self, client: httpx.AsyncClient, endpoint: Endpoint, bell: "_Bell") -> BusError | None:
        """Ring until the connection ends; what the bridge said if it did not open one."""
        params = {"agent": endpoint.agent} | ({"project": endpoint.project} if endpoint.project else {})
        headers = request_headers(endpoint.token(), has_content=False) | {"Accept": "text/event-stream"}
        address = endpoint.bridge_url.rstrip("/") + "/watch"
        request = client.build_request("GET", address, params=params, headers=headers)
        async with asyncio.timeout(self._timings.open):
            response = await client.send(request, stream=True, auth=httpx.Auth())
        try:
            failure = failure_of(response.status_code, response.headers, b"", datetime.now(UTC))
            if failure is not None:
                return failure
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                return RequestRefusedError("The bus answers /watch with something else than events.")
            bell.ring()
            async for _ in frames(response.aiter_raw(), self._timings.silence):
                bell.ring()
        finally:
            await response.aclose()
        return None

    def _pause(self, error: BusError | None, failures: int) -> float:
        """Seconds until the next connection, spread so that many agents do not come back at once."""
        timings = self._timings
        if error is not None and (error.slow or error.code == "bus-unauthorized"):
            longest = timings.refused_retry
        elif isinstance(error, RequestRefusedError):
            longest = timings.unsupported_retry
        else:
            longest = min(timings.longest_retry, timings.first_retry * 2.0 ** min(failures - 1, 16))
        pause = longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreading load, not a secret
        if error is not None and error.retry_after is not None:
            pause = max(pause, min(error.retry_after, LONGEST_RETRY_AFTER))
        return pause


class _Bell:
    """Rings at once, then at most once in `gap` seconds: a burst of frames is one or two rings."""

    def __init__(self, ring: Callable[[], None], gap: float) -> None:
        self._call = ring
        self._gap = gap
        self._last = float("-inf")
        self._later: asyncio.TimerHandle | None = None

    def ring(self) -> None:
        if self._later is not None:
            return
        loop = asyncio.get_running_loop()
        wait = self._last + self._gap - loop.time()
        if wait <= 0:
            self._now()
        else:
            self._later = loop.call_later(wait, self._now)

    def silence(self) -> None:
        """A ring that was put off comes now: its connection is gone, but what it announced is not."""
        if self._later is not None:
            self._later.cancel()
            self._now()

    def _now(self) -> None:
        self._later = None
        self._last = asyncio.get_running_loop().time()
        try:
            self._call()
        except Exception:  # noqa: BLE001 - whatever a caller's ring does, the others' must go on
            _log.exception("the doorbell's ring failed")


async def frames(chunks: AsyncIterator[bytes], silence: float) -> AsyncIterator[None]:
    """One item for each `data` line as soon as it begins; keeps no line in memory.

    TimeoutError when no whole line came for `silence` seconds (a byte now and then is no sign of life);
    ValueError for a line longer than `LONGEST_LINE`.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + silence
    begin = b""
    length = 0
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        for number, part in enumerate(chunk.replace(b"\r", b"\n").split(b"\n")):
            if number:
                begin, length = b"", 0
                deadline = loop.time() + silence
            before, begin = begin, (begin + part)[: len(_DATA)]
            length += len(part)
            if length > LONGEST_LINE:
                raise ValueError("a line without end")
            if begin == _DATA != before:
                yield


_DATA = b"data:"
