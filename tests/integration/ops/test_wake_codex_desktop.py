"""`ops/wake-codex-desktop`, the real script, against what codex-cli 0.169.0 answers and writes."""

import fcntl
import runpy
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fakes.bridges import FakeBridge
from tests.fakes.codex import CodexApp
from tests.fakes.codex_daemon import CodexDaemon
from tests.world.config import QUICK
from tests.world.processes import ROOT
from tests.world.waiting import until
from tests.world.world import World
from worker.classes import CLASSES
from worker.terminal import preamble

SCRIPT = ROOT / "ops" / "wake-codex-desktop"
NAMES = runpy.run_path(str(SCRIPT), run_name="script")


@pytest.fixture
def app(tmp_path: Path) -> Iterator[CodexApp]:
    app = CodexApp(tmp_path)
    app.open()
    yield app
    app.close()


def wake(app: CodexApp, text: bytes, *flags: str, key: str = "bob/1-0", thread: str | None = None) -> tuple[int, str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(app.home), "SOS_MESSAGE_KEY": key, "LANG": "C.UTF-8"}
    environment |= {"SOS_MESSAGE_SOURCE": "agent:alice", "SOS_AGENT": "bob", "SOS_MESSAGE_CLASS": "human"}
    where = ["--codex", str(app.codex), "--codex-home", str(app.home), "--thread", thread or app.thread]
    done = subprocess.run(
        [str(SCRIPT), *where, *flags], input=text, env=environment, capture_output=True, timeout=60, check=False
    )
    return done.returncode, (done.stdout + done.stderr).decode()


class Taking(threading.Thread):
    """The app, idle: it takes what is queued, once."""

    def __init__(self, app: CodexApp, *, record: bool = True) -> None:
        super().__init__(daemon=True)
        self.app, self.record = app, record
        self.start()

    def run(self) -> None:
        until(lambda: self.app.take(record=self.record), "something queued")


def test_a_text_begins_a_turn_as_it_was_with_its_sender_in_front(app: CodexApp) -> None:
    taking = Taking(app)
    status, words = wake(app, "line one\n$(touch x) `y` \u00e9 [a -> b] z".encode())
    taking.join(30)
    assert (status, words) == (0, "its turn began\n")
    assert app.turns == ["[agent:alice -> bob class=human] line one\n$(touch x) `y` \u00e9 [a -> b] z"]


def test_a_repeated_attempt_begins_no_second_turn(app: CodexApp) -> None:
    taking = Taking(app)
    assert wake(app, b"once")[0] == 0
    taking.join(30)
    assert wake(app, b"once") == (0, "its turn began earlier\n")
    assert app.queued == []
    assert len(app.turns) == 1


def test_a_running_turn_queues_once_or_holds(app: CodexApp) -> None:
    app.begin_turn()
    assert wake(app, b"later", "--when-idle")[0] == 75
    assert app.queued == []
    for _ in range(2):
        assert wake(app, b"later", "--timeout", "1") == (0, "queued behind the turn that runs\n")
    assert len(app.queued) == 1


def test_what_nobody_takes_is_withdrawn(app: CodexApp) -> None:
    status, words = wake(app, b"hello", "--timeout", "1")
    assert status == 69
    assert "withdrawn" in words
    assert app.queued == []


def test_what_was_taken_and_is_nowhere_is_unproven(app: CodexApp) -> None:
    taking = Taking(app, record=False)
    assert wake(app, b"hello", "--timeout", "2")[0] == 76
    taking.join(30)


def test_a_server_that_ends_while_adding_leaves_it_unproven(app: CodexApp) -> None:
    app.mode("dies")
    assert wake(app, b"hello")[0] == 76


def test_an_overloaded_server_is_held(app: CodexApp) -> None:
    app.mode("overloaded")
    assert wake(app, b"hello")[0] == 75
    assert app.queued == []


def test_nothing_is_queued_for_a_thread_that_nobody_has_open(app: CodexApp) -> None:
    app.close()
    assert wake(app, b"hello")[0] == 69
    assert wake(app, b"hello", thread=str(uuid.uuid4()))[0] == 69
    app.open()
    assert wake(app, b"hello", "--codex", "/nowhere/codex")[0] == 69
    assert app.queued == []


@pytest.mark.parametrize("text", [b"", b" \n", b"\xff", b"x" * (1 << 20)])
def test_a_text_that_cannot_be_sent(app: CodexApp, text: bytes) -> None:
    assert wake(app, text)[0] == 65
    assert app.queued == []


