"""Requests to a bridge of any generation, bounded in size and time, with the token going nowhere else.

All go through `BusRequests.exchange`; `worker.bus.client` decides which of them to make.
"""

import functools
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import httpcore
import httpx

from worker.bus.answers import failure_of
from worker.bus.deadline import Deadline, DeadlineTransport
from worker.bus.errors import (
    BadAnswerError,
    ClosedError,
    TooLargeError,
    TooSlowError,
    UnsendableError,
)
from worker.bus.page import Known, Page, PageReader, none_known
from worker.bus.reaching import DIRECT, Route, why_unreachable
from worker.bus.wire import LONGEST_TEXT, parse_object
from worker.credentials import is_token
from worker.secret import Secret

_TIMEOUT = httpx.Timeout(None, connect=5.0).as_dict()
_HEALTH_TIMEOUT = 10.0
_LATEST_DATE = 4_102_444_800.0  # 2100-01-01
_SMALL_ANSWER = 1024 * 1024
_ERROR_ANSWER = 16 * 1024
_SLOWEST_BYTES_A_SECOND = 64 * 1024  # a long answer that comes faster than this is waited for ...
_LONGEST_EXTENSION = 3600.0  # ... for so many seconds


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One agent's access to its bridge.

    `token` is called before each request and reads a rotated file again itself. `limit` is the usual page
    size. `max_page_bytes` bounds one entry of an answer. `request_timeout` (seconds) bounds one request from connect to
    last byte, and a little more for a long answer that keeps coming: bridges whose Redis is down have been seen to
    answer after 36 s. `presence` allows announcing and heartbeats. `kind` is that of the bus.
    """

    agent: str
    project: str | None
    bridge_url: str
    token: Callable[[], Secret]
    limit: int
    max_page_bytes: int = 16 * 1024 * 1024
    request_timeout: float = 40.0
    presence: bool = True
    route: Route = DIRECT
    kind: str = "sos"


@dataclass(frozen=True, slots=True)
class SentMessage:
    """Where a sent message lies: stream and `MS-SEQ` entry id; its message id and project."""

    stream: str
    entry_id: str
    message_id: str
    project: str | None


class BusRequests:
    """Single requests, over connections shared by all threads. Every method may raise BusError."""

    def __init__(self, *, max_connections: int | None = 32) -> None:
        self._deadline = Deadline()
        self._transport = DeadlineTransport(self._deadline, max_connections)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def renew(self) -> None:
        """Make connections anew: the machine has slept, and those that there are may be dead."""
        self._transport.renew()

    def inbox(
        self,
        endpoint: Endpoint,
        since: tuple[int, int],
        limit: int,
        *,
        known: Known = none_known,
        begins: Callable[[float | None], None] = lambda _: None,
    ) -> Page:
        """One page of the inbox as the bridge cuts it; `since` is exclusive, where the bridge knows it.

        `known` tells which messages to leave out; `begins` is told, before any of it is asked, what time it is on the
        bus (epoch seconds; None where the answer has no usable Date).
        """
        params = {"agent": endpoint.agent, "limit": str(limit), "format": "json"}
        if endpoint.project:
            params["project"] = endpoint.project
        params["since"] = f"{since[0]}-{since[1]}"
        reader = PageReader(endpoint.agent, endpoint.project, longest_item=endpoint.max_page_bytes, known=known)

        def take(response: httpx.Response) -> None:
            begins(date_of(response.headers))
            started = time.monotonic()
            for chunk in response.iter_raw():
                reader.feed(chunk)
                self.wait_longer(endpoint, started, reader.progress)

        try:
            self.exchange(endpoint, "GET", "/inbox", params=params, take=take)
            return reader.close()
        finally:  # the traceback of an error would keep 16 MiB for as long as it pleases the garbage collector
            reader.drop()

    def wait_longer(self, endpoint: Endpoint, started: float, progress: int) -> None:
        """The answer that began then (monotonic seconds) has brought so many bytes that are worth waiting for."""
        longer = min(progress / _SLOWEST_BYTES_A_SECOND, _LONGEST_EXTENSION)
        self._deadline.extend(started + endpoint.request_timeout + longer)

    def send(self, endpoint: Endpoint, to: str, text: str, project: str | None = None) -> SentMessage:
        """Send `text` to agent `to`, as this endpoint's agent.

        Never repeated here: behind a lost answer the message may have been queued.
        """
        if not text or len(text) > LONGEST_TEXT:
            raise UnsendableError(f"A text has 1 to {LONGEST_TEXT:,} characters; this one has {len(text):,}.")
        fields = {"from": endpoint.agent, "to": to, "text": text}
        project = project or endpoint.project
        if project:
            fields["project"] = project
        answer = self._post(endpoint, "/send", fields)
        stream, entry_id = answer.get("stream"), answer.get("entry_id")
        if answer.get("ok") is not True or not isinstance(stream, str) or not isinstance(entry_id, str):
            raise BadAnswerError("The bus did not say that it queued the message; look before sending it again.")
        return SentMessage(stream, entry_id, str(answer.get("message_id") or ""), answer.get("project"))

    def announce(self, endpoint: Endpoint) -> None:
        """Tell the bus's registry that the agent is here; the entry lives 600 s."""
        fields = {"agent": endpoint.agent, "tool": "bus-watch", "summary": "bus-watch delivers its messages"}
        self._post(endpoint, "/announce", fields | ({"project": endpoint.project} if endpoint.project else {}))

    def heartbeat(self, endpoint: Endpoint) -> None:
        """Keep the registry's entry alive."""
        fields = {"agent": endpoint.agent}
        self._post(endpoint, "/heartbeat", fields | ({"project": endpoint.project} if endpoint.project else {}))

    def peers(self, endpoint: Endpoint) -> dict[str, Any]:
        """Who else is there, as the bridge says it: `project`, `registered`, `streams`."""
        params = {"agent": endpoint.agent} | ({"project": endpoint.project} if endpoint.project else {})
        return parse_object(self.exchange(endpoint, "GET", "/peers", params=params))

    def health(self, bridge_url: str) -> dict[str, Any]:
        """The bridge's word about itself (`status`, `redis`); needs no token and sends none."""
        nobody = Endpoint("", None, bridge_url, lambda: Secret(""), 1, request_timeout=_HEALTH_TIMEOUT)
        return parse_object(self.exchange(nobody, "GET", "/health"))

    def _post(self, endpoint: Endpoint, path: str, fields: Mapping[str, str]) -> dict[str, Any]:
        content = json.dumps(fields).encode()
        return parse_object(self.exchange(endpoint, "POST", path, content=content))

    def exchange(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        *,
        max_bytes: int = _SMALL_ANSWER,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        take: Callable[[httpx.Response], None] | None = None,
    ) -> bytearray:
        """One request and its whole 200 answer, or the BusError that it stands for; `take` reads a 200 answer itself.

        Foreign exceptions are never chained: their messages may quote a header, and the header is the token.
        """
        headers = request_headers(endpoint.token(), has_content=content is not None)
        try:
            url = _url_of(endpoint.bridge_url, path)
        except (httpx.InvalidURL, ValueError):
            raise UnsendableError("bridge_url is not a usable address.") from None
        # Not as httpcore's extension `target`: it would take the place of the whole address that a proxy is asked for.
        raw_path = url.raw_path + b"?" + urlencode(params).encode() if params else url.raw_path
        extensions = {"timeout": _TIMEOUT, "route": endpoint.route, "raw_path": raw_path}
        # No httpx.Client: what it adds to its transport are redirects, cookies and credentials of the address, of which
        # there may be none, and a third of the CPU of a request.
        request = httpx.Request(method, url, headers=headers, content=content, extensions=extensions)
        started = time.monotonic()
        try:
            with self._deadline.within(endpoint.request_timeout):
                response = self._transport.handle_request(request)
                try:
                    ok = response.status_code == httpx.codes.OK
                    if ok and take is not None:
                        take(response)
                        return bytearray()
                    body, whole = _read(response, max_bytes if ok else _ERROR_ANSWER)
                finally:
                    response.close()
        except (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.ProxyError) as error:
            raise why_unreachable(error) from None
        except (httpcore.TimeoutException, TimeoutError):
            waited = max(endpoint.request_timeout, round(time.monotonic() - started))
            raise TooSlowError(f"The bus did not complete its answer within {waited:g} s. Retrying.") from None
        except (httpcore.NetworkError, httpcore.RemoteProtocolError):
            raise ClosedError(_closed(endpoint.bridge_url)) from None
        except (httpcore.ProtocolError, httpcore.UnsupportedProtocol):
            raise BadAnswerError("The bus does not speak HTTP as a bridge does; is bridge_url right?") from None
        failure = failure_of(response.status_code, response.headers, body, datetime.now(UTC))
        if failure is not None:
            raise failure
        if not whole:
            raise TooLargeError(f"The bus sent more than {max_bytes:,} bytes in a short answer; it was cut off.")
        return body


