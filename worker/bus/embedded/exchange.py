"""One request read and one answer written, with the bounds of both; what they say is `worker.bus.embedded.api`'s."""

import json
import logging
import sqlite3
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive

from worker.serving.connections import Connection

_log = logging.getLogger(__name__)

_LARGEST_REQUEST = 256 * 1024
_MOST_HEADERS = 100


class RefusalError(Exception):
    """An answer other than 200."""

    def __init__(
        self, status: int, code: str, message: str = "", headers: Mapping[str, str] | None = None, **fields: Any
    ) -> None:
        super().__init__(code)
        self.status = status
        self.body = {"error": code, "message": message or code} | fields
        self.headers = dict(headers or {})


def connection_of(request: Request) -> Connection:
    """The connection that a request came over."""
    connection: Connection = request.state.connection
    return connection


def answer(
    request: Request, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    """An answer, after which a stranger's connection is closed."""
    closing = {"Connection": "close"} if connection_of(request).agent is None else {}
    return Response(json.dumps(body), status, closing | dict(headers or {}), "application/json")


def failed(request: Request, error: Exception) -> Response:
    """The answer to a request that raised `error`; what nobody foresaw is named in the log, without its words."""
    match error:
        case RefusalError():
            return answer(request, error.status, error.body, error.headers)
        case HTTPException():  # Starlette's own: no such method
            return answer(request, error.status_code, {"error": error.detail, "message": error.detail}, error.headers)
        case sqlite3.Error():
            _log.warning("the bus cannot use its file: %s", error)
            return answer(request, 503, {"error": "storage", "message": "the bus cannot use its file"})
        case _:
            _log.error("a request failed: %s", type(error).__name__)
            return answer(request, 500, {"error": "internal", "message": "the bus failed; its log says how"})


def length_of(request: Request) -> int:
    """How many bytes of body come. RefusalError for a request behind which no other can be found."""
    length = request.headers.get("Content-Length", "" if request.method == "POST" else "0")
    if len(request.headers.raw) > _MOST_HEADERS:
        refusal = RefusalError(431, "too_many_headers", f"a request has at most {_MOST_HEADERS} headers")
    elif not length.isascii() or not length.isdigit() or "Transfer-Encoding" in request.headers:
        refusal = RefusalError(411, "length_required", "send a Content-Length")
    elif len(length) > len(str(_LARGEST_REQUEST)) or int(length) > _LARGEST_REQUEST:
        refusal = RefusalError(413, "too_large", f"a request has at most {_LARGEST_REQUEST} bytes")
    else:
        return int(length)
    connection_of(request).belongs_to(None)  # a stranger's: it is closed with the answer
    raise refusal


async def read_body(request: Request, length: int, *, keep: bool) -> bytes:
    """The body that comes, or nothing of it; RefusalError if it ends early."""
    body = bytearray()
    if not length:
        return b""
    try:
        async for part in request.stream():
            body += part if keep else b""
    except ClientDisconnect:
        raise RefusalError(400, "incomplete") from None
    return bytes(body)


def query_of(request: Request) -> dict[str, str]:
    """The query's fields; of one that comes twice the last."""
    return dict(parse_qsl(request.scope["query_string"].decode("latin-1"), errors="replace"))


def fields_of(request: Request, body: bytes) -> Any:
    """What a POST says in its JSON, any other request in its query. RefusalError if it is no JSON."""
    if request.method != "POST":
        return query_of(request)
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise RefusalError(400, "bad_json", "the body is not JSON") from None


async def disconnected(receive: Receive) -> None:
    """Returns when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def start_of_events() -> Message:
    """The head of an event stream."""
    headers = {"content-type": "text/event-stream", "cache-control": "no-store", "connection": "close"}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": 200, "headers": raw}


def chunk(content: bytes) -> Message:
    """A part of an answer that goes on."""
    return {"type": "http.response.body", "body": content, "more_body": True}
