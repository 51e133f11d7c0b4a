"""Who tells people, on a loopback port: an ntfy server, webhooks, a healthchecks.io; refuses what the real ones would.

- ntfy (https://docs.ntfy.sh/publish, "Publish as JSON"): POST of JSON to `/`, with a topic of [-_A-Za-z0-9]{1,64}, a
  priority of 1 to 5; with a token, 401 for whoever has another.
- a webhook: POST to /hook/..., with the three parts of Standard Webhooks that we send.
- healthchecks.io (https://healthchecks.io/docs/http_api): any method to /ping/UUID, 404 for what is no UUID.
"""

import json
import re
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.fakes.loopback import LoopbackServer

UUID = "5f3d8f2e-2c1b-4d9a-9c77-0a1b2c3d4e5f"
_PING = re.compile(r"/ping/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass
class Push:
    """One request that was taken."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> dict[str, Any]:
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value


class FakePush(LoopbackServer):
    """`taken` is what arrived; `status` is what is answered instead, while it is set; `gate` holds requests up."""

    def __init__(self, token: str = "") -> None:
        super().__init__(_Handler)
        self.token = token
        self.status = 0
        self.taken: list[Push] = []
        self.begun = 0
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Condition()

    def let_go(self) -> None:
        self.gate.set()

    def wait_for(self, number: int, timeout: float = 60.0) -> list[Push]:
        """What arrived, once it is so many."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.taken) >= number, timeout), self.taken
        return list(self.taken)

    def wait_begun(self, number: int, timeout: float = 60.0) -> None:
        """Until so many requests have begun, answered or not."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: self.begun >= number, timeout), self.begun


class _Handler(BaseHTTPRequestHandler):
    server: FakePush

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        pass

    def do_GET(self) -> None:
        self._take(b"")

    def do_POST(self) -> None:
        self._take(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def _take(self, body: bytes) -> None:
        server = self.server
        with server.arrived:
            server.begun += 1
            server.arrived.notify_all()
        server.gate.wait(60)
        status = server.status or self._judged(body)
        if status == 200:
            with server.arrived:
                server.taken.append(Push(self.path, dict(self.headers), body, time.time()))
                server.arrived.notify_all()
        self.send_response(status)
        if status in {301, 302}:
            self.send_header("Location", server.url + "/elsewhere")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"OK")

    def _judged(self, body: bytes) -> int:
        if self.path.startswith("/ping/"):
            return 200 if _PING.fullmatch(self.path) else 404
        if self.server.token and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            return 401
        try:
            document = json.loads(body)
        except ValueError:
            return 400
        if self.path == "/":
            topic, priority = document.get("topic"), document.get("priority", 3)
            fine = (
                re.fullmatch(r"[-_A-Za-z0-9]{1,64}", str(topic)) and priority in range(1, 6) and self.command == "POST"
            )
            return 200 if fine and len(document["message"].encode()) <= 4096 else 400
        if self.path.startswith("/hook/"):
            return (
                200 if self.headers.get("webhook-id") and self.headers.get("webhook-timestamp", "").isdigit() else 400
            )
        return 404