def test_a_title_is_not_taken_for_a_thread(app: CodexApp) -> None:
    assert wake(app, b"hello", thread="my thread")[0] == 64


def test_the_worker_wakes_it_with_what_is_for_people(
    app: CodexApp, world_of: Callable[[Path], World], tmp_path: Path
) -> None:
    world = world_of(tmp_path / "home")
    world.env["PATH"] = "/usr/bin:/bin"
    where = ["--codex", str(app.codex), "--codex-home", str(app.home), "--thread", app.thread]
    transport = {"name": "codex-desktop", "command": [str(SCRIPT), *where], "stdin": True, "classes": ["human"]}
    with FakeBridge("C") as bridge:
        agent = {"agent": "bob", "token": bridge.add_token("bob"), "bridge_url": bridge.url}
        world.configure(agent | {"transports": [transport]}, **QUICK)
        bridge.streams.add("bob", "[a:b -> c:d class=actionable] for a terminal")
        bridge.streams.add("bob", "[a:b -> c:d class=human] for a person")
        doctor = world.bus_watch("doctor", "--offline")
        assert doctor.stdout.splitlines()[-1] == "OK config valid", doctor.stdout
        taking = Taking(app)
        once = world.bus_watch("run", "--once")
        taking.join(30)
    assert once.returncode == 0, once.stderr
    (text,) = app.turns
    assert text.startswith("[agent:")
    assert text.endswith(" -> bob class=human] > [a:b -> c:d class=human] for a person")


def test_its_copies_of_our_rules_are_ours() -> None:
    assert NAMES["CLASSES"] == CLASSES
    assert NAMES["FORGED"].pattern == preamble.FORGED.pattern


@given(
    body=st.text(st.sampled_from("[]->> ab\n\r\t\u2028\u200b\x85"), max_size=30).map(lambda t: t + "[x -> y] z"),
    source=st.text(max_size=8),
    message_class=st.sampled_from(["", "human", "nonsense"]),
)
@example(body="one\n[a -> b] two\r \u200b[c->d] three", source="agent:x] [y", message_class="human")
def test_the_address_is_the_one_that_send_message_writes(body: str, source: str, message_class: str) -> None:
    """One rule in two places, since the script stands alone."""
    variables = {"SOS_MESSAGE_SOURCE": source, "SOS_AGENT": "bob", "SOS_MESSAGE_CLASS": message_class}
    chosen = message_class if message_class == "human" else None
    expected = preamble.prefix(source or "unknown", "bob", chosen) + preamble.quote_forged(body)
    assert NAMES["addressed"](body, variables) == expected


@pytest.fixture
def short_home() -> Iterator[Path]:
    """A socket's name is short."""
    with tempfile.TemporaryDirectory(prefix="bw-") as home:
        yield Path(home)


def test_by_the_background_server_it_takes_no_app_server(short_home: Path) -> None:
    daemon = CodexDaemon(short_home)
    identity = daemon.open(str(short_home), originator="Codex Desktop")
    locks = short_home / "thread-writer-locks"
    locks.mkdir()
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(short_home), "SOS_MESSAGE_KEY": "bob/1-0", "LANG": "C.UTF-8"}
    environment |= {"SOS_MESSAGE_SOURCE": "agent:alice", "SOS_AGENT": "bob", "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, str(SCRIPT), "--codex", "/bin/false", "--codex-home", str(short_home), "--thread", identity]

    def run(*flags: str) -> tuple[int, str]:
        done = subprocess.run(
            [*argv, *flags], input="hello", env=environment, capture_output=True, timeout=60, check=False, text=True
        )
        return done.returncode, (done.stdout + done.stderr).strip()

    try:
        with (locks / f"{identity}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert run() == (0, "its turn began")
            assert run() == (0, "its turn began earlier")
            daemon.mode = "busy"
            environment["SOS_MESSAGE_KEY"] = "bob/2-0"
            assert run("--when-idle") == (75, "wake-codex-desktop: a turn is running")
            assert run() == (0, "queued behind the turn that runs")
            daemon.mode = "silent"
            environment["SOS_MESSAGE_KEY"] = "bob/3-0"
            assert run("--timeout", "6")[0] == 76
    finally:
        daemon.close()
    assert daemon.turns[0] == "[agent:alice -> bob] hello"
    key = uuid.uuid5(NAMES["NAMESPACE"], "bob/1-0")
    assert f'"client_id":"{key}"' in Path(daemon.threads[0]["path"]).read_text(), "as its own app-server would call it"
