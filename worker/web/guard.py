"""Who is let through to the pages, and what every answer says to the browser.

A page of somebody else's may have a browser ask us things: by a name that it has made to mean this machine (DNS
rebinding), or from its own origin, with our cookie if it is on the same host. So the name, the origin and a token are
asked for, each by itself.
"""

import hmac
import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.errors import BusWatchError
from worker.serving.connections import Connection
from worker.web import tokens
from worker.web.tokens import Kind, Tokens

LARGEST_BODY = 512 * 1024
_METHODS = frozenset({"GET", "HEAD", "POST"})

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer. No script but our file, nothing from elsewhere, no frame around it, and no text that becomes HTML:
with trusted types and no policy for them a browser refuses `innerHTML` and its like."""

_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    '<meta name="color-scheme" content="light dark">{head}<title>bus-watch</title><h1>bus-watch</h1><p>{words}</p>'
)
_STRANGER = "Who may look here is asked first. Where it runs, have a link printed, and open it: bus-watch web --link"
_USED = "This link was used already, or is older than ten minutes. For a new one: bus-watch web --link"


class Guard:
    """Stands in front of an application. Served on `Connection`s only.

    `names`: under which hosts it may be called, beside the loopback's own.
    """

    def __init__(self, app: ASGIApp, given: Tokens, names: frozenset[str]) -> None:
        self.cookie = "bus_watch"
        """The name of the cookie."""
        self._app = app
        self._tokens = given
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or have it answered."""
        request = Request(scope, receive)
        if (answer := self._answer(request)) is not None:
            answer.headers["Connection"] = "close"  # what else comes over it may be the rest of what was refused
            connection: Connection = request.state.connection
            connection.belongs_to(None)
        await (answer or self._app)(scope, receive, _with_headers(send))

    def _answer(self, request: Request) -> Response | None:
        """What is answered here; None: whoever asks may go on."""
        if not self._is_our_name(request.headers.get("Host", "")):
            return _refused(421, "not a name of this server: bus-watch web --allow-host NAME lets one in")
        if request.method not in _METHODS:
            return _refused(405, "GET and POST only")
        if not _is_ours(request):
            return _refused(403, "asked by a page that is not ours")
        if request.url.path == "/in" and request.method == "GET":
            return self._let_in(request)
        session = request.cookies.get(self.cookie, "")
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        if self._tokens.admits(session, Kind.SESSION):
            request.state.session = session
        elif scheme == "Bearer" and request.method != "POST" and self._tokens.admits(bearer, Kind.READER):
            request.state.session, session = "", bearer
        else:
            return HTMLResponse(_PAGE.format(head="", words=_STRANGER), 401)
        connection: Connection = request.state.connection
        if not connection.belongs_to(session):
            return _refused(503, "too many connections of this browser")
        return _refused_post(request, session) if request.method == "POST" else None

    def _let_in(self, request: Request) -> Response:
        """Exchange a link for a cookie.

        The page then leaves by itself: behind a redirect a browser that followed somebody else's link would come
        without the cookie, which is for what our own pages ask.
        """
        try:
            session = self._tokens.exchange(request.query_params.get("link", ""))
        except BusWatchError as error:
            return _refused(503, str(error))
        if session is None:
            return HTMLResponse(_PAGE.format(head="", words=_USED), 401)
        page = HTMLResponse(
            _PAGE.format(head='<meta http-equiv="refresh" content="0;url=/">', words='<a href="/">Go on</a>')
        )
        page.set_cookie(
            self.cookie, session, max_age=int(tokens.SECONDS[Kind.SESSION]), httponly=True, samesite="strict"
        )
        return page

    def _is_our_name(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._names or name == "localhost":
            return True
        try:
            return ipaddress.ip_address(name).is_loopback  # no name server has a say in what an address means
        except ValueError:
            return False


def _is_ours(request: Request) -> bool:
    """Whether no other page has a hand in it, as far as the browser says: an old one may be silent on a GET."""
    origin, host = request.headers.get("Origin"), request.headers.get("Host", "")
    if origin is not None and origin not in {f"http://{host}", f"https://{host}"}:
        return False
    if origin is None and request.method == "POST":
        return False
    opened = request.method == "GET" and request.headers.get("Sec-Fetch-Dest") == "document"
    return opened or request.headers.get("Sec-Fetch-Site", "none") in {"none", "same-origin"}


def _refused_post(request: Request, session: str) -> Response | None:
    length = request.headers.get("Content-Length", "")
    if not length.isascii() or not length.isdigit() or "Transfer-Encoding" in request.headers:
        return _refused(411, "a Content-Length is needed")
    if len(length) > len(str(LARGEST_BODY)) or int(length) > LARGEST_BODY:
        return _refused(413, f"at most {LARGEST_BODY} bytes")
    if request.headers.get("Content-Type", "").partition(";")[0].strip() != "application/json":
        return _refused(415, "application/json only")
    said = request.headers.get("X-CSRF-Token", "")
    if not hmac.compare_digest(said.encode("utf-8", "replace"), tokens.of_forms(session).encode()):
        return _refused(403, "without the page's own token")
    return None


def _refused(status: int, words: str) -> Response:
    return PlainTextResponse(f"bus-watch web: {words}\n", status)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return sending
