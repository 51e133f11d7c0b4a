"""What each channel sends, as the real receiver would take it; and what it says where it cannot."""

import html
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.notifications import FakeDesktop
from tests.fakes.push import FakePush
from worker.alerts import desktop, tell
from worker.engine.alerting import Telling

NOON = 1_795_300_000.0
SUMMARY = "bob tmux: stuck for 5 min: bob/7-0 failed 3 times <b>&amp; #1; bus-watch show bob/7-0"
DETAIL = "what the sender wrote"
TOKEN = "tk_canary0token"


def telling(summary: str, event: Any = "opened") -> str:
    told = Telling(event=event, condition="stuck", about="bob tmux", summary=summary, detail=DETAIL, opened_at=NOON)
    return told.text(NOON)


@pytest.fixture
def push() -> Iterator[FakePush]:
    with FakePush(TOKEN) as server:
        yield server


@pytest.fixture
def files(tmp_path: Path, push: FakePush) -> Callable[..., list[str]]:
    def given(url: str, token: str = TOKEN) -> list[str]:
        (tmp_path / "url").write_text(f"{url}\n")
        (tmp_path / "token").write_text(f"{token}\n")
        return ["--url-file", str(tmp_path / "url"), "--token-file", str(tmp_path / "token")]

    return given


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Tell an alert by the program that the worker runs; its exit status and what it printed."""

    def run(*argv: str, text: str | None = None, event: str = "opened", summary: str = SUMMARY) -> tuple[int, str]:
        whole = telling(summary, event) if text is None else text
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(whole.encode())))
        monkeypatch.setenv("SOS_MESSAGE_KEY", "@alerts/alerts/7-0")
        status = tell.main(argv)
        return status, capsys.readouterr().out.strip()

    return run


def test_ntfy(push: FakePush, files: Callable[..., list[str]], told: Callable[..., tuple[int, str]]) -> None:
    argv = ["ntfy", *files(f"{push.url}/my-topic")]
    assert told(*argv) == told(*argv, "--include-text", event="closed") == (0, "told")
    opened, closed = (one.json for one in push.taken)
    assert (opened["topic"], opened["priority"], closed["priority"]) == ("my-topic", 4, 2)
    assert opened["title"].endswith(": stuck")
    assert closed["title"].endswith(": stuck (over)")
    assert opened["message"] == SUMMARY
    assert closed["message"] == f"{SUMMARY}\n\n{DETAIL}"
    assert told(*argv, summary="ü" * 5000) == (0, "told"), "ntfy makes a file of what is longer"


def test_a_webhook(push: FakePush, files: Callable[..., list[str]], told: Callable[..., tuple[int, str]]) -> None:
    argv = ["webhook", *files(f"{push.url}/hook/x")]
    assert told(*argv) == told(*argv) == told(*argv, "--include-text") == (0, "told")
    first, again, asked = push.taken
    assert first.headers["webhook-id"] == again.headers["webhook-id"] == "@alerts/alerts/7-0"
    document = first.json
    assert {key: document[key] for key in ("event", "condition", "about", "summary")} == {
        "event": "opened", "condition": "stuck", "about": "bob tmux", "summary": SUMMARY,
    }  # fmt: skip
    assert "detail" not in document
    assert asked.json["detail"] == DETAIL


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Apprise's own imports
def test_apprise_itself_delivers(push: FakePush, tmp_path: Path, told: Callable[..., tuple[int, str]]) -> None:
    push.token = ""
    place = push.url.removeprefix("http://")
    addresses = tmp_path / "apprise"
    addresses.write_text(f"ntfy://{place}/first\nntfy://{place}/second\n")
    assert told("apprise", "--url-file", str(addresses)) == (0, "told")
    assert sorted(one.json["topic"] for one in push.taken) == ["first", "second"]
    assert SUMMARY in push.taken[0].json["message"]
    push.status = 500
    assert told("apprise", "--url-file", str(addresses)) == (1, "Apprise could not deliver it")
    addresses.write_text("nonsense-canary\n")
    status, said = told("apprise", "--url-file", str(addresses))
    assert (status, said) == (1, "line 1 of its url_file is no address that Apprise knows")


@pytest.mark.parametrize("kind", ["ntfy", "webhook"])
@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [
        (500, 1, "HTTP 500"), (503, 1, "HTTP 503"), (429, 1, "HTTP 429"), (404, 1, "HTTP 404"),
        (302, 1, "it has moved"),
        (401, 1, "the token or the address is refused"), (403, 1, "the token or the address is refused"),
        (413, 65, "HTTP 413"), (400, 65, "HTTP 400"),
    ],
)  # fmt: skip
def test_what_a_server_refuses(
    push: FakePush,
    files: Callable[..., list[str]],
    told: Callable[..., tuple[int, str]],
    kind: str,
    answer: int,
    status: int,
    says: str,
) -> None:
    push.status = answer
    found, said = told(kind, *files(f"{push.url}/hook/canary-path"))
    assert found == status
    assert says in said
    assert "canary" not in said
    assert push.begun == 1, "it follows nobody elsewhere"


@pytest.mark.parametrize(
    ("url", "status", "says"),
    [
        ("http://127.0.0.1:1/canary-path", 69, "nobody answers"),
        ("https://canary-host.invalid/x", 69, "nobody answers"),
        ("http://canary.example/hook", 1, "would show the address to the network"),
        ("canary", 1, "holds no address"),
        ("ftp://canary/x", 1, "holds no address"),
        ("", 1, "is empty"),
    ],
)
def test_addresses_that_lead_nowhere(
    files: Callable[..., list[str]], told: Callable[..., tuple[int, str]], url: str, status: int, says: str
) -> None:
    found, said = told("webhook", *files(url))
    assert (found, says in said) == (status, True), said
    assert "canary" not in said


def test_a_token_of_somebody_else(
    push: FakePush, files: Callable[..., list[str]], told: Callable[..., tuple[int, str]]
) -> None:
    status, said = told("ntfy", *files(f"{push.url}/topic", token="canary-wrong"))
    assert (status, "canary" in said) == (1, False)
    assert push.taken == []


@pytest.mark.parametrize("text", ["", "opened: x\n", "opened: x\n[1]", "opened: x\n{}", "hello"])
def test_what_is_no_alert_is_refused_for_good(told: Callable[..., tuple[int, str]], text: str) -> None:
    status, said = told("desktop", text=text)
    assert status == 65
    assert "no alert" in said


@pytest.fixture
def no_desktop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No session of the person who runs the tests; the folder that is $XDG_RUNTIME_DIR."""
    for name in ("DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no notify-send")
