"""Two agents that answer each other's thanks end by themselves, and nothing of it is lost."""

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.bridges import FakeBridge
from tests.fakes.inbox import message
from tests.fakes.streams import Generation
from worker import notices
from worker.bus.client import BusClient
from worker.doctor.troubles import Trouble, troubles
from worker.engine.identity import Identity
from worker.engine.inboxes import Inboxes
from worker.engine.outbox import Outbox
from worker.ledger import intake, outbox
from worker.ledger.port import Tx
from worker.ledger.sqlite import SqliteLedger
from worker.outgoing import Next, Sending
from worker.settings import AgentSettings, Settings

NOW = 1_795_300_100.0


class _Hurried(threading.Event):
    """No pauses for a token's budget."""

    def wait(self, timeout: float | None = None) -> bool:
        return False


class Pair:
    """Bob's side of a conversation with alice; time stands still unless a test moves it."""

    def __init__(self, home: Path, bridge: FakeBridge, **agent: object) -> None:
        token = bridge.add_token("bob")
        settings = {"agent": "bob", "token": token, "bridge_url": bridge.url, "requests_per_minute": 600, **agent}
        self.db = SqliteLedger(home / "ledger.db")
        self.now = NOW
        self.bridge = bridge
        self._seq = 0
        bob = AgentSettings.model_validate(settings)
        self.sender = Outbox(
            settings=Settings(agents=(bob,), state_path=str(home / "ledger.db"), config_path=home / "config.json"),
            db=self.db,
            identity=Identity(home, "send"),
            inboxes=Inboxes(BusClient(), home / "config.json"),
            clock=lambda: self.now,
            rng=random.Random(1),
            redact=str,
            stopping=threading.Event(),
        )
        self.sender.stopping = _Hurried()

    def comes(self, source: str = "agent:alice", message_class: str | None = None, text: str = "hello") -> None:
        """A message comes to bob."""
        self._seq += 1
        one = message(int(self.now * 1000), self._seq, source=source, text=text)
        self.db.write(lambda tx: intake.take_in(tx, "bob", [one], lambda _: (message_class, []), self.now))

    def troubles(self) -> list[Trouble]:
        """What `status` says of the outbox and of brakes."""
        settings = self.sender.settings
        return [one for one in self.db.read(lambda db: troubles(db, settings, [], [], self.now)) if "from" in one.about]

    def notices(self) -> list[str]:
        """Send what bob's worker has to tell alice's; all that it has told."""
        for head in self.db.read(outbox.heads):
            if self.db.read(lambda db, head=head: outbox.find(db, head.id)["kind"]) == "report":  # type: ignore[misc]
                self.sender.send(head)
        rows = self.db.read(lambda db: outbox.history(db, (), 100))
        return [row["text"] for row in rows if (row["kind"], row["state"]) == ("report", "sent")]

    def answers(self) -> Next:
        """Bob answers; what became of it."""
        self.now += 0.01
        self.notices()
        self.db.write(lambda tx: outbox.put(tx, "bob", "alice", "thanks!", kind="message", now=self.now))
        (head,) = self.db.read(outbox.heads)
        found = self.sender.send(head)
        assert found is not None
        return found


@pytest.fixture
def pair_of(tmp_path: Path, bridge_of: Callable[[Generation], FakeBridge]) -> Iterator[Callable[..., Pair]]:
    made: list[Pair] = []

    def make(**agent: object) -> Pair:
        made.append(Pair(tmp_path, bridge_of("C"), **agent))
        return made[-1]

    yield make
    for pair in made:
        pair.db.close()
        pair.sender.inboxes.close()


def test_a_loop_ends_and_nothing_is_lost(pair_of: Callable[..., Pair]) -> None:
    pair = pair_of(brake_after=6)
    for _ in range(3):
        pair.comes()
        assert pair.answers().state is Sending.SENT
    pair.comes()
    held = pair.answers()
    assert held.state is Sending.HELD
    assert "brake: 7 messages with alice in 10 min" in held.reason
    number = next(row["id"] for row in pair.db.read(lambda db: outbox.unsent(db, 9)) if row["state"] == "held")
    assert pair.notices() == ["[bob -> alice class=terminal-log] bus-watch brake: 7 messages in 600 s"]
    assert pair.answers().state is Sending.HELD
    assert len(pair.notices()) == 1, "alice's owner is told once"
    assert pair.db.write(lambda tx: outbox.retry(tx, number)) == (True, "was held, waits again")
    (head,) = pair.db.read(outbox.heads)
    found = pair.sender.send(head)
    assert found is not None
    assert found.state is Sending.SENT, "a person said so"


def test_the_other_owner_s_status_says_so(pair_of: Callable[..., Pair]) -> None:
    """What bob's worker hears from alice's; nobody else is believed, and where both are ours `held` says it all."""
    pair = pair_of()
    told = notices.brake("alice", "bob", 30, 600.0)
    for number, (source, text) in enumerate([("agent:eve", told), ("agent:eve", told.replace("alice", "eve2"))]):
        pair.comes(source, "terminal-log", text)
        assert pair.troubles() == [], number
    pair.comes("agent:alice", "terminal-log", told)
    pair.comes("agent:alice", "terminal-log", told)
    (trouble,) = pair.troubles()
    assert trouble.about == "bob from alice"
    assert "30 messages in 10 min and none of a human's" in trouble.words
    pair.now += 3601
    assert pair.troubles() == []


def test_one_whose_answer_was_lost_is_not_sent_again_if_it_is_seen_to_have_come(pair_of: Callable[..., Pair]) -> None:
    pair = pair_of()
    pair.bridge.add_token("alice")

    def watched(tx: Tx) -> None:
        intake.ensure_inbox(tx, "alice")
        tx.execute("update inboxes set polled_at = 1 where agent = 'alice'")

    pair.db.write(watched)
    pair.bridge.fault("close", path="/send", times=1)
    lost = pair.answers()
    assert lost.state is Sending.RETRYING
    assert lost.delay >= 6
    came = message(int(pair.now * 1000), 0, source="agent:bob", stream="s", text="thanks!")
    pair.db.write(lambda tx: intake.take_in(tx, "alice", [came], lambda _: (None, []), pair.now))
    pair.now += lost.delay
    (head,) = pair.db.read(outbox.heads)
    found = pair.sender.send(head)
    assert found is not None
    assert found.state is Sending.SENT
    assert pair.db.read(lambda db: outbox.find(db, head.id))["message_id"] == came.message_id
    assert len(pair.bridge.seen("/send")) == 1


def test_a_human_word_or_some_time_lets_them_go_on(pair_of: Callable[..., Pair]) -> None:
    pair = pair_of(brake_after=2)
    pair.comes()
    pair.comes()
    assert pair.answers().state is Sending.HELD
    pair.comes(message_class="human")
    assert pair.answers().state is Sending.SENT
    pair.now += 601
    pair.comes()
    assert pair.answers().state is Sending.SENT


def test_what_wakes_nobody_is_no_exchange_and_null_is_never(pair_of: Callable[..., Pair]) -> None:
    pair = pair_of(brake_after=2)
    for _ in range(5):
        pair.comes(message_class="terminal-log")
    assert pair.answers().state is Sending.SENT
    unbraked = pair_of(brake_after=None)
    for _ in range(40):
        unbraked.comes()
    assert unbraked.answers().state is Sending.SENT
