"""The HTTP side of `bus-watch hook`: who may post, what it says as a message, and nothing that a caller can hold up.

What is posted is other people's text: it becomes a message's text, and chooses nothing, neither recipient nor class.
"""

import hashlib
import hmac
import json
import socket
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from worker.errors import BusWatchError
from worker.secret import Secret

LARGEST = 1024 * 1024  # bytes of a body
SECONDS = 10.0  # for a whole request
LONGEST_TEXT = 16_000  # characters: under what the bus takes, with a preamble
MOST_AT_ONCE = 16


class Refused(Exception):  # noqa: N818 - an answer, not a failure of ours
    """An HTTP status and a word."""

    def __init__(self, status: int, word: str) -> None:
        super().__init__(word)
        self.status = status


def check(secret: Secret, headers: Mapping[str, str], body: bytes) -> None:
    """Whether the caller knows the secret: by an HMAC of the body, as GitHub signs, or as a bearer. Raises Refused."""
    key = secret.reveal().encode()
    signature = headers.get("X-Hub-Signature-256", "")
    if signature:
        wanted = "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()
        if hmac.compare_digest(signature.encode("utf-8", "replace"), wanted.encode()):
            return
        raise Refused(401, "bad_signature")
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not hmac.compare_digest(token.encode("utf-8", "replace"), key):
        raise Refused(401, "unauthorized")


def text_of(event: str, body: bytes) -> str:
    """What a post says; `event`: GitHub's name for it, empty for another's. Raises Refused."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "bad_json") from None
    if not isinstance(data, dict):
        raise Refused(400, "not_an_object")
    text = _of_github(event, data) if event else data.get("text")
    if not isinstance(text, str) or not text.strip():
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} ... (cut off)"


def _of_github(event: str, data: dict[str, Any]) -> str:
    """A line: what happened, where, by whom, its title and its address."""
    subject: dict[str, Any] = next(
        (data[key] for key in ("pull_request", "issue", "workflow_run", "check_run", "release", "head_commit")
         if isinstance(data.get(key), dict)), {},
    )  # fmt: skip
    comment = data.get("comment")
    shown = comment if isinstance(comment, dict) else subject
    words = [
        "github", event, _word(data, "action"), _word(data.get("repository"), "full_name"), _word(data, "ref"),
        _word(subject, "conclusion"), f"by {_word(data.get('sender'), 'login')}",
    ]  # fmt: skip
    title = _word(subject, "title") or _word(subject, "name") or _word(subject, "message")
    lines = [
        " ".join(filter(None, words)),
        title,
        _word(comment, "body"),
        _word(shown, "html_url") or _word(shown, "url"),
    ]
    return "\n".join(filter(None, lines))


def _word(where: Any, key: str) -> str:
    value = where.get(key) if isinstance(where, dict) else None
    return value if isinstance(value, str) else ""


class HookServer(ThreadingHTTPServer):
    """Puts what is posted into the outbox.

    `take(text, once)` does so and gives a key; `once` names the post, so that one which is repeated is one message.
    BusWatchError: it could not.
    """

    daemon_threads = True
    request_queue_size = MOST_AT_ONCE

    def __init__(self, address: tuple[str, int], secret: Secret, take: Callable[[str, str], str]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)
        self.secret = secret
        self.take = take

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hangs up is nothing to print."""


class _Handler(BaseHTTPRequestHandler):
    server: HookServer
    timeout = SECONDS
    server_version = "bus-watch"
    sys_version = ""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Nothing: what is posted, and by whom, is nobody's."""

    def do_POST(self) -> None:
        """Take one post."""
        try:
            body = self._body()
            check(self.server.secret, {name: str(value) for name, value in self.headers.items()}, body)
            event = self.headers.get("X-GitHub-Event", "")
            if event == "ping":
                self._answer(200, {"ok": True})
                return
            once = self.headers.get("X-GitHub-Delivery") or self.headers.get("Idempotency-Key") or ""
            self._answer(202, {"ok": True, "key": self.server.take(text_of(event, body), once[:200])})
        except Refused as refusal:
            self._answer(refusal.status, {"error": str(refusal)})
        except BusWatchError as error:
            self._answer(503, {"error": error.code})

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            raise Refused(411, "length_required")
        if int(length) > LARGEST:
            raise Refused(413, "too_large")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise Refused(400, "cut_short")
        return body

    def _answer(self, status: int, fields: Mapping[str, object]) -> None:
        content = json.dumps(fields).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
