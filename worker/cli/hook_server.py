"""The HTTP side of `bus-watch hook`: who may post, what it says as a message, and nothing that a caller can hold up.

What is posted is other people's text: it becomes a message's text, and chooses nothing, neither recipient nor class.
"""

import contextlib
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from worker.errors import BusWatchError
from worker.secret import Secret
from worker.terminal import preamble

LARGEST = 1024 * 1024  # bytes of a body
SECONDS = 10.0  # for a whole request, however slowly it comes; GitHub waits as long for an answer
LONGEST_TEXT = 16_000  # characters: under what the bus takes, with a preamble
LONGEST_NAME = 200  # of a post; a longer one is known by its hash
MOST_AT_ONCE = 64  # others wait for their turn
FORM = "application/x-www-form-urlencoded"
"""What a webhook of GitHub's posts where nobody has chosen JSON: the JSON is its field `payload`."""


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
    if scheme.lower() != "bearer" or not hmac.compare_digest(token.encode("utf-8", "replace"), key):
        raise Refused(401, "unauthorized")


def text_of(event: str, body: bytes, content_type: str = "") -> str:
    """What a post says; `event`: GitHub's name for it, empty for another's. Raises Refused.

    No line of it can be taken for an address: that would choose a sender, and a class.
    """
    try:
        if content_type.partition(";")[0].strip().lower() == FORM:
            body = parse_qs(body.decode(), strict_parsing=True, max_num_fields=100)["payload"][0].encode()
        data = json.loads(body)
    except (ValueError, KeyError, RecursionError):
        raise Refused(400, "bad_json") from None
    if not isinstance(data, dict):
        raise Refused(400, "not_an_object")
    text = _of_github(event, data) if event else data.get("text")
    if not isinstance(text, str) or not text.strip():
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    text = preamble.quote_forged(text)
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


def name_of(headers: Mapping[str, str]) -> str:
    """What a post is called by whoever sends it, at every try; empty where it has no name.

    No signature covers it: whoever has seen a signed post can post it again under another name.
    """
    named = {key.lower(): value for key, value in headers.items()}
    name = named.get("x-github-delivery") or named.get("idempotency-key") or ""
    return name if len(name) <= LONGEST_NAME else hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()


class HookServer(ThreadingHTTPServer):
    """Puts what is posted into the outbox.

    `take(text, once)` does so and gives a key; `once` names the post, so that one which is repeated is one message.
    `secret` is asked for each post. BusWatchError: it could not.
    """

    daemon_threads = True
    request_queue_size = MOST_AT_ONCE

    def __init__(self, address: tuple[str, int], secret: Callable[[], Secret], take: Callable[[str, str], str]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)
        self.secret = secret
        self.take = take
        self._places = threading.Semaphore(MOST_AT_ONCE)

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread, once there is a place; whoever is there leaves it within SECONDS."""
        self._places.acquire(timeout=SECONDS)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one, and give its place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hangs up is nothing to print."""


class _Handler(BaseHTTPRequestHandler):
    server: HookServer
    server_version = "bus-watch"
    sys_version = ""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Nothing: what is posted, and by whom, is nobody's."""

    def setup(self) -> None:
        super().setup()
        self._late = threading.Timer(SECONDS, self._hang_up)
        self._late.daemon = True
        self._late.start()

    def finish(self) -> None:
        self._late.cancel()
        super().finish()

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_POST(self) -> None:
        """Take one post."""
        try:
            body = self._body()
            self._late.cancel()  # from here on it is we who take time
            check(self.server.secret(), {name: str(value) for name, value in self.headers.items()}, body)
            event = self.headers.get("X-GitHub-Event", "")
            if event == "ping":
                self._answer(200, {"ok": True})
                return
            text = text_of(event, body, self.headers.get("Content-Type", ""))
            self._answer(202, {"ok": True, "key": self.server.take(text, name_of(dict(self.headers.items())))})
        except Refused as refusal:
            self._answer(refusal.status, {"error": str(refusal)})
        except BusWatchError as error:
            self._answer(503, {"error": error.code})

    def do_GET(self) -> None:
        """There is nothing to see."""
        self._answer(405, {"error": "post_only"})

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - the base class names them
        """Of what is no request, and of methods that are not known: JSON, as all else."""
        self._answer(code, {"error": "post_only" if code == 501 else "bad_request"})

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            raise Refused(411, "length_required")
        if len(length) > 18 or int(length) > LARGEST:
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
        if status == 405:
            self.send_header("Allow", "POST")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        if status in {411, 413}:
            self._let_it_finish()

    def _let_it_finish(self) -> None:
        """Read on for a while and forget it: closed in the middle, a caller would see a reset and no answer."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while self.connection.recv(65536):
                pass
