"""Our plugins themselves, run by Node with a stand-in of their UI: what every channel must do, and what only they can.

The channel's own code speaks to them; `tests.fakes.plugin_host` is the UI.
"""

import json
import os
import select
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.terminals import FAKES
from tests.integration.terminal.test_channels import TEXTS
from tests.world.waiting import until
from worker.terminal.channels import channel
from worker.terminal.channels.channel import AsideError, Message, NotTakenError, Site
from worker.terminal.channels.plugin import PluginSession
from worker.terminal.channels.sites import module
from worker.terminal.processes import Process
from worker.terminal.proof import Verdict
from worker.terminal.transcript import Surroundings

PLUGINS = Path(channel.__file__).with_name("plugins")
FILES = {"pi": "pi.js", "opencode": "opencode.js", "copilot": "copilot.mjs"}


class Host:
    """A UI that has loaded its plugin."""

    def __init__(self, agent: str, home: Path) -> None:
        self.agent, self.home = agent, home
        plugin = home / f"{agent}.mjs"  # as .js without a package beside it, not every Node takes it for a module
        shutil.copy(PLUGINS / FILES[agent], plugin)
        sdk = home / "node_modules/@github/copilot-sdk"
        sdk.mkdir(parents=True)
        (sdk / "package.json").write_text('{"exports": {"./extension": "./extension.mjs"}}')
        (sdk / "extension.mjs").write_text("export const joinSession = () => globalThis.joinSession()")
        self._process = subprocess.Popen(
            ["node", str(FAKES / "plugin_host.mjs"), agent, str(plugin)],
            env={"HOME": str(home), "PATH": os.environ["PATH"]}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.said: list[dict[str, object]] = []
        """All that it has said."""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        until(lambda: {"ready": self._process.pid} in self.said, "the plugin is loaded")
        self.pid = os.getpid() if agent == "copilot" else self._process.pid  # its extension is Copilot's child
        self.socket = home / ".local/state/bus-watch" / f"{agent}-{self.pid}.sock"
        until(self.socket.exists, "it listens")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(json.loads(line))

    def do(self, what: str, **more: object) -> None:
        """What happens in the UI."""
        before = self.said.count({"done": what})
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **more}).encode() + b"\n")
        self._process.stdin.flush()
        until(lambda: self.said.count({"done": what}) > before, what)

    def turns(self) -> list[object]:
        assert not [one for one in self.said if "wrong" in one]
        return [one["turn"] for one in self.said if one.get("turn", "a person's") != "a person's"]

    def has_begun(self, *texts: str) -> None:
        """These turns have begun, in this order, and no others: what it says comes a moment later."""
        until(lambda: len(self.turns()) >= len(texts), f"{texts}")
        assert self.turns() == list(texts)

    def find(self) -> PluginSession:
        process = Process(self.pid, frozenset([self.agent]), "", 9.0)
        where = Surroundings(str(self.home), str(self.home), {})
        found = module(self.agent).find(Site(process, (process,), where, "OC | work", ""), time.monotonic() + 5)
        assert isinstance(found, PluginSession)
        return found

    def send(self, message: Message, seconds: float = 5.0) -> Verdict:
        return self.find().send(message, time.monotonic() + seconds)

    def say(self, data: bytes) -> bytes:
        """What is answered to that, on a connection of its own."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(5)
            link.connect(str(self.socket))
            link.sendall(data)
            answer = b""
            while not answer.endswith(b"\n") and (part := link.recv(65536)):
                answer += part
            return answer

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


def a_message(text: str = "hello") -> Message:
    return Message(uuid.uuid4().hex, text)


def hosted(agent: str) -> Iterator[Host]:
    with tempfile.TemporaryDirectory(prefix="bw-") as home:  # a socket's name is short
        made = Host(agent, Path(home))
        try:
            yield made
        finally:
            made.close()


@pytest.fixture(params=FILES)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    yield from hosted(request.param)


@pytest.fixture
def pi() -> Iterator[Host]:
    yield from hosted("pi")


@pytest.fixture
def opencode() -> Iterator[Host]:
    yield from hosted("opencode")


@pytest.fixture
def copilot() -> Iterator[Host]:
    yield from hosted("copilot")


def test_each_text_exactly_once_and_whole(host: Host) -> None:
    for text in TEXTS.values():
        assert host.send(a_message(text)).verdict == "submitted", text
    host.has_begun(*TEXTS.values())


def test_only_its_user_can_open_it(host: Host) -> None:
    until(lambda: stat.S_IMODE(host.socket.stat().st_mode) == 0o600, "its mode")
    assert stat.S_IMODE(host.socket.parent.stat().st_mode) == 0o700


def test_it_waits_behind_a_turn_that_runs(host: Host) -> None:
    host.do("mode", word="held")
    host.do("busy")
    messages = [a_message(text) for text in ("one", "two", "three")]
    assert [host.send(one).verdict for one in messages] == ["queued"] * 3
    assert host.find().busy
    assert host.turns() == []
    host.do("mode", word="")
    host.do("end")
    host.has_begun("one", "two", "three")
    assert [known(host, one) for one in messages] == ["submitted"] * 3


def known(host: Host, message: Message) -> str:
    found = host.find().lookup(message)
    return "" if found is None else found.verdict


def test_what_was_sent_is_known_again_and_nothing_else(host: Host) -> None:
    message, other = a_message(), a_message()
    assert known(host, message) == ""
    host.send(message)
    assert (known(host, message), known(host, other)) == ("submitted", "")


@pytest.mark.parametrize("agent", ["pi", "opencode"])
def test_a_plugin_that_is_loaded_anew_knows_what_the_one_before_has_sent(agent: str) -> None:
    for host in hosted(agent):
        message = a_message()
        host.send(message)
        host.do("reload")
        until(host.socket.exists, "it listens")
        assert (known(host, message), known(host, a_message())) == ("submitted", "")
        assert host.send(a_message("next")).verdict == "submitted"
        host.has_begun("hello", "next")


def test_a_session_that_is_not_open_any_more_gets_nothing(host: Host) -> None:
    session = host.find()
    host.do("open", session="s2")
    if host.agent == "opencode":  # a message names its session, so it gets to that one
        assert session.send(a_message(), time.monotonic() + 5).verdict == "submitted"
        with pytest.raises(AsideError, match="which is meant is not certain"):
            host.find()
        return
    with pytest.raises(NotTakenError, match="another session is o"):
        session.send(a_message(), time.monotonic() + 5)
    assert host.turns() == []


@pytest.mark.parametrize(
    "line",
    [b"garbage\n", b"\xff\xfe\n", b"[]\n", b"null\n", b"7\n", b"{}\n", b'{"op":"eat"}\n', b'{"op":"send"}\n', b"\n",
     b'{"op":"look"}\n{"op":"look"}\n', b'{"op":"look","suffix":{"a":1},"session":["s1"]}\n'],
)  # fmt: skip
def test_a_line_that_is_no_question_is_answered_and_harms_nothing(host: Host, line: bytes) -> None:
    answer = json.loads(host.say(line))
    assert (answer["version"], answer["agent"]) == (1, host.agent)
    assert host.turns() == []
    assert host.send(a_message()).verdict == "submitted"
    host.has_begun("hello")


def test_who_hangs_up_in_the_middle_harms_nothing(host: Host) -> None:
    for data in (b"", b'{"op":"send","session":"s1","suf'):
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(host.socket))
            link.sendall(data)
    assert host.send(a_message()).verdict == "submitted"
    host.has_begun("hello")


def test_a_question_that_comes_in_pieces_is_one(host: Host) -> None:
    asked = {"op": "send", "session": "s1", "suffix": "a" * 14, "text": "漢字 ü"}
    data = json.dumps(asked, ensure_ascii=False).encode() + b"\n"
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(host.socket))
        for one in data:
            link.sendall(bytes([one]))
        select.select([link], [], [], 5)
    host.has_begun("漢字 ü")


def test_a_sender_that_dies_behind_its_question_is_found_by_the_next(host: Host) -> None:
    message = a_message()
    asked = {"op": "send", "session": "s1", "suffix": message.id[:14], "text": "hello"}
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(host.socket))
        link.sendall(json.dumps(asked).encode() + b"\n")
    until(lambda: known(host, message) == "submitted", "it is known")
    host.has_begun("hello")


def test_many_senders_each_once(host: Host) -> None:
    messages = [a_message(f"hello {number}") for number in range(12)]
    found: list[str] = []
    threads = [threading.Thread(target=lambda m=one: found.append(host.send(m, 20).verdict)) for one in messages]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert set(found) <= {"submitted", "queued"}, found
    until(lambda: len(host.turns()) >= len(messages), "all are turns")
    assert sorted(map(str, host.turns())) == sorted(one.text for one in messages)


def test_what_opencode_refuses_was_not_taken(opencode: Host) -> None:
    opencode.do("mode", word="refuses")
    with pytest.raises(NotTakenError, match="BadRequest"):
        opencode.send(a_message())
    opencode.do("mode", word="")
    assert opencode.turns() == []


def test_what_opencode_complains_about_and_has_is_no_refusal(opencode: Host) -> None:
    opencode.do("mode", word="complains")
    assert opencode.send(a_message()).verdict == "submitted"
    opencode.has_begun("hello")


def test_what_opencode_was_handed_and_has_not_told_of_is_not_known(opencode: Host) -> None:
    opencode.do("mode", word="mute")
    message = a_message()
    assert opencode.send(message, 1.0).verdict == "unproven"
    with pytest.raises(AsideError, match="has it not yet"):
        opencode.find().lookup(message)
    opencode.has_begun("hello")


def test_a_session_of_another_directory_takes_nothing_away_from_the_one_on_the_screen(opencode: Host) -> None:
    opencode.do("elsewhere")
    message = a_message()
    assert opencode.send(message).verdict == "submitted"
    assert known(opencode, message) == "submitted"
    opencode.has_begun("hello")
    opencode.do("busy")
    assert opencode.find().busy


@pytest.mark.parametrize("cut", ["before its turn", "as its turn began"])
def test_what_opencode_has_and_was_cut_off_is_begun(opencode: Host, cut: str) -> None:
    opencode.do("mode", word="held")
    opencode.do("busy")
    message = a_message()
    assert opencode.send(message).verdict == "queued"
    opencode.do("mode", word="")
    opencode.do("restart", cut=cut)
    until(opencode.socket.exists, "it listens")
    assert opencode.turns() == []
    assert [known(opencode, message) for _ in range(3)] == ["submitted"] * 3
    opencode.has_begun("hello")


@pytest.mark.parametrize("agent", ["pi", "copilot"])
def test_a_turn_that_was_cut_off_before_any_answer_is_not_known(agent: str) -> None:
    for host in hosted(agent):
        host.do("mode", word="held")
        message = a_message()
        assert host.send(message).verdict == "submitted"
        host.do("mode", word="")
        host.do("restart")
        until(host.socket.exists, "it listens")
        with pytest.raises(AsideError, match="before it answered"):
            host.find().lookup(message)
        assert host.send(a_message("next")).verdict == "submitted"  # to which belongs what was said before
        assert known(host, message) == "submitted"
        host.has_begun("hello", "next")


def test_what_opencode_has_written_down_by_half_is_sent_again(opencode: Host) -> None:
    opencode.do("mode", word="held")
    opencode.do("busy")
    message = a_message()
    assert opencode.send(message).verdict == "queued"
    opencode.do("mode", word="")
    opencode.do("restart", cut="as it was written down")
    until(opencode.socket.exists, "it listens")
    assert known(opencode, message) == ""
    assert opencode.send(message).verdict == "submitted"
    assert known(opencode, message) == "submitted"
    opencode.has_begun("hello")


@pytest.mark.parametrize("word", ["refuses", "complains"])
def test_an_error_of_copilots_may_come_behind_what_was_done(copilot: Host, word: str) -> None:
    copilot.do("mode", word=word)
    message = a_message()
    assert copilot.send(message, 2.0).verdict == "unproven"
    copilot.do("mode", word="")
    with pytest.raises(AsideError, match="is not known"):
        copilot.find().lookup(message)
    assert copilot.send(a_message("next")).verdict == "submitted"
    copilot.has_begun(*(["next"] if word == "refuses" else ["hello", "next"]))


def test_what_a_persons_escape_took_out_of_copilots_queue_is_handed_over_again(copilot: Host) -> None:
    copilot.do("mode", word="queues")
    message = a_message()
    assert copilot.send(message, 1.5).verdict in {"queued", "unproven"}
    copilot.do("mode", word="")
    copilot.do("escape")
    copilot.has_begun("hello")
    until(lambda: known(copilot, message) == "submitted", "it is known")
    copilot.has_begun("hello")


def test_what_pi_was_handed_and_begins_no_turn_with_is_not_known(pi: Host) -> None:
    pi.do("mode", word="mute")
    message = a_message()
    assert pi.send(message, 1.0).verdict in {"queued", "unproven"}
    pi.do("mode", word="")
    pi.do("escape")

    def given_up() -> bool:
        try:
            return pi.find().lookup(message) is None
        except AsideError as why:
            return "is not known" in str(why)

    until(given_up, "five seconds are over")
    assert pi.send(a_message("next")).verdict == "submitted"
    pi.do("late", text="hello")  # it stood in the person's box, and they have sent it
    assert known(pi, message) == "submitted"
    pi.has_begun("next")


def test_what_comes_while_pi_says_that_it_has_settled_is_sent_once(pi: Host) -> None:
    pi.do("mode", word="held")
    pi.do("busy")
    pi.do("mode", word="")
    pi.do("mode", word="slow to settle")
    message = a_message()
    found: list[Verdict] = []
    sender = threading.Thread(target=lambda: found.append(pi.send(message, 10)))
    ending = threading.Thread(target=lambda: pi.do("end"))
    ending.start()
    until(lambda: {"settling": True} in pi.said, "pi is idle, and has not told the extension")
    sender.start()
    sender.join()
    ending.join()
    assert {one.verdict for one in found} <= {"queued", "submitted"}  # on a busy machine it may not have begun by then
    until(lambda: known(pi, message) == "submitted", "it is known")
    pi.has_begun("hello")
