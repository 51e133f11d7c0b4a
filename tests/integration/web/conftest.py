"""The web view of a ledger with a delivery in every state, served in this process, and a real Chromium."""

import http.client
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.unit.cli.conftest import MS, Desk, desk, empty_desk
from worker.configuration import load
from worker.serving.server import Server
from worker.web.app import WebView
from worker.web.tokens import Kind, Tokens, of_forms

__all__ = ["desk", "empty_desk"]

PATIENCE = 60.0


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    text: str


@dataclass
class Site:
    """A web view that is served. `session` is a cookie's value that is let in."""

    desk: Desk
    url: str
    tokens: Tokens
    cookie: str
    session: str
    view: WebView

    @property
    def link(self) -> str:
        return f"{self.url}/in?link={self.tokens.new(Kind.LINK)}"

    @property
    def cookies(self) -> dict[str, str]:
        return {"Cookie": f"{self.cookie}={self.session}"}

    @property
    def acting(self) -> dict[str, str]:
        """The headers of a POST that is let through."""
        return {
            **self.cookies,
            "Origin": self.url,
            "Content-Type": "application/json",
            "X-CSRF-Token": of_forms(self.session),
        }

    def ask(
        self, path: str, headers: Mapping[str, str] | None = None, *, method: str = "GET", body: bytes | None = None
    ) -> Answer:
        """One request, with these headers and no others but Host and Content-Length; a header of None is left out."""
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=PATIENCE)
        try:
            given = dict(headers or {})
            connection.putrequest(method, path, skip_host="Host" in given, skip_accept_encoding=True)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            for name, value in given.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read().decode())
        finally:
            connection.close()


@pytest.fixture
def site(desk: Desk) -> Iterator[Site]:
    settings = load(desk.config)
    tokens = Tokens(settings.files_dir / "web")
    view = WebView(settings, tokens, names=frozenset({"allowed.example"}), environment=dict(os.environ))
    server = Server(view.app, host="127.0.0.1", port=0, stop=view.stop)
    with server:
        yield Site(desk, server.url, tokens, view.app.cookie, tokens.new(Kind.SESSION), view)


def dead(site: Site) -> int:
    """How many are dead: what the actions of these tests would change."""
    count: int = site.desk.run("status", "--json").json["dead"]
    return count


RETRY = json.dumps({"verb": "retry", "key": f"bob/{MS}-0", "transport": "dies"}).encode()
"""An action that would revive what is dead."""

PATHS = (
    "/",
    "/page.js",
    "/style.css",
    "/icon.svg",
    "/session",
    "/events",
    "/agents/bob",
    f"/messages/bob/{MS}-0",
    "/x",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        sandbox = [] if os.geteuid() else ["--no-sandbox"]  # root has none
        found = playwright.chromium.launch(executable_path=chromium, args=sandbox)
        yield found
        found.close()