@pytest.mark.parametrize("variable", [True, False])
def test_a_desktop_notification_is_shown(
    no_desktop: Path, monkeypatch: pytest.MonkeyPatch, told: Callable[..., tuple[int, str]], variable: bool
) -> None:
    """By the real notify-send, on a real bus: that of the variable, else the one that lies where it lies by custom."""
    with FakeDesktop(no_desktop) as desk:
        if variable:
            monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", desk.address)
        assert told("desktop") == told("desktop", summary="--help") == told("desktop", event="closed") == (0, "told")
        opened, hostile, closed = desk.shown
    assert (opened.app, opened.urgency, closed.urgency) == ("bus-watch", 2, 0)
    assert opened.summary.endswith(": stuck")
    assert html.unescape(opened.body) == SUMMARY, "a server that reads markup shows it as it was written"
    assert "<" not in opened.body
    assert hostile.body == "--help"
    assert closed.summary.endswith(": stuck (over)")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no notify-send")
def test_without_a_desktop_a_notification_waits(
    no_desktop: Path, monkeypatch: pytest.MonkeyPatch, told: Callable[..., tuple[int, str]]
) -> None:
    status, said = told("desktop")
    assert (status, "no notification was shown: " in said) == (69, True), said
    with FakeDesktop(no_desktop, served=False):
        status, said = told("desktop")
    assert (status, "org.freedesktop.Notifications" in said) == (69, True), said
    monkeypatch.setattr(desktop, "program", lambda: None)
    assert told("desktop") == (69, "notify-send is not installed: on Debian it is in libnotify-bin")


def test_a_mac_reads_no_script_in_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    from worker.alerts import alert

    monkeypatch.setattr(sys, "platform", "darwin")
    hostile = '" & (do shell script "id") & "'
    argv = desktop.command(alert.read(telling(hostile), "k", include_text=False))
    assert argv[-1] == hostile
    assert not any("do shell" in part for part in argv[:-1])


def test_the_settings_name_what_is_missing(tmp_path: Path) -> None:
    from worker.configuration import check
    from worker.errors import ConfigError

    def refused(alerts: dict[str, Any]) -> str:
        with pytest.raises(ConfigError) as error:
            check({"agent": "bob", "alerts": alerts}, tmp_path / "c.json")
        return str(error.value)

    assert "url_file is missing" in refused({"channels": [{"name": "a", "type": "ntfy"}]})
    assert "did you mean 'url_file'" in refused({"channels": [{"name": "a", "type": "desktop", "url-file": "x"}]})
    assert "did you mean 'channels'" in refused({"chanels": []})
    assert "'stuck'" in refused({"channels": [{"name": "a", "type": "desktop", "conditions": ["stcuk"]}]})
    two = [{"name": "a", "type": "desktop"}] * 2
    assert "a is there twice" in refused({"channels": two})
    assert "needs a sentry_dsn" in refused({"sentry_monitor": "bus"})
    assert "has no url_file" in refused({"channels": [{"name": "a", "type": "desktop", "url_file": "x"}]})
