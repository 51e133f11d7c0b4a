"""A Sentry ingest on a loopback port: takes envelopes as the real one does, and refuses what that would refuse.

The protocol (https://develop.sentry.dev/sdk/data-model/envelopes/): a POST to /api/PROJECT/envelope/ whose body,
gzipped or not, is a header line of JSON, then items: a header line with type and length, that many bytes, a newline.
"""

import gzip
import json
import re
import threading
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.fakes.loopback import LoopbackServer

KEY = "5ec4e7a11b2c4d5e8f90a1b2c3d4e5f6"
PROJECT = "42"


class NoEnvelopeError(ValueError):
    """What came is no envelope."""


@dataclass
class Item:
    type: str
    payload: bytes

    @property
    def json(self) -> dict[str, Any]:
        value = json.loads(self.payload)
        assert isinstance(value, dict)
        return value


@dataclass
class Envelope:
    header: dict[str, Any]
    items: list[Item] = field(default_factory=list)


def parse(body: bytes) -> Envelope:
    """Read an envelope to its last byte, or raise NoEnvelopeError."""
    line, _, rest = body.partition(b"\n")
    envelope = Envelope(_object(line))
    while rest:
        line, _, rest = rest.partition(b"\n")
        header = _object(line)
        if "type" not in header:
            raise NoEnvelopeError("an item without a type")
        length = header.get("length")
        if length is None:
            payload, _, rest = rest.partition(b"\n")
        else:
            if len(rest) < length:
                raise NoEnvelopeError("an item that is shorter than its length")
            payload, rest = rest[:length], rest[length:]
            if rest and not rest.startswith(b"\n"):
                raise NoEnvelopeError("an item that is longer than its length")
            rest = rest[1:]
        envelope.items.append(Item(header["type"], payload))
    for item in envelope.items:
        if item.type == "event" and item.json.get("event_id") != envelope.header.get("event_id"):
            raise NoEnvelopeError("an event whose id is not the envelope's")
    return envelope


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        raise NoEnvelopeError(f"no JSON: {line[:80]!r}") from None
    if not isinstance(value, dict):
        raise NoEnvelopeError(f"no object: {line[:80]!r}")
    return value


class FakeSentry(LoopbackServer):
    """`dsn` is for the settings; `events()` is what arrived; `problems` must stay empty."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.envelopes: list[Envelope] = []
        self.raw: list[bytes] = []
        self.problems: list[str] = []
        self.arrived = threading.Condition()

    @property
    def dsn(self) -> str:
        return f"http://{KEY}@127.0.0.1:{self.server_address[1]}/{PROJECT}"

    def events(self) -> list[dict[str, Any]]:
        with self.arrived:
            return [item.json for envelope in self.envelopes for item in envelope.items if item.type == "event"]

    def wait_for(self, number: int, timeout: float = 30.0) -> list[dict[str, Any]]:
        """The events, once there are as many."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.events()) >= number, timeout), self.events()
        return self.events()


class _Handler(BaseHTTPRequestHandler):
    server: FakeSentry

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        elif self.headers.get("Content-Encoding"):
            return self._answer(400, {"detail": "unknown encoding"})
        fields = dict(re.findall(r"(sentry_\w+)=([^,\s]+)", self.headers.get("X-Sentry-Auth", "")))
        if self.path != f"/api/{PROJECT}/envelope/":
            return self._answer(404, {"detail": f"no such address: {self.path}"})
        if fields.get("sentry_key") != KEY or fields.get("sentry_version") != "7":
            return self._answer(401, {"detail": "bad authentication"})
        if self.headers.get("Content-Type") != "application/x-sentry-envelope":
            return self._answer(415, {"detail": "no envelope"})
        try:
            envelope = parse(body)
        except NoEnvelopeError as error:
            return self._answer(400, {"detail": str(error)})
        with self.server.arrived:
            self.server.raw.append(body)
            self.server.envelopes.append(envelope)
            self.server.arrived.notify_all()
        return self._answer(200, {"id": envelope.header.get("event_id") or uuid.uuid4().hex})

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        if status != 200:
            self.server.problems.append(f"{status} {value}")
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
