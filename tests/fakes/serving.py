"""What the stand-ins of buses have in common: an HTTP/1.0 server with tokens, a record of requests, and faults."""

import io
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.fakes.faults import Fault, answer_json, misbehave
from tests.fakes.loopback import LoopbackServer


@dataclass(frozen=True)
class Token:
    agent: str
    project: str | None


@dataclass(frozen=True)
class Request:
    """One request as it came in; `at` in `time.monotonic()` seconds."""

    at: float
    method: str
    path: str
    query: dict[str, str]
    authorization: str | None
    body: str


class RefusalError(Exception):
    """Answer with this status, and this code as the `error`."""

    def __init__(self, status: int, code: str, **fields: Any) -> None:
        super().__init__(code)
        self.status = status
        self.fields = fields


class FakeBus(LoopbackServer):
    """One server on a loopback port of its own. `kind` is what the configuration calls it."""

    request_queue_size = 128
    kind = "sos"
    streams: Any  # what it holds, with an `add`
    inbox_path = "/inbox"
    watch_path = "/watch"

    def __init__(
        self, handler: "type[FakeHandler]", *, port: int, clock: Callable[[], float], changed: threading.Condition
    ) -> None:
        super().__init__(handler, port=port, pause=0.01)
        self.clock = clock
        self.dated = True  # whether its answers have a Date
        self.stopping = threading.Event()
        self.requests: list[Request] = []
        self.watch_epoch = 0
        self.tokens: dict[str, Token] = {}
        self._changed = changed  # notified when there is something for those who watch
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def let_go(self) -> None:
        self.stopping.set()
        with self._changed:
            self._changed.notify_all()

    def add_token(self, agent: str, project: str | None = None, token: str | None = None) -> str:
        token = token or secrets.token_urlsafe(24)
        self.tokens[token] = Token(agent, project)
        return token

    def fault(self, kind: str, path: str | None = None, times: int | None = None, value: Any = None) -> None:
        with self._lock:
            self._faults.append(Fault(kind, self.inbox_path if path is None else path, times, value))

    def clear_faults(self, kind: str | None = None) -> None:
        with self._lock:
            self._faults = [fault for fault in self._faults if kind is not None and fault.kind != kind]

    def take_fault(self, path: str) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if path.startswith(fault.path) and fault.times != 0:
                    if fault.times is not None:
                        fault.times -= 1
                    return fault
        return None

    def drop_watchers(self) -> None:
        with self._changed:
            self.watch_epoch += 1
            self._changed.notify_all()

    def seen(self, path: str) -> list[Request]:
        """The requests to a path, oldest first."""
        return [request for request in list(self.requests) if request.path == path]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing to print."""


class FakeHandler(BaseHTTPRequestHandler):
    """`_get_inbox` answers `GET /inbox`, `_post_api_inbox_send` answers `POST /api/inbox/send`, and so on."""

    protocol_version = "HTTP/1.0"
    server: FakeBus

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        pass

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(self.server.clock() if timestamp is None else timestamp)

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Date" or self.server.dated:
            super().send_header(keyword, value)

    def do_GET(self) -> None:
        self._serve("")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode("utf-8", "replace"))

    def _serve(self, body: str) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        if parts.path.startswith("/_control/"):
            answer_json(self, 200, self._control(parts.path.removeprefix("/_control/"), json.loads(body or "{}")))
            return
        self.server.requests.append(
            Request(time.monotonic(), self.command, parts.path, query, self.headers.get("Authorization"), body)
        )
        fault = self.server.take_fault(parts.path)
        if fault is not None and fault.kind == "lost":
            self.wfile = io.BytesIO()
        elif fault is not None:
            misbehave(fault, self, self.server)
            return
        try:
            name = parts.path.strip("/").replace("/", "_")
            route = getattr(self, f"_{self.command}_{name}".lower(), None)
            if route is None or not self._has(parts.path):
                route = self._not_found
            route(query if self.command == "GET" else json.loads(body or "{}"))
        except RefusalError as refusal:
            answer_json(self, refusal.status, {"error": str(refusal)} | refusal.fields)
        except ValueError:
            self._bad_request()

    def _has(self, path: str) -> bool:
        return True

    def _not_found(self, fields: dict[str, Any]) -> None:
        raise RefusalError(404, "Not found")

    def _bad_request(self) -> None:
        answer_json(self, 400, {"error": "bad_request"})

    def _control(self, command: str, body: dict[str, Any]) -> Any:
        return {"error": "no such command"}
