"""What a fake bridge can do wrong on request."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from typing import Any, Protocol

_BLOCK = b" " * 65536


@dataclass
class Fault:
    """Do `kind` to requests whose path starts with `path`, `times` times (None: until cleared).

    - close: the connection, without a byte
    - lost: do what was asked, and close the connection without a byte
    - status: an error body with the status `value`
    - unauthorized: 401; identity, malformed_record, forbidden: 403; coherence: 403 until announce + heartbeat
    - rate: 429; `value` "seconds", "date", "body" or "none" says where the wait of 3 s is told
    - html, truncated, short, list: 200 with a page, half an answer, less than announced, or a JSON list
    - empty: 200 with no messages, as B and C answer while Redis is down
    - redirect: 302 to `value`
    - slow_headers, slow_body: one byte each `value` seconds (default 1)
    - huge, endless: 200 with `value` bytes (default 200 MB), or for ever
    - rubbish: 200 with the piece `value` again and again after the beginning of a list, 1 MB a second
    - paced: 200 with the text `value`, 150 kB a second
    - hang: not a byte; the connection stays open
    - silent: on /watch, headers and then nothing
    """

    kind: str
    path: str = "/inbox"
    times: int | None = None
    value: Any = None


class Faulty(Protocol):
    """The part of a handler's server that faults need."""

    stopping: threading.Event


def misbehave(fault: Fault, handler: BaseHTTPRequestHandler, server: Faulty) -> None:
    """Answer this request the wrong way."""
    handler.close_connection = True
    _KINDS[fault.kind](fault, handler, server)


def answer_json(handler: BaseHTTPRequestHandler, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
    _answer(handler, status, json.dumps(body).encode(), "application/json", headers)


def _answer(
    handler: BaseHTTPRequestHandler,
    status: int,
    body: bytes,
    content_type: str = "application/json",
    headers: dict[str, str] | None = None,
    length: int | None = None,
) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", content_type)
    if length != -1:
        handler.send_header("Content-Length", str(len(body) if length is None else length))
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)
    handler.wfile.flush()


def _close(fault: Fault, handler: BaseHTTPRequestHandler, server: Faulty) -> None:
    """Nothing is written; the server closes the connection."""


def _status(fault: Fault, handler: BaseHTTPRequestHandler, server: Faulty) -> None:
    answer_json(handler, int(fault.value), {"error": "internal"})


def _error(status: int, code: str) -> Callable[[Fault, BaseHTTPRequestHandler, Faulty], None]:
    def run(fault: Fault, handler: BaseHTTPRequestHandler, server: Faulty) -> None:
        answer_json(handler, status, {"error": code, "message": "as the bridge words it"})

    return run


def _rate(fault: Fault, handler: BaseHTTPRequestHandler, server: Faulty) -> None:
    headers: dict[str, str] = {}
    body: dict[str, Any] = {"error": "rate_limited"}
    if fault.value == "date":
        headers["Retry-After"] = formatdate(time.time() + 3, usegmt=True)
    elif fault.value == "body":
        body["retry_after_seconds"] = 3
    elif fault.value != "none":
        headers["Retry-After"] = "3"
    answer_json(handler, 429, body, headers)


def _html(fault: Fault, handler: BaseHTTPRequestHandler, server: Faulty) -> None:
    _answer(handler, 200, b"<html><body>It works!</body></html>", "text/html")


def _truncated(fault: Fault, handler: BaseHTTPRequestHandler, server: Faulty) -> None:
    body = b'{"agent": "bob", "project": null, "messages": [{"id": "1795300087770-0", "source": "agent:al'
    _answer(handler, 200, body, length=-1)


def _short(fault: Fault, handler: BaseHTTPRequestHandler, server: Faulty) -> None:
    _answer(handler, 200, b'{"agent": "bob", "messages": []}', length=500)


def _list(fault: Fault, handler: BaseHTTPRequestHandler, server: Faulty) -> None:
    answer_json(handler, 200, [])


def _empty(fault: Fault, handler: BaseHTTPRequestHandler, server: Faulty) -> None:
    answer_json(handler, 200, {"agent": "", "project": None, "messages": []})


def _redirect(fault: Fault, handler: BaseHTTPRequestHandler, server: Faulty) -> None:
    _answer(handler, 302, b"", headers={"Location": str(fault.value)})


def _drip(handler: BaseHTTPRequestHandler, server: Faulty, interval: float) -> None:
    while not server.stopping.wait(interval):
        handler.wfile.write(b"x")
        handler.wfile.flush()


def _slow_headers(fault: Fault, handler: BaseHTTPRequestHandler, server: Faulty) -> None:
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
    _drip(handler, server, float(fault.value or 1))


def _slow_body(fault: Fault, handler: BaseHTTPRequestHandler, server: Faulty) -> None:
    _answer(handler, 200, b'{"messages": [', length=10**6)
    _drip(handler, server, float(fault.value or 1))


def _huge(fault: Fault, handler: BaseHTTPRequestHandler, server: Faulty) -> None:
    size = int(fault.value or 200_000_000)
    _answer(handler, 200, b'{"messages": [', length=size)
    for _ in range(size // len(_BLOCK)):
        handler.wfile.write(_BLOCK)


def _endless(fault: Fault, handler: BaseHTTPRequestHandler, server: Faulty) -> None:
    _answer(handler, 200, b'{"messages": [', length=-1)
    while not server.stopping.is_set():
        handler.wfile.write(_BLOCK)


def _rubbish(fault: Fault, handler: BaseHTTPRequestHandler, server: Faulty) -> None:
    _answer(handler, 200, b'{"messages": [', length=-1)
    piece = fault.value.encode()
    while not server.stopping.wait(0.05):
        handler.wfile.write(piece * (50_000 // len(piece)))


def _paced(fault: Fault, handler: BaseHTTPRequestHandler, server: Faulty) -> None:
    body = fault.value.encode()
    _answer(handler, 200, b"", length=len(body))
    for at in range(0, len(body), 15_000):
        handler.wfile.write(body[at : at + 15_000])
        server.stopping.wait(0.1)


def _hang(fault: Fault, handler: BaseHTTPRequestHandler, server: Faulty) -> None:
    server.stopping.wait(3600)


def _silent(fault: Fault, handler: BaseHTTPRequestHandler, server: Faulty) -> None:
    _answer(handler, 200, b"", "text/event-stream", length=-1)
    server.stopping.wait(3600)


_KINDS: dict[str, Callable[[Fault, BaseHTTPRequestHandler, Faulty], None]] = {
    "close": _close,
    "status": _status,
    "unauthorized": _error(401, "Invalid token"),
    "identity": _error(403, "identity_binding_mismatch"),
    "malformed_record": _error(403, "malformed_token_record"),
    "coherence": _error(403, "coherence_violation"),
    "forbidden": _error(403, "tenant_suspended"),
    "rate": _rate,
    "html": _html,
    "truncated": _truncated,
    "short": _short,
    "list": _list,
    "empty": _empty,
    "redirect": _redirect,
    "slow_headers": _slow_headers,
    "slow_body": _slow_body,
    "huge": _huge,
    "endless": _endless,
    "rubbish": _rubbish,
    "paced": _paced,
    "hang": _hang,
    "silent": _silent,
}
FAULT_KINDS = tuple(_KINDS)
