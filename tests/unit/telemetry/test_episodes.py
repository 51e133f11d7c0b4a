"""Where an episode of trouble begins, told from the ledger: at the first failure after a success."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.bus.wire import InboxMessage
from worker.delivery import Ending, RetryPolicy
from worker.ledger import claims, intake, settling
from worker.ledger.claims import Claim, NotClaimed
from worker.ledger.groups import LaneSettings
from worker.ledger.sqlite import SqliteLedger

NOW = 1_795_000_000.0


class Lane:
    """One lane of a real ledger; each `end` claims its next delivery and settles it."""

    def __init__(self, path: Path) -> None:
        self.db = SqliteLedger(path / "ledger.db")
        self.now = NOW
        self.db.write(lambda tx: intake.ensure_inbox(tx, "bob", 0))

    def message(self) -> None:
        ms = int(self.now * 1000)
        message = InboxMessage("s", f"{ms}-0", ms, 0, "agent:alice", "text", None, None, None)
        self.db.write(lambda tx: intake.take_in(tx, "bob", [message], lambda _: (None, ["wake"]), self.now))

    def claim(self, rules: LaneSettings | None = None) -> Claim | NotClaimed:
        self.now += 1000.0
        pending = "select id from deliveries where state in ('waiting', 'retrying') order by id"
        delivery = self.db.read(lambda db: db.execute(pending).fetchone()["id"])
        return self.db.write(
            lambda tx: claims.claim(
                tx,
                claims.this(delivery),
                attempt_id=claims.new_attempt_id(self.now),
                worker="w",
                boot_id="b",
                settings=lambda *_: rules or LaneSettings(),
                now=self.now,
            )
        )

    def end(self, ending: Ending) -> bool:
        """Whether this ending began an episode."""
        claim = self.claim()
        assert isinstance(claim, Claim)
        settled = self.db.write(
            lambda tx: settling.settle(
                tx, claim.delivery, claim.attempt_id, ending, RetryPolicy(), now=self.now + 1, rng=random.Random(1)
            )
        )
        assert settled is not None
        assert (settled.agent, settled.message_id) == ("bob", claim.message_id)
        return settled.began_failing


@pytest.fixture
def lane(tmp_path: Path) -> Iterator[Lane]:
    made = Lane(tmp_path)
    made.message()
    yield made
    made.db.close()


FAILS = Ending("exit", 1, "words of the transport")
DEFERRED = Ending("exit", 75, "a person types")
WORKS = Ending("exit", 0)


def test_an_episode_begins_once_and_lasts_until_a_success(lane: Lane) -> None:
    assert [lane.end(FAILS), lane.end(Ending("timeout")), lane.end(Ending("signal", 9))] == [True, False, False]
    assert lane.end(WORKS) is False
    lane.message()
    assert [lane.end(FAILS), lane.end(FAILS)] == [True, False]


def test_being_held_back_neither_begins_nor_ends_one(lane: Lane) -> None:
    assert lane.end(DEFERRED) is False
    assert lane.end(FAILS) is True
    assert lane.end(DEFERRED) is False
    assert lane.end(FAILS) is False


def test_what_never_started_begins_none(lane: Lane) -> None:
    assert lane.end(Ending("void")) is False


def test_an_expired_delivery_says_which_it_was(lane: Lane) -> None:
    refusal = lane.claim(LaneSettings(expires_after=1.0))
    assert isinstance(refusal, NotClaimed)
    assert refusal.expired is not None
    agent, transport, message_id = refusal.expired
    assert (agent, transport) == ("bob", "wake")
    assert message_id.endswith("-0")
