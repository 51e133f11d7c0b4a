"""Who is not let in: strangers, other names, other pages, whoever lacks a part of what an action needs."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from tests.integration.web.conftest import PATHS, RETRY, Site, dead
from tests.unit.cli.conftest import MS
from worker.configuration import load
from worker.web.tokens import SECONDS, Kind, of_forms


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_shown_without_a_token(site: Site, path: str) -> None:
    wrong = [
        {},
        {"Cookie": f"{site.cookie}="},
        {"Cookie": f"{site.cookie}={site.session[:-1]}"},
        {"Cookie": f"another={site.session}"},
        {"Cookie": f"{site.cookie}=../{Kind.SESSION}"},
        {"Authorization": f"Bearer {site.session}"},
        {"Authorization": "Bearer "},
        {"Cookie": f"{site.cookie}={site.tokens.new(Kind.LINK)}"},
        {"Cookie": f"{site.cookie}={site.tokens.new(Kind.READER)}"},
    ]
    for headers in wrong:
        answer = site.ask(path, headers)
        assert answer.status == 401, headers
        assert "bob" not in answer.text


def test_a_link_is_good_once_and_not_for_long(site: Site) -> None:
    path = urlsplit(site.link)
    first = site.ask(f"{path.path}?{path.query}")
    cookie = first.headers["Set-Cookie"]
    assert first.status == 200
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert site.ask("/session", {"Cookie": cookie.partition(";")[0]}).status == 200
    assert site.ask(f"{path.path}?{path.query}").status == 401
    late = urlsplit(site.link)
    for file in (load(site.desk.config).files_dir / "web").glob("link-*"):
        os.utime(file, (time.time() - SECONDS[Kind.LINK] - 1,) * 2)
    refused = site.ask(f"{late.path}?{late.query}")
    assert refused.status == 401
    assert "Set-Cookie" not in refused.headers
    for wrong in ("/in", "/in?link=", "/in?link=..%2fsession", f"/in?link={site.session}"):
        assert site.ask(wrong).status == 401


def test_of_many_that_open_a_link_one_is_let_in(site: Site) -> None:
    link = urlsplit(site.link)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: site.ask(f"{link.path}?{link.query}").status, range(16)))
    assert sorted(answers) == [200] + [401] * 15


def test_what_was_given_is_taken_back_and_kept_as_hashes_only(site: Site) -> None:
    folder = load(site.desk.config).files_dir / "web"
    assert folder.stat().st_mode & 0o777 == 0o700
    for file in folder.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
        assert site.session not in file.name + file.read_text()
    assert site.ask("/session", site.cookies).status == 200
    assert site.desk.run("web", "--forget").status == 0
    assert site.ask("/session", site.cookies).status == 401


def test_a_reader_looks_and_does_nothing(site: Site) -> None:
    bearer = {"Authorization": f"Bearer {site.desk.run('web', '--reader').out.strip()}"}
    assert site.ask("/agents/bob", bearer).status == 200
    assert json.loads(site.ask("/session", bearer).text)["csrf"] == ""
    answer = site.ask("/do", site.acting | bearer | {"Cookie": ""}, method="POST", body=RETRY)
    assert answer.status == 401
    assert dead(site) == 1


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:6382", "127.0.0.1.evil.example", "localhost.evil.example", "evil.localhost.com",
        "", "[", "[::1", "127.0.0.1@evil.example", "evil.example#127.0.0.1", "0.0.0.0", "192.168.1.1", "2130706433",
    ],
)  # fmt: skip
def test_another_name_is_refused(site: Site, host: str) -> None:
    for path in ("/", "/session", "/in?link=x"):
        assert site.ask(path, site.cookies | {"Host": host}).status == 421


@pytest.mark.parametrize("host", ["localhost", "localhost:99", "127.0.0.1:6382", "[::1]:6382", "allowed.example"])
def test_our_names_are_let_in_whatever_the_port_of_the_tunnel(site: Site, host: str) -> None:
    assert site.ask("/session", site.cookies | {"Host": host}).status == 200
    for scheme in ("http", "https"):
        acting = site.acting | {"Host": host, "Origin": f"{scheme}://{host}"}
        assert site.ask("/do", acting, method="POST", body=b"{}").status == 400


@pytest.mark.parametrize(
    "said",
    [
        {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}, {"Origin": ""},
        {"Origin": "http://localhost"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    ],
)  # fmt: skip
def test_another_page_may_not_ask(site: Site, said: dict[str, str]) -> None:
    for path in ("/agents/bob", "/events", "/page.js"):
        assert site.ask(path, site.cookies | said).status == 403
    assert site.ask("/do", site.acting | said, method="POST", body=RETRY).status == 403
    assert dead(site) == 1


@pytest.mark.parametrize(
    ("left_out", "instead", "status"),
    [
        ("X-CSRF-Token", {}, 403),
        ("X-CSRF-Token", {"X-CSRF-Token": of_forms("another session")}, 403),
        ("X-CSRF-Token", {"X-CSRF-Token": "\u00e9"}, 403),
        ("Origin", {}, 403),
        ("Content-Type", {}, 415),
        ("Content-Type", {"Content-Type": "text/plain"}, 415),
        ("Content-Type", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ("Cookie", {}, 401),
    ],
)
def test_an_action_needs_all_of_it(site: Site, left_out: str, instead: dict[str, str], status: int) -> None:
    headers = {name: value for name, value in site.acting.items() if name != left_out} | instead
    assert site.ask("/do", headers, method="POST", body=RETRY).status == status
    assert dead(site) == 1


def test_with_all_of_it_the_action_is_done(site: Site) -> None:
    answer = site.ask("/do", site.acting, method="POST", body=RETRY)
    assert json.loads(answer.text)["command"] == f"bus-watch retry bob/{MS}-0 --transport dies"
    assert dead(site) == 0


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT"])
def test_other_methods_are_refused(site: Site, method: str) -> None:
    answer = site.ask("/do", site.acting, method=method, body=RETRY)
    assert answer.status == 405
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
