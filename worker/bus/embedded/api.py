"""What the embedded bus answers: the newest bridge's contract, as an ASGI application.

Requests and pages are bounded here, connections in `worker.serving.connections`. SQLite is used in threads: a
commit may take its time, and nobody else should wait for it. Only tokens are looked up at once, for they decide whose
the connection is; that reads a row, and waits for no commit.
"""

import asyncio
import json
import logging
import re
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from worker.bus.embedded.errors import QuotaError
from worker.bus.embedded.exchange import (
    RefusalError,
    answer,
    chunk,
    connection_of,
    disconnected,
    failed,
    fields_of,
    length_of,
    query_of,
    read_body,
    start_of_events,
)
from worker.bus.embedded.listening import Listeners, TooManyListenersError
from worker.bus.embedded.rate import LIMIT, RateMeter
from worker.bus.embedded.store import BusStore, RegisteredAgent, StoredMessage, is_name
from worker.bus.wire import LARGEST_LIMIT, LONGEST_TEXT

_log = logging.getLogger(__name__)

_KEEPALIVE = 25.0  # bridges send one within 35 s; each costs its listener about 0.3 ms
_FLUSH = 20
_LONGEST_WORD = 500
_SINCE = re.compile(r"([0-9]{1,20})-([0-9]{1,20})", re.ASCII)
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who asks, and in which project: the token's own wins over the request's."""

    agent: RegisteredAgent
    project: str | None


_Work = Callable[[RegisteredAgent, Any], dict[str, Any]]


class BusApi:
    """The application; `listeners` are to be rung when a message came. Served on `Connection`s only."""

    def __init__(self, store: BusStore, *, enforce_rate_limit: bool) -> None:
        self.listeners = Listeners()
        self._store = store
        self._meter = RateMeter()
        self._enforce_rate_limit = enforce_rate_limit
        self.app = Starlette(
            routes=[
                Route("/health", self._health),
                Route("/inbox", self._answering(self._inbox)),
                Route("/peers", self._answering(self._peers)),
                Route("/watch", _Endpoint(self._watch), methods=["GET"]),
                Route("/send", self._answering(self._send), methods=["POST"]),
                Route("/announce", self._answering(self._announce), methods=["POST"]),
                Route("/heartbeat", self._answering(self._heartbeat), methods=["POST"]),
                Route("/{anything:path}", self._answering(self._nothing), methods=_METHODS),
            ],
            exception_handlers=dict.fromkeys((RefusalError, HTTPException, sqlite3.Error, Exception), failed),
        )

    def _answering(self, work: _Work) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint that does `work` in a thread, for an agent and with its query or its JSON body."""

        async def endpoint(request: Request) -> Response:
            agent, body = await self._admit(request)
            return await asyncio.to_thread(lambda: answer(request, 200, work(agent, fields_of(request, body))))

        return endpoint

    async def _admit(self, request: Request) -> tuple[RegisteredAgent, bytes]:
        """Whose token this is, and the body. Nobody else's body is kept."""
        connection, length = connection_of(request), length_of(request)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        agent = self._store.agent_of(token) if scheme == "Bearer" and token else None
        placed = connection.belongs_to(agent.name if agent else None)
        # To its end even if it is of no use: closing before would take the answer away from who still sends.
        body = await read_body(request, length, keep=agent is not None)
        if agent is None:
            raise RefusalError(401, "Invalid token")
        if not placed:
            raise RefusalError(503, "too_many_connections")
        return agent, body

    async def _health(self, request: Request) -> Response:
        length_of(request)
        connection_of(request).belongs_to(None)
        await asyncio.to_thread(self._store.newest, "")  # raises if the file cannot be read
        return answer(request, 200, {"status": "ok", "redis": "connected"})

    def _nothing(self, agent: RegisteredAgent, fields: Any) -> dict[str, Any]:  # noqa: ARG002 - as all of them
        raise RefusalError(404, "Not found")

    def _inbox(self, agent: RegisteredAgent, fields: Any) -> dict[str, Any]:
        caller = _caller(agent, fields, "agent")
        self._count(agent)
        limit = fields.get("limit", "10")
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:9]) <= LARGEST_LIMIT:
            raise RefusalError(400, "bad_limit", f"limit is 1 to {LARGEST_LIMIT}")
        match = _SINCE.fullmatch(fields.get("since", ""))
        since = (int(match[1]), int(match[2])) if match else None
        page = self._store.page(agent.name, caller.project, int(limit[:9]), since)
        return {"agent": agent.name, "project": caller.project, "messages": [_item(message) for message in page]}

    def _send(self, agent: RegisteredAgent, fields: Any) -> dict[str, Any]:
        caller = _caller(agent, fields, "from")
        self._count(agent)
        to, text = fields.get("to"), fields.get("text")
        if not to or not text:
            raise RefusalError(400, "Missing 'to' or 'text'")
        if not isinstance(to, str) or not is_name(to) or not isinstance(text, str):
            raise RefusalError(400, "bad_message", "'to' is an agent's name, 'text' a string")
        if len(text) > LONGEST_TEXT:
            raise RefusalError(400, "text_too_long", f"a text has at most {LONGEST_TEXT} characters")
        try:
            message = self._store.append(source=f"agent:{agent.name}", to=to, text=text, project=caller.project)
        except QuotaError as error:
            raise RefusalError(507, "quota_exceeded", str(error)) from None
        return {
            "ok": True,
            "status": "queued",
            "message_id": message.message_id,
            "stream": message.stream,
            "entry_id": message.entry_id,
            "project": caller.project,
        }

    def _announce(self, agent: RegisteredAgent, fields: Any) -> dict[str, Any]:
        project = _caller(agent, fields, "agent").project
        self._store.announce(agent.name, project, _word(fields, "tool", "remote"), _word(fields, "summary", ""))
        return {"status": "announced", "agent": agent.name, "project": project}

    def _heartbeat(self, agent: RegisteredAgent, fields: Any) -> dict[str, Any]:
        self._store.heartbeat(agent.name, _caller(agent, fields, "agent").project)
        return {"status": "ok"}

    def _peers(self, agent: RegisteredAgent, fields: Any) -> dict[str, Any]:
        project = _project(agent, fields)
        return {
            "project": project,
            "registered": self._store.peers(project),
            "streams": [{"agent": name, "messages": count} for name, count in self._store.lengths(project)],
            "agents": [one.name for one in self._store.agents()],  # other bridges do not say whom they know
        }

    def _count(self, agent: RegisteredAgent) -> None:
        excess, seconds = self._meter.excess(agent.name)
        if excess == 1:
            _log.warning("%s makes more than %d requests a minute", agent.name, LIMIT)
        if excess and self._enforce_rate_limit:
            raise RefusalError(
                429,
                "rate_limited",
                f"at most {LIMIT} requests a minute",
                headers={"Retry-After": str(seconds)},
                retry_after_seconds=seconds,
            )

    async def _watch(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Frames as messages come, a comment in between, until the client leaves or the bus stops."""
        request = Request(scope, receive)
        agent, _ = await self._admit(request)
        caller = _caller(agent, query_of(request), "agent")
        streams = self._store.streams_of(agent.name, caller.project)
        try:
            with self.listeners.listen(agent.name, streams) as rung:
                newest = await asyncio.to_thread(lambda: {stream: self._store.newest(stream) for stream in streams})
                await send(start_of_events())
                await send(chunk(b": connected\n\n"))
                leaving = asyncio.ensure_future(disconnected(receive))
                leaving.add_done_callback(lambda _: rung.set())
                try:
                    while not (leaving.done() or self.listeners.stopping):
                        await send(chunk(await self._next_frames(rung, newest)))
                finally:
                    leaving.cancel()
        except TooManyListenersError:
            raise RefusalError(503, "too_many_listeners") from None
        await send({"type": "http.response.body", "body": b""})

    async def _next_frames(self, rung: asyncio.Event, newest: dict[str, tuple[int, int]]) -> bytes:
        try:
            async with asyncio.timeout(_KEEPALIVE):
                await rung.wait()
        except TimeoutError:
            return b": keepalive\n\n"
        rung.clear()
        return b"" if self.listeners.stopping else await asyncio.to_thread(self._frames, newest)

    def _frames(self, newest: dict[str, tuple[int, int]]) -> bytes:
        """What came since `newest`, which moves on."""
        frames = b""
        for stream, since in newest.items():
            for message in self._store.after(stream, since, _FLUSH):
                newest[stream] = (message.ms, message.seq)
                frames += f"data: {json.dumps(_item(message))}\n\n".encode()
        return frames


class _Endpoint:
    """An endpoint that speaks ASGI itself; Starlette wraps functions and methods, and leaves other callables alone."""

    def __init__(self, call: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._call(scope, receive, send)


def _caller(agent: RegisteredAgent, fields: Any, name: str) -> _Caller:
    if not isinstance(fields, dict):
        raise RefusalError(400, "bad_json", "the body is not an object")
    if fields.get(name) != agent.name:
        raise RefusalError(403, "identity_binding_mismatch", "the token belongs to another agent")
    return _Caller(agent, _project(agent, fields))


def _project(agent: RegisteredAgent, fields: Mapping[str, Any]) -> str | None:
    project = agent.project or fields.get("project") or None
    if project is not None and not is_name(project):
        raise RefusalError(400, "bad_project", "no project can have this name")
    return project


def _item(message: StoredMessage) -> dict[str, Any]:
    return {
        "id": message.entry_id,
        "stream_id": message.entry_id,
        "stream": message.stream,
        "stream_kind": "project" if message.project else "global",
        "source": message.source,
        "sender": message.source,
        "target": message.target,
        "type": "send",
        "text": message.text,
        "timestamp": message.timestamp,
        "project": message.project or "",
    }


def _word(fields: Mapping[str, Any], name: str, default: str) -> str:
    value = fields.get(name)
    return value[:_LONGEST_WORD] if isinstance(value, str) else default