@functools.lru_cache(maxsize=256)
def _url_of(bridge_url: str, path: str) -> httpx.URL:
    """Parsed once, not at each request. httpx.InvalidURL, or ValueError, for what is none."""
    return httpx.URL(bridge_url.rstrip("/") + path)


def _closed(bridge_url: str) -> str:
    """What a connection that ends without an answer may mean."""
    plain = bridge_url.lower().startswith("http:")
    tls = " If it never answers: a port that speaks TLS does the same, is it https:// and not http://?" if plain else ""
    return f"The bus closed the connection instead of answering: its way to report most errors.{tls} Retrying."


def date_of(headers: Mapping[str, str]) -> float | None:
    """What time it was where an answer was made (RFC 9110, 6.6.1: whole seconds), as epoch seconds; None: not said.

    Before 1970 or after 2100 says nothing either: 9999 is what some proxies put where they do not know.
    """
    try:
        date = parsedate_to_datetime(headers.get("date", ""))
        seconds = date.replace(tzinfo=date.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds < _LATEST_DATE else None


def request_headers(token: Secret, *, has_content: bool) -> dict[str, str]:
    """The headers of any request; UnsendableError for a token that could not be one. An empty token is not sent."""
    # identity: a compressed answer could unfold to any size.
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "bus-watch"}
    if token:
        value = token.reveal()
        if not is_token(value):
            raise UnsendableError("The token holds characters that no token has (blank, line end, not ASCII).")
        headers["Authorization"] = f"Bearer {value}"
    if has_content:
        headers["Content-Type"] = "application/json"
    return headers


def _read(response: httpx.Response, max_bytes: int) -> tuple[bytearray, bool]:
    """The body as sent, up to `max_bytes`, and whether that was all of it."""
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > max_bytes:
            del body[max_bytes:]  # in place: a slice would hold as much again
            return body, False
    return body, True
