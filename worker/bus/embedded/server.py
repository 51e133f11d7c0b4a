"""The embedded bus over HTTP: the newest bridge's contract, with connections kept open.

Everything is bounded: connections, waiting listeners, request size, page size, idle time.
"""

import json
import logging
import re
import socket
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from worker.bus.embedded.rate import LIMIT, RateMeter
from worker.bus.embedded.store import Agent, BusStore, StoredMessage, is_name
from worker.bus.requests import LARGEST_LIMIT, LONGEST_TEXT

_log = logging.getLogger(__name__)

_LARGEST_REQUEST = 256 * 1024
_MOST_CONNECTIONS = 256
_MOST_LISTENERS = 128
_MOST_LISTENERS_PER_AGENT = 4
_IDLE = 30.0
_KEEPALIVE = 15.0
_FLUSH = 20
_LONGEST_WORD = 500
_SINCE = re.compile(r"([0-9]{1,20})-([0-9]{1,20})", re.ASCII)


class _RefusalError(Exception):
    """An answer other than 200."""

    def __init__(
        self, status: int, code: str, message: str = "", headers: Mapping[str, str] | None = None, **fields: Any
    ) -> None:
        super().__init__(code)
        self.status = status
        self.body = {"error": code, "message": message or code} | fields
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who asks, and in which project: the token's own wins over the request's."""

    agent: Agent
    project: str | None


class EmbeddedBus:
    """A running bus; a context manager. Port 0 takes a free one.

    `enforce_rate_limit`: answer 429 beyond 60 requests a minute; otherwise they are only logged.
    """

    def __init__(self, path: Path, *, host: str = "127.0.0.1", port: int = 0, enforce_rate_limit: bool = False) -> None:
        self.store = BusStore(path)
        try:
            self._server = _Server(host, port, self.store, enforce_rate_limit=enforce_rate_limit)
        except BaseException:
            self.store.close()
            raise
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="bus", daemon=True)

    @property
    def url(self) -> str:
        """Where it listens, for `bridge_url`."""
        host, port = self._server.server_address[:2]
        name = host if isinstance(host, str) else host.decode()
        return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop accepting, let running requests end (listeners at once), close the store."""
        self._server.shutdown()
        self._thread.join()
        self._server.finish(3.0)
        self._server.server_close()
        self.store.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, host: str, port: int, store: BusStore, *, enforce_rate_limit: bool) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.store = store
        self.enforce_rate_limit = enforce_rate_limit
        self.meter = RateMeter()
        self.stopping = threading.Event()
        self._places = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._connections: set[socket.socket] = set()
        self._listeners: dict[str, int] = {}
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Bind without HTTPServer's reverse look-up of the own name, which can hang for seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._ended:
                self._connections.discard(request)
                self._ended.notify_all()
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's shape
        """A connection that broke is the client's business."""
        _log.debug("a connection ended early", exc_info=True)

    def listen(self, agent: str) -> bool:
        """Take a listener's place; False when there is none."""
        with self._lock:
            mine = self._listeners.get(agent, 0)
            if mine >= _MOST_LISTENERS_PER_AGENT or sum(self._listeners.values()) >= _MOST_LISTENERS:
                return False
            self._listeners[agent] = mine + 1
            return True

    def leave(self, agent: str) -> None:
        """Give a listener's place back."""
        with self._lock:
            self._listeners[agent] -= 1

    def finish(self, timeout: float) -> None:
        """Let open requests end for up to `timeout` seconds in all."""
        self.stopping.set()
        self.store.wake()
        with self._lock:
            idle = list(self._connections)
        for connection in idle:
            try:
                # Whoever waits for the next request sees its end; whoever answers one goes on writing.
                connection.shutdown(socket.SHUT_RD)
            except OSError:
                continue
        with self._ended:
            self._ended.wait_for(lambda: not self._connections, timeout)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = _IDLE
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Addresses hold agents' names only, but a quiet bus is what its owner wants."""

    def version_string(self) -> str:
        return "bus-watch"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self._answer(f"GET {parts.path}", dict(parse_qsl(parts.query, errors="replace")))

    def do_POST(self) -> None:
        try:
            body = self._body()
        except _RefusalError as refusal:
            self.close_connection = True
            self._write(refusal.status, refusal.body, refusal.headers)
            return
        self._answer(f"POST {urlsplit(self.path).path}", body)

    def _body(self) -> Any:
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or "Transfer-Encoding" in self.headers:
            raise _RefusalError(411, "length_required", "send a Content-Length")
        if len(length) > len(str(_LARGEST_REQUEST)) or int(length) > _LARGEST_REQUEST:
            raise _RefusalError(413, "too_large", f"a request has at most {_LARGEST_REQUEST} bytes")
        try:
            return json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise _RefusalError(400, "bad_json", "the body is not JSON") from None

    def _answer(self, route: str, fields: Any) -> None:
        try:
            if route == "GET /health":
                self.server.store.newest("")  # raises if the file cannot be read
                self._write(200, {"status": "ok", "redis": "connected"})
                return
            agent = self._agent()
            if route == "GET /watch":
                self._watch(self._caller(agent, fields, "agent"))
                return
            self._write(200, self._result(route, agent, fields))
        except _RefusalError as refusal:
            self._write(refusal.status, refusal.body, refusal.headers)
        except sqlite3.Error as error:
            _log.warning("the bus cannot use its file: %s", error)
            self._write(503, {"error": "storage", "message": "the bus cannot use its file"})

    def _result(self, route: str, agent: Agent, fields: Any) -> dict[str, Any]:
        match route:
            case "GET /inbox":
                return self._inbox(self._caller(agent, fields, "agent"), fields)
            case "GET /peers":
                return self._peers(_Caller(agent, self._project(agent, fields)))
            case "POST /send":
                return self._send(self._caller(agent, fields, "from"), fields)
            case "POST /announce":
                caller = self._caller(agent, fields, "agent")
                tool, summary = _word(fields, "tool", "remote"), _word(fields, "summary", "")
                self.server.store.announce(agent.name, caller.project, tool, summary)
                return {"status": "announced", "agent": agent.name, "project": caller.project}
            case "POST /heartbeat":
                caller = self._caller(agent, fields, "agent")
                self.server.store.heartbeat(agent.name, caller.project)
                return {"status": "ok"}
            case _:
                raise _RefusalError(404, "Not found")

    def _agent(self) -> Agent:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        agent = self.server.store.agent_of(token) if scheme == "Bearer" and token else None
        if agent is None:
            raise _RefusalError(401, "Invalid token")
        return agent

    def _caller(self, agent: Agent, fields: Any, name: str) -> _Caller:
        if not isinstance(fields, dict):
            raise _RefusalError(400, "bad_json", "the body is not an object")
        if fields.get(name) != agent.name:
            raise _RefusalError(403, "identity_binding_mismatch", "the token belongs to another agent")
        return _Caller(agent, self._project(agent, fields))

    @staticmethod
    def _project(agent: Agent, fields: Mapping[str, Any]) -> str | None:
        project = agent.project or fields.get("project") or None
        if project is not None and not is_name(project):
            raise _RefusalError(400, "bad_project", "no project can have this name")
        return project

    def _meter(self, agent: Agent) -> None:
        excess, seconds = self.server.meter.excess(agent.name)
        if excess == 1:
            _log.warning("%s makes more than %d requests a minute", agent.name, LIMIT)
        if excess and self.server.enforce_rate_limit:
            raise _RefusalError(
                429,
                "rate_limited",
                f"at most {LIMIT} requests a minute",
                headers={"Retry-After": str(seconds)},
                retry_after_seconds=seconds,
            )

    def _inbox(self, caller: _Caller, fields: Mapping[str, str]) -> dict[str, Any]:
        self._meter(caller.agent)
        limit = fields.get("limit", "10")
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:9]) <= LARGEST_LIMIT:
            raise _RefusalError(400, "bad_limit", f"limit is 1 to {LARGEST_LIMIT}")
        match = _SINCE.fullmatch(fields.get("since", ""))
        since = (int(match[1]), int(match[2])) if match else None
        page = self.server.store.page(caller.agent.name, caller.project, int(limit[:9]), since)
        return {
            "agent": caller.agent.name,
            "project": caller.project,
            "messages": [_item(message) for message in page],
        }

    def _send(self, caller: _Caller, fields: Mapping[str, Any]) -> dict[str, Any]:
        self._meter(caller.agent)
        to, text = fields.get("to"), fields.get("text")
        if not to or not text:
            raise _RefusalError(400, "Missing 'to' or 'text'")
        if not isinstance(to, str) or not is_name(to) or not isinstance(text, str):
            raise _RefusalError(400, "bad_message", "'to' is an agent's name, 'text' a string")
        if len(text) > LONGEST_TEXT:
            raise _RefusalError(400, "text_too_long", f"a text has at most {LONGEST_TEXT} characters")
        message = self.server.store.append(
            source=f"agent:{caller.agent.name}", to=to, text=text, project=caller.project
        )
        return {
            "ok": True,
            "status": "queued",
            "message_id": message.message_id,
            "stream": message.stream,
            "entry_id": message.entry_id,
            "project": caller.project,
        }

    def _peers(self, caller: _Caller) -> dict[str, Any]:
        store = self.server.store
        return {
            "project": caller.project,
            "registered": store.peers(caller.project),
            "streams": [{"agent": agent, "messages": count} for agent, count in store.lengths(caller.project)],
        }

    def _watch(self, caller: _Caller) -> None:
        """Frames as messages come, a comment in between, until the client leaves or the bus stops."""
        store, name = self.server.store, caller.agent.name
        if not self.server.listen(name):
            raise _RefusalError(503, "too_many_listeners")
        self.close_connection = True
        try:
            streams = store.streams_of(name, caller.project)
            with store.arrival:
                version = store.version(streams)
            newest = {stream: store.newest(stream) for stream in streams}
            self.wfile.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
                b"Connection: close\r\n\r\n: connected\n\n"
            )
            while not self.server.stopping.is_set():
                old = version
                with store.arrival:
                    store.arrival.wait_for(
                        lambda: store.version(streams) != old or self.server.stopping.is_set(),  # noqa: B023 - now
                        _KEEPALIVE,
                    )
                    version = store.version(streams)
                self.wfile.write(self._frames(newest) if version != old else b": keepalive\n\n")
        finally:
            self.server.leave(name)

    def _frames(self, newest: dict[str, tuple[int, int]]) -> bytes:
        frames = b""
        for stream, since in newest.items():
            for message in self.server.store.after(stream, since, _FLUSH):
                newest[stream] = (message.ms, message.seq)
                frames += f"data: {json.dumps(_item(message))}\n\n".encode()
        return frames

    def _write(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        if self.server.stopping.is_set():
            self.close_connection = True
        lines = {"Content-Type": "application/json", "Content-Length": str(len(content))} | dict(headers or {})
        lines["Connection"] = "close" if self.close_connection else "keep-alive"
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        # One write: a header and a body in two would wait for each other's acknowledgement.
        self.wfile.write(f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{head}\r\n".encode() + content)


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
