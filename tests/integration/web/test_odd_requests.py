"""Requests that no page of ours makes, and too many of them."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from tests.integration.web.conftest import PATHS, PATIENCE, Site
from tests.world.waiting import until
from worker.serving import connections
from worker.view.agents import Board
from worker.view.live import Live
from worker.web import live as web_live
from worker.web.tokens import Kind


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd", "/static/../../guard.py", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd",
        "//etc/passwd", "/page.js/../guard.py", "/page.js%00.html", "/./page.html", "/page.html", "/guard.py",
        "/static",        "/messages/../../../../etc/passwd", "/messages/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/messages/",
        "/messages/bob/1-1",        "/agents/..%2f..%2fetc", "/agents/", "/do", "/metrics/../session",
    ],
)  # fmt: skip
def test_there_is_no_way_to_other_files(site: Site, path: str) -> None:
    answer = site.ask(path, site.cookies)
    assert answer.status in {404, 405} or answer.text == '{"deliveries":[]}'
    assert "root:" not in answer.text
    assert "import" not in answer.text


@pytest.mark.parametrize(
    "said",
    [
        "", "[]", "null", "{", "[" * 5000, '"retry"', "{}", '{"verb": "install"}', '{"verb": "run"}',
        '{"verb": ["retry"]}',
        '{"verb": "retry"}', '{"verb": "retry", "key": "--dead", "transport": "dies"}',
        '{"verb": "retry", "key": "bob/1-1", "transport": "--config=/tmp/x"}',
        '{"verb": "retry", "key": "bob/1-1\\n--dead", "transport": "dies"}',
        '{"verb": "pause", "agent": "-x", "transport": "dies"}',
        '{"verb": "pause", "agent": null, "transport": "dies"}',
        '{"verb": "send", "agent": "--help", "text": "x"}', '{"verb": "send", "agent": "bob", "text": "  "}',
        '{"verb": "send", "agent": "bob", "text": {"x": 1}}', '{"verb": "drop", "key": 1, "transport": "dies"}',
        json.dumps({"verb": "drop", "key": "x" * 1000, "transport": "dies"}),
        '{"verb": "drop", "key": "bob/\\u0000", "transport": "dies"}',
    ],
)  # fmt: skip
def test_what_makes_no_command_is_refused(site: Site, said: str) -> None:
    before = site.desk.run("queue", "--json").json["counts"]
    assert site.ask("/do", site.acting, method="POST", body=said.encode()).status == 400
    assert site.desk.run("queue", "--json").json["counts"] == before


def test_what_is_no_request_of_ours_is_refused(site: Site) -> None:
    acting = site.acting
    assert site.ask("/do", acting | {"Content-Length": "99999999"}, method="POST").status == 413
    assert site.ask("/do", acting | {"Transfer-Encoding": "chunked"}, method="POST").status == 411
    assert site.ask("/do", acting, method="POST").status == 411
    assert site.ask("/", site.cookies | {"X": "y" * 40_000}).status == 431


@pytest.mark.parametrize("path", [*PATHS, "/in?link=x"])
def test_every_answer_says_to_the_browser_what_it_may_do(site: Site, path: str) -> None:
    for headers in (site.cookies, {}, site.cookies | {"Host": "evil.example"}):
        if path == "/events" and headers == site.cookies:
            continue  # it does not end
        answer = site.ask(path, headers)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "require-trusted-types-for 'script'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.fixture
def crowd(site: Site) -> Iterator[list[socket.socket]]:
    """A thousand connections of strangers, half of which begin a request and never end it."""
    with ExitStack() as stack:
        found = []
        parts = urlsplit(site.url)
        for number in range(1000):
            one = stack.enter_context(socket.create_connection((str(parts.hostname), int(parts.port or 0)), PATIENCE))
            if number % 2:
                one.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nCook")
            found.append(one)
        yield found


def test_a_thousand_strangers_keep_nobody_out(site: Site, crowd: list[socket.socket]) -> None:
    for path in ("/session", "/agents/bob", "/"):
        assert site.ask(path, site.cookies).status == 200
    assert len(crowd) == 1000


@pytest.fixture
def streams(site: Site) -> Iterator[list[bytes]]:
    """The statuses of more streams of one session than it may have, all of them open."""
    parts = urlsplit(site.url)
    head = f"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {site.cookie}={site.session}\r\n\r\n".encode()
    with ExitStack() as stack:
        found = []
        for _ in range(connections.AN_AGENT + 10):
            one = stack.enter_context(socket.create_connection((str(parts.hostname), int(parts.port or 0)), PATIENCE))
            one.sendall(head)
            found.append(one.recv(12).split()[1])
        yield found


def test_one_session_has_its_share_of_streams(site: Site, streams: list[bytes]) -> None:
    assert streams == [b"200"] * connections.AN_AGENT + [b"503"] * 10
    other = {"Cookie": f"{site.cookie}={site.tokens.new(Kind.SESSION)}"}
    assert site.ask("/session", other).status == 200


def test_one_reader_reads_for_all_and_none_while_nobody_looks(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_live, "REFRESH_SECONDS", 0.02)
    reading = threading.Lock()
    real = Live.board

    def board(live: Live, *, of: object = None) -> Board | None:
        assert reading.acquire(blocking=False), "two read at once"
        try:
            return real(live, of=of)
        finally:
            reading.release()

    monkeypatch.setattr(Live, "board", board)
    parts = urlsplit(site.url)
    head = f"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {site.cookie}={site.session}\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(8):
            one = stack.enter_context(socket.create_connection((str(parts.hostname), int(parts.port or 0)), PATIENCE))
            one.sendall(head)
            said = b""
            while b"event: board" not in said:
                said += one.recv(65536)
        assert site.view.is_read
    until(lambda: not site.view.is_read, "the reader to end with the last who looks")
