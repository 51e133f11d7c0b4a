"""Push: one connection an agent (`/watch`, on a bridge), listened to only for *that* something came.

A frame's content is never used: a flush carries at most 20 messages, and broadcasts do not ring. The poll
that a ring causes fetches everything, and polling goes on without it where a bridge has no `/watch`.
"""

import asyncio
import contextlib
import logging
import math
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from worker.bus.answers import failure_of
from worker.bus.backoff import LONGEST_RETRY_AFTER
from worker.bus.errors import BusError, RequestRefusedError, TlsError
from worker.bus.keepalive import SOCKET_OPTIONS
from worker.bus.reaching import Route, tls
from worker.bus.requests import Endpoint, request_headers
from worker.bus.source import Watch, watch_of_bridge

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
    heard: float = 5.0  # a line that comes so long after the connection opened is a keep-alive


LONGEST_LINE = 8 * 1024 * 1024


class Doorbell:
    """Calls `ring(agent)` when something may have come for an agent; on a thread of its own, so `ring` must not block.

    `where` says at which address. When a connection opens it calls `opened(agent)`, which is `ring` unless it is given,
    for what came while there was none. Nothing here raises or logs a failure: whatever is wrong with the bus, the poll
    will say.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        ring: Callable[[str], None],
        timings: Timings | None = None,
        *,
        opened: Callable[[str], None] | None = None,
        where: Callable[[Endpoint], Watch] = watch_of_bridge,
    ) -> None:
        self._endpoints = tuple(endpoints)
        self._ring = ring
        self._opened = opened or ring
        self._where = where
        self._heard: set[str] = set()
        self._silent_at: dict[asyncio.Timeout, float] = {}  # of each connection: when it has been silent for too long
        self._renew = False
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
        with contextlib.suppress(RuntimeError):  # it is closed
            self._loop.call_soon_threadsafe(self._changed.set)

    def is_heard(self, agent: str) -> bool:
        """Whether its connection lives: a keep-alive has come, or a frame, and no silence since."""
        return agent in self._heard

    def renew(self) -> None:
        """Make every connection anew, at once: those that there are may be dead."""
        self._renew = True
        with contextlib.suppress(RuntimeError):  # it is closed
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
        listening: dict[Endpoint, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            group.create_task(self._end_silent())
            while True:
                self._changed.clear()
                wanted = self._endpoints
                renew, self._renew = self._renew, False
                for gone in list(listening) if renew else listening.keys() - set(wanted):
                    listening.pop(gone).cancel()
                for endpoint in wanted:
                    if endpoint not in listening:
                        with contextlib.suppress(TlsError):  # the polls of these agents say so
                            tls(endpoint.route.ca_file)
                            listening[endpoint] = group.create_task(self._listen_for_ever(endpoint))
                await self._changed.wait()

    async def _end_silent(self) -> None:
        """End the connections that are silent: one timer for all, for each line would set one anew."""
        while True:
            await asyncio.sleep(self._timings.silence / 10)
            now = asyncio.get_running_loop().time()
            for connection, at in self._silent_at.items():
                if at <= now:
                    self._silent_at[connection] = math.inf  # it may be told once only
                    connection.reschedule(now)

    @staticmethod
    def _transport(route: Route) -> httpx.AsyncHTTPTransport:
        """One for each connection: a pool looks at all that it has whenever one is opened or closed."""
        return httpx.AsyncHTTPTransport(
            verify=tls(route.ca_file),
            proxy=route.proxy,
            trust_env=False,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=0),
            socket_options=SOCKET_OPTIONS,
        )

    async def _listen_for_ever(self, endpoint: Endpoint) -> None:
        bell = _Bell(lambda: self._ring(endpoint.agent), self._timings.coalesce)
        opened = _Bell(lambda: self._opened(endpoint.agent), 0.0)
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            started = loop.time()
            error: BusError | None = None
            try:
                async with self._transport(endpoint.route) as transport:
                    error = await self._listen(transport, endpoint, bell, opened)
            except Exception as surprise:  # noqa: BLE001 - one agent's trouble must not silence the others
                # Its message is not logged: it may quote the Authorization header.
                _log.debug("doorbell of %s: %s", endpoint.agent, type(surprise).__name__)
            finally:
                self._heard.discard(endpoint.agent)
                bell.silence()
            failures = 1 if loop.time() - started >= self._timings.steady else failures + 1
            await asyncio.sleep(self._pause(error, failures))

    async def _listen(
        self, transport: httpx.AsyncHTTPTransport, endpoint: Endpoint, bell: "_Bell", opened: "_Bell"
    ) -> BusError | None:
        """Ring until the connection ends; what the bridge said if it did not open one. TimeoutError: it is silent."""
        path, params = self._where(endpoint)
        headers = request_headers(endpoint.token(), has_content=False) | {"Accept": "text/event-stream"}
        address = endpoint.bridge_url.rstrip("/") + path
        timeout = httpx.Timeout(None, connect=self._timings.connect).as_dict()
        request = httpx.Request("GET", address, params=dict(params), headers=headers, extensions={"timeout": timeout})
        async with asyncio.timeout(self._timings.open):
            response = await transport.handle_async_request(request)
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)  # noqa: S101 - an asynchronous transport's is
        try:
            failure = failure_of(response.status_code, response.headers, b"", datetime.now(UTC))
            if failure is not None:
                return failure
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                return RequestRefusedError(f"The bus answers {path} with something else than events.")
            opened.ring()
            await self._hear(stream, endpoint.agent, bell)
        finally:
            await stream.aclose()
        return None

    async def _hear(self, stream: httpx.AsyncByteStream, agent: str, bell: "_Bell") -> None:
        loop = asyncio.get_running_loop()
        opened_at, lines = loop.time(), Lines()
        async with asyncio.timeout(None) as silence:
            self._silent_at[silence] = opened_at + self._timings.silence
            try:
                async for chunk in stream:
                    whole, frames = lines.feed(chunk)
                    if whole:
                        self._silent_at[silence] = loop.time() + self._timings.silence
                        if loop.time() - opened_at >= self._timings.heard:
                            self._heard.add(agent)
                    if frames:
                        bell.ring()
            finally:
                del self._silent_at[silence]

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


class Lines:
    """The lines of a stream that comes in pieces; keeps none in memory."""

    def __init__(self) -> None:
        self._begin = b""  # of the line that is not whole yet
        self._length = 0

    def feed(self, chunk: bytes) -> tuple[int, int]:
        """How many lines end in this piece (a byte now and then is no sign of life), and how many `data` lines begin.

        ValueError for a line longer than `LONGEST_LINE`.
        """
        first, *others = chunk.replace(b"\r", b"\n").split(b"\n")
        frames = 0
        for begins, part in ((False, first), *((True, part) for part in others)):
            if begins:
                self._begin, self._length = b"", 0
            before, self._begin = self._begin, (self._begin + part)[: len(_DATA)]
            self._length += len(part)
            if self._length > LONGEST_LINE:
                raise ValueError("a line without end")
            frames += self._begin == _DATA != before
        return len(others), frames


_DATA = b"data:"
