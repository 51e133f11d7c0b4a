"""`send --wait`: what ends it, in words and by its exit status, whatever happens to worker, bus and recipient."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.bridges import FakeBridge
from tests.fakes.streams import Generation
from tests.world.config import QUICK
from tests.world.processes import Process
from tests.world.waiting import until
from tests.world.world import World
from worker import notices

LONG = "60"


class Two(World):
    """Alice; and carol on the same bus, in the same ledger if she `lives_here`."""

    def __init__(self, home: Path, programs: Path, bridge: FakeBridge) -> None:
        super().__init__(home, bin=programs)
        self.bridge = bridge

    def set_up(self, *carols: dict[str, Any], lives_here: bool = True, **fields: Any) -> None:
        agents = []
        for name in ("alice", "carol") if lives_here else ("alice",):
            token = self.config.with_name(f"{name}.token")
            self.write_private(token, self.bridge.add_token(name))
            transports = list(carols) if name == "carol" and carols else [self.transport(name)]
            one = {"agent": name, "bridge_url": self.bridge.url, "token_file": str(token), "transports": transports}
            agents.append(one | fields)
        self.configure(*agents, **QUICK)

    def start_worker(self) -> Process:
        process = self.start_consumer()
        until(lambda: self.count("select count(*) from inboxes where polled_at is not null"), "the first poll")
        return process

    def asking(self, *arguments: str) -> "subprocess.Popen[str]":
        """`send carol ... --wait`, on its way."""
        argv = self.argv("bus-watch", "send", "carol", *arguments, "--as", "alice", "--json")
        return subprocess.Popen(argv, env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def sent(self, number: int = 1) -> str:
        """The key of a message at its recipient's, once it is delivered there."""
        question = "select message_id from outbox where id = ? and message_id is not null"
        message = until(lambda: self.rows(question, number), f"out-{number} to be sent")[0]["message_id"]
        return f"carol/{message}"


def told(process: "subprocess.Popen[str]") -> tuple[int, dict[str, Any]]:
    """How it ended, and what it said."""
    out, _ = process.communicate(timeout=90)
    return process.returncode, json.loads(out) if out else {}


@pytest.fixture
def two(tmp_path: Path, programs: Path, bridge_of: Callable[[Generation], FakeBridge]) -> Iterator[Two]:
    with Two(tmp_path, programs, bridge_of("C")) as made:
        yield made


def test_two_who_ask_at_once_get_an_answer_each(two: Two) -> None:
    two.set_up()
    with two.consumer():
        first = two.asking("which port?", "--wait", "answered", "--timeout", LONG)
        one = two.sent(1)
        second = two.asking("which host?", "--wait", "answered", "--timeout", LONG)
        other = two.sent(2)
        until(lambda: len(two.seen("carol")) == 2, "both to arrive")
        assert two.bus_watch("reply", other, "here").returncode == 0
        assert told(second)[1]["answer"] == "here"
        assert first.poll() is None
        assert two.bus_watch("reply", one, "6380").returncode == 0
        status, said = told(first)
        assert (status, said["answer"], said["reached"], said["became"]) == (0, "6380", True, "answered")
        # Whoever asks after the answer need not wait for another.
        assert two.bus_watch("wait", "out-1", "--for", "answered", "--timeout", "0").returncode == 0


def test_the_worker_dies_meanwhile(two: Two) -> None:
    two.set_up()
    worker = two.start_worker()
    asking = two.asking("which port?", "--wait", "answered", "--timeout", LONG)
    key = two.sent()
    worker.kill()
    worker.wait()
    with two.consumer():
        until(lambda: two.seen("carol"), "it to arrive")
        assert two.bus_watch("reply", key, "6380").returncode == 0
        assert told(asking)[1]["answer"] == "6380"


def test_the_bus_is_down_meanwhile(two: Two) -> None:
    two.set_up()
    with two.consumer():
        until(lambda: two.count("select count(*) from inboxes where polled_at is not null") == 2, "the first polls")
        two.bridge.fault("status", path="/", value=503)
        started = two.bus_watch("send", "carol", "first", "--as", "alice", "--wait", "submitted", "--timeout", "0.5")
        assert started.returncode == 75
        assert "queued out-1 to carol" in started.stderr
        assert "carol: not submitted yet" in started.stderr
        asking = two.asking("second", "--wait", "submitted", "--timeout", LONG)
        until(lambda: two.count("select count(*) from outbox") == 2, "the second to be kept")
        two.bridge.clear_faults()
        status, said = told(asking)
        assert (status, said["became"]) == (0, "submitted")
        assert two.seen("carol") == ["first", "second"]


@pytest.mark.parametrize("wanted", ["submitted", "answered"])
@pytest.mark.parametrize(
    ("fields", "before", "became"),
    [
        ({}, "exit 65", "dead"),
        ({"expires_after": 1, "retry_delay": 1}, "exit 75", "expired"),
        ({}, "exit 75", "dropped"),
    ],
)
def test_it_did_not_arrive(two: Two, wanted: str, fields: dict[str, Any], before: str, became: str) -> None:
    """Though nobody reports it: sender and recipient share a ledger."""
    two.set_up(two.transport("carol", before=before, **fields), report_to_sender=False)
    with two.consumer():
        asking = two.asking("hello", "--wait", wanted, "--timeout", LONG)
        if became == "dropped":
            until(lambda: two.count("select count(*) from deliveries where state = 'retrying'"), "a try")
            assert two.bus_watch("drop", two.sent()).returncode == 0
        status, said = told(asking)
        assert (status, said["became"], said["reached"], said["answer"]) == (1, became, False, None)
        assert two.bus_watch("wait", "out-1", "--for", wanted, "--timeout", "0").returncode == 1


def test_what_was_never_sent(two: Two) -> None:
    """Refused by the bus; held, since its answer was lost; dropped while it waited."""
    two.set_up(on_unknown="hold")
    with two.consumer():
        two.bridge.fault("status", path="/send", times=1, value=400)
        assert told(two.asking("refused", "--wait", "answered"))[0] == 65
        two.bridge.fault("lost", path="/send", times=1)
        two.bridge.fault("status", path="/inbox", value=503)  # else it would be seen in carol's inbox
        status, said = told(two.asking("lost", "--wait", "submitted"))
        assert (status, said["state"]) == (76, "held")
        two.bridge.fault("status", path="/send", value=503)
        asking = two.asking("dropped", "--wait", "answered", "--timeout", LONG)
        until(lambda: two.count("select count(*) from outbox where id = 3 and state = 'retrying'"), "a try")
        assert two.bus_watch("drop", "out-3").returncode == 0
        status, said = told(asking)
        assert (status, said["became"]) == (65, "cancelled")


def test_ctrl_c_leaves_the_message_alone(two: Two) -> None:
    two.set_up()
    with two.consumer():
        asking = two.asking("hello", "--wait", "answered", "--timeout", LONG)
        two.sent()
        asking.send_signal(signal.SIGINT)
        assert told(asking) == (130, {})
        until(lambda: two.seen("carol"), "it to arrive all the same")


def test_without_a_worker_it_says_what_is_not_seen(two: Two) -> None:
    two.set_up()
    done = two.bus_watch("send", "carol", "hi", "--as", "alice", "--wait", "answered", "--timeout", "0.2")
    assert done.returncode == 75
    assert "no worker is running, so what comes back is not seen" in done.stderr
    two.bridge.fault("status", path="/", value=503)
    done = two.bus_watch("send", "carol", "hi", "--as", "alice", "--wait", "submitted", "--timeout", "0.2")
    assert done.returncode == 75
    assert "no worker is running" in done.stderr


def test_the_recipients_worker_is_asked_once_and_at_once(two: Two) -> None:
    two.set_up(lives_here=False)
    with two.consumer():
        until(lambda: two.count("select count(*) from inboxes where polled_at is not null"), "the first poll")
        asking = [two.asking("do it", "--wait", "submitted", "--timeout", LONG)]
        key = two.sent().removeprefix("carol/")
        until(lambda: len(two.bridge.seen("/send")) == 2, "the question to its worker", 20.0)
        more = [two.start("bus-watch", "wait", "out-1", "--for", "submitted") for _ in range(2)]
        stream = "sos:stream:global:agent:carol"
        two.bridge.streams.add(
            "alice", notices.report("carol", "alice", stream, key, "submitted", ""), source="agent:carol"
        )
        assert told(asking[0])[0] == 0
        assert [one.wait(90) for one in more] == [0, 0]
    assert two.count("select count(*) from outbox where kind = 'receipt'") == 1


def test_what_was_on_its_way_before_the_question_is_no_answer(two: Two) -> None:
    """Nor is what went to everybody, or to nobody in particular."""
    two.set_up(lives_here=False)
    assert two.bus_watch("run", "--once").returncode == 0
    asked = two.bus_watch("send", "carol", "which port?", "--as", "alice", "--json")
    ms = int(json.loads(asked.stdout)["id"].partition("-")[0])
    two.bridge.streams.add("alice", "good morning", source="agent:carol", ms=ms - 5)
    assert two.bus_watch("run", "--once").returncode == 0
    assert two.bus_watch("wait", "out-1", "--for", "answered", "--timeout", "0").returncode == 75
    two.bridge.streams.add("alice", "6380", source="agent:carol")
    assert two.bus_watch("run", "--once").returncode == 0
    assert two.bus_watch("wait", "out-1", "--for", "answered", "--timeout", "0").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--timeout", "5"), "--timeout is for --wait"),
        (("--wait", "answered", "--fyi"), "wakes nobody"),
        (("--wait", "submitted", "-C", "terminal-log"), "wakes nobody"),
        (("--wait", "answer"), "invalid choice"),
        (("--wait", "answered", "--timeout", "soon"), "is no duration"),
    ],
)
def test_what_makes_no_sense(two: Two, arguments: tuple[str, ...], says: str) -> None:
    two.set_up()
    done = two.bus_watch("send", "carol", "hi", "--as", "alice", *arguments)
    assert done.returncode == 64
    assert says in done.stderr
    assert not two.bridge.seen("/send")


def test_in_codexs_sandbox_the_way_out_is_named(two: Two) -> None:
    two.set_up()
    two.state.joinpath("state.db").mkdir()  # what a sandbox forbids is an error like any other
    done = two.bus_watch(
        "send", "carol", "hi", "--as", "alice", "--wait", "answered", env={"CODEX_SANDBOX": "seatbelt"}
    )
    assert done.returncode == 1
    assert "codex's sandbox" in done.stderr


def test_a_message_that_is_purged_while_somebody_waits_for_it(two: Two) -> None:
    two.set_up(two.transport("carol", before="exit 75"))
    with two.consumer():
        assert two.bus_watch("send", "carol", "hello", "--as", "alice").returncode == 0
        until(lambda: two.count("select count(*) from deliveries where state = 'retrying'"), "a try")
        waiting = two.start("bus-watch", "wait", two.sent(), "--timeout", LONG)
        assert two.bus_watch("drop", two.sent()).returncode == 0
        two.bus_watch("purge", two.sent())
        assert waiting.wait(90) in {0, 1}
        assert "Traceback" not in waiting.log()
