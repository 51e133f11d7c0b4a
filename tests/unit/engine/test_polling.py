"""When an inbox is polled, how often at most, and who does it; on a clock of its own."""

import dataclasses
import itertools
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.fakes.bridges import FakeBridge
from tests.fakes.streams import Generation, Streams
from worker.bus.client import BusClient
from worker.bus.errors import BusError, IdentityError, RateLimitedError
from worker.bus.requests import Endpoint
from worker.bus.source import Collected, KnownInbox
from worker.bus.wire import InboxMessage
from worker.configuration import load
from worker.engine import Engine
from worker.engine.turns import YOUNG_SECONDS
from worker.ledger.settling import Settled
from worker.ledger.sqlite import SqliteLedger

START = 1_795_300_000.0


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class NoWaiting(threading.Event):
    """The engine's stop flag: whoever waits for it moves the clock instead."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        self._clock.now += timeout or 0.0
        return False


@dataclass
class Bus:
    """Answers with what lies ready, by `pages` requests, and remembers when each was made."""

    clock: Clock
    requests: list[float] = field(default_factory=list)
    ready: list[InboxMessage] = field(default_factory=list)
    pages: int = 1
    failure: BusError | None = None
    acks: bool = False

    def collect(self, endpoint: Endpoint, seen: KnownInbox, turn: Callable[[], None]) -> Collected:
        for _ in range(self.pages):
            turn()
            self.requests.append(self.clock.now)
        if self.failure is not None:
            raise self.failure
        messages, self.ready = self.ready, []
        return Collected(tuple(messages), (), self.pages)

    def ack(self, endpoint: Endpoint, messages: Sequence[InboxMessage], turn: Callable[[], None]) -> None:
        if self.acks:
            turn()
            self.requests.append(self.clock.now)

    def close(self) -> None:
        """Nothing is open."""


class NoQueue:
    def deliver(self, delivery: int, at: float | None) -> None: ...
    def finalize(self, message: int) -> None: ...
    def may_claim_next(self, seconds: float, after: Settled) -> bool: ...  # type: ignore[empty-body]  # never asked here


Make = Callable[..., Engine]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@dataclass
class Bell:
    """A doorbell that is trusted, or not; `polled` notes what polls told it."""

    proven: bool = False
    brought: list[bool] = field(default_factory=list)

    def is_proven(self, agent: str) -> bool:
        assert agent == "bob"
        return self.proven

    def polled(self, agent: str, began: float, *, brought: bool) -> None:
        assert (agent, began > 0) == ("bob", True)
        self.brought.append(brought)


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def make(tmp_path: Path, clock: Clock, bell: Bell) -> Iterator[Make]:
    """Makes workers on one ledger."""
    databases: list[SqliteLedger] = []

    def engine(bus: Any, **fields: Any) -> Engine:
        config = tmp_path / "config.json"
        agent = {"agent": "bob", "token_env": "HOME", "transports": [{"name": "t", "command": ["/bin/true"]}]}
        config.write_text(json.dumps(agent | {"state_path": str(tmp_path / "state.json")} | fields))
        settings = load(config)
        databases.append(SqliteLedger(settings.ledger_file))
        made = Engine(
            settings=settings,
            db=databases[-1],
            queue=NoQueue(),
            bus=cast("BusClient", bus),
            clock=clock,
            stopping=NoWaiting(clock),
        )
        made.db.write(made.register)
        made.poller.turns.trust = bell
        return made

    yield engine
    for database in databases:
        database.close()


def message(clock: Clock) -> InboxMessage:
    ms = int(clock.now * 1000)
    return InboxMessage("s", f"{ms}-0", ms, 0, "agent:alice", "x", None, None, None)


def most_in_a_minute(times: Sequence[float]) -> int:
    return max(sum(first <= at < first + 60.0 for at in times) for first in times)


@pytest.mark.parametrize("per_minute", [120, 60, 30, 10, 2, 1])
def test_never_more_requests_in_any_minute_than_the_token_may_make(make: Make, clock: Clock, per_minute: int) -> None:
    """Two workers, a doorbell that rings all the time, polls of one to three requests."""
    bus = Bus(clock)
    workers = [make(bus, requests_per_minute=per_minute, poll_interval=1) for _ in range(2)]
    rng = random.Random(per_minute)
    while len(bus.requests) < max(2 * per_minute, 20) and clock.now < START + 900:
        bus.pages = rng.choice([1, 1, 2, 3])
        if rng.random() < 0.3:
            bus.ready = [message(clock)]
        rng.choice(workers).poller.poll("bob", rung=rng.random() < 0.5)
        clock.now += rng.choice([0.0, 0.1, 3.0])
    assert len(bus.requests) > per_minute
    assert most_in_a_minute(bus.requests) <= per_minute


def test_the_rhythm_after_activity_and_back(make: Make, clock: Clock) -> None:
    bus = Bus(clock)
    worker = make(bus)

    def gaps(seconds: float) -> list[float]:
        """The gaps between the polls that are made in so many seconds by somebody who comes when it is due."""
        until, times = clock.now + seconds, []
        while clock.now < until:
            times.append(clock.now)
            _, due = worker.poller.poll("bob")
            clock.now = max(clock.now, due)
        return [round(after - before, 2) for before, after in itertools.pairwise(times)]

    assert set(gaps(60)) == {3.0}
    bus.ready = [message(clock)]
    active = gaps(14)
    assert set(active) == {1.1}
    assert set(gaps(60)[3:]) == {3.0}


def test_a_second_worker_adds_no_polls(make: Make, clock: Clock) -> None:
    bus = Bus(clock)
    workers = [make(bus) for _ in range(2)]
    end = clock.now + 300
    while clock.now < end:
        due = [worker.poller.poll("bob")[1] for worker in workers]
        clock.now = max(clock.now + 0.01, min(due))
    assert 99 <= len(bus.requests) <= 101


def test_polls_are_rare_while_the_doorbell_is_proven_and_no_longer(make: Make, clock: Clock, bell: Bell) -> None:
    worker = make(Bus(clock))
    bell.proven = True
    due = worker.poller.poll("bob")[1]
    assert 54 <= due - clock.now <= 58
    clock.now += 10
    bell.proven = False  # its connection has ended
    assert worker.poller.poll("bob")[0] is not None
    assert worker.poller.poll("bob")[1] - clock.now == pytest.approx(3.0)


def test_broadcasts_may_be_wanted_sooner_and_never_sooner_than_polls(make: Make, clock: Clock, bell: Bell) -> None:
    bell.proven = True
    worker = make(Bus(clock), broadcast_wait="8s")
    assert 6 <= worker.poller.poll("bob")[1] - clock.now <= 8
    worker.db.write(worker._note_stop)
    worker = make(Bus(clock), broadcast_wait="8s", poll_interval=20)
    clock.now += 60
    assert worker.poller.poll("bob")[1] - clock.now == pytest.approx(20)


def test_a_refusing_bus_is_left_alone_though_its_doorbell_is_not_proven(make: Make, clock: Clock) -> None:
    bus = Bus(clock, failure=IdentityError("another agent's"))
    worker = make(bus)
    worker.poller.poll("bob")
    clock.now += 10
    assert worker.poller.poll("bob")[0] is None
    assert len(bus.requests) == 1


def test_only_what_should_ring_is_told_to_the_doorbell(make: Make, clock: Clock, bell: Bell) -> None:
    bus = Bus(clock)
    worker = make(bus)
    for stream in ("sos:stream:global:broadcast", "sos:stream:global:agent:bob", "sos:stream:project:p:agent:bob"):
        bus.ready = [dataclasses.replace(message(clock), stream=stream)]
        worker.poller.poll("bob")
        clock.now += 5
    worker.poller.poll("bob")
    assert bell.brought == [False, True, True, False]


def commits(worker: Engine) -> object:
    """Changes with each commit, of whichever connection."""
    return worker.db.read(lambda db: db.execute("pragma data_version").fetchone()[0])


def test_an_empty_poll_writes_nothing(make: Make, clock: Clock) -> None:
    """But the first few, while the lease is young; and once in a while one renews it."""
    bus = Bus(clock)
    worker = make(bus)
    for _ in range(12):
        worker.poller.poll("bob")
        clock.now += 3.0
    before = commits(worker)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.db, "write_all", lambda _: pytest.fail("it asks for the write lock"))
        for _ in range(50):
            clock.now += 3.0
            assert worker.poller.poll("bob")[0] is not None
    assert commits(worker) == before
    bus.ready = [message(clock)]
    clock.now += 3.0
    worker.poller.poll("bob")
    assert commits(worker) != before


def test_a_bus_that_keeps_failing_is_written_down_ever_more_rarely(make: Make, clock: Clock) -> None:
    bus = Bus(clock, failure=BusError("down"))
    worker = make(bus)
    changed, last, polls = 0, commits(worker), 0
    while clock.now < START + 600:
        _, due = worker.poller.poll("bob")
        polls += 1
        changed += commits(worker) != last and clock.now > START + YOUNG_SECONDS
        last = commits(worker)
        clock.now = max(clock.now, due)
    assert polls > 100
    assert changed <= 12
    row = worker.db.read(lambda db: db.execute("select failures, failing_since, error from inboxes").fetchone())
    assert row["failures"] >= polls / 2
    assert (row["failing_since"], row["error"]) == (pytest.approx(START, abs=2), "down")
    bus.failure = None
    worker.poller.poll("bob")
    row = worker.db.read(lambda db: db.execute("select failures, failing_since, error from inboxes").fetchone())
    assert tuple(row) == (0, None, None)


def test_a_worker_that_stopped_or_was_killed_is_followed_at_once(make: Make, clock: Clock) -> None:
    bus = Bus(clock)
    first, second, third = (make(bus) for _ in range(3))
    first.poller.poll("bob")
    clock.now += 5
    assert second.poller.poll("bob")[0] is None  # the first one has it
    first.identity.take_lock()
    first.db.write(first._note_stop)
    assert second.poller.poll("bob")[0] is not None
    clock.now += 30
    assert third.poller.poll("bob")[0] is None
    second.identity.take_lock()
    assert third.poller.poll("bob")[0] is None
    os.close(cast("int", second.identity._lock))  # killed: its lock is there, and nobody holds it
    requests = len(bus.requests)
    third.poller.poll("bob")
    clock.now += 2
    third.poller.poll("bob")
    assert len(bus.requests) == requests + 1
    assert first.poller.poll("bob")[0] is None


def test_a_worker_that_says_nothing_loses_its_inboxes(make: Make, clock: Clock) -> None:
    bus = Bus(clock)
    first, second = (make(bus) for _ in range(2))
    first.poller.poll("bob")
    clock.now += 299
    assert second.poller.poll("bob")[0] is None
    clock.now += 2
    assert second.poller.poll("bob")[0] is not None
    assert first.poller.poll("bob", rung=True)[0] is None


@pytest.mark.parametrize("lives", [0.5, 2.0, 16.0, 32.0])
def test_a_worker_that_is_killed_again_and_again_keeps_the_budget(make: Make, clock: Clock, lives: float) -> None:
    """Rung for all the time, and never told to stop."""
    bus = Bus(clock)
    while clock.now < START + 240:
        worker = make(bus)
        worker.identity.take_lock()
        until = clock.now + lives
        while clock.now < until:
            worker.poller.poll("bob", rung=True)
            clock.now += 0.1
        os.close(cast("int", worker.identity._lock))
    assert len(bus.requests) > 150  # however soon it is killed, it gets something done
    assert most_in_a_minute(bus.requests) <= 60


def test_a_ring_does_not_wait_for_the_rhythm(make: Make, clock: Clock) -> None:
    bus = Bus(clock)
    worker = make(bus)
    worker.poller.poll("bob")
    clock.now += 0.2
    assert worker.poller.poll("bob")[0] is None
    assert worker.poller.poll("bob", rung=True)[0] is not None


@pytest.mark.parametrize(
    ("failure", "least"),
    [(IdentityError("another agent's"), 50.0), (RateLimitedError("slower", retry_after=90), 90.0)],
)
def test_a_ring_waits_for_a_bus_that_refused_and_a_person_does_not(
    make: Make, clock: Clock, failure: BusError, least: float
) -> None:
    bus = Bus(clock, failure=failure)
    worker = make(bus)
    _, due = worker.poller.poll("bob")
    assert due - clock.now >= least
    clock.now += 10
    assert worker.poller.poll("bob", rung=True) == (None, due)
    assert len(bus.requests) == 1
    bus.failure = None
    assert worker.poller.poll("bob", asked=True)[0] is not None
    assert len(bus.requests) == 2


def test_a_clock_that_is_set_back_silences_nothing(make: Make, clock: Clock) -> None:
    bus = Bus(clock)
    worker = make(bus)
    worker.poller.poll("bob")
    clock.now -= 86400
    assert worker.poller.poll("bob")[0] is not None
    assert clock.now < START - 86400 + 120


def test_an_hour_of_empty_answers_loses_nothing(make: Make, clock: Clock) -> None:
    """B and C answer so while Redis is down: no proof that the inbox is empty. A real bridge, an hour in seconds."""
    with FakeBridge("B", clock=clock) as bridge, BusClient(max_connections=2) as client:
        bridge.add_token("bob", token=os.environ["HOME"])  # token_env names it
        worker = make(client, bridge_url=bridge.url, announce=False, poll_interval=10)
        for _ in range(25):
            bridge.streams.add("bob", "before", ms=int(clock.now * 1000))
        bridge.fault("empty")
        polls = 0
        while clock.now < START + 3600:
            taken, due = worker.poller.poll("bob")
            assert taken is not None
            assert taken.new == 0
            polls += 1
            clock.now = max(clock.now, due)
        assert 355 <= polls <= 365
        bridge.streams.add("bob", "after", ms=int(clock.now * 1000))
        bridge.clear_faults()
        taken, due = worker.poller.poll("bob")
        assert due - clock.now < 15
        assert taken is not None
        assert taken.new == 26


def test_a_message_wakes_its_lane_once_it_is_in_the_ledger(make: Make, clock: Clock) -> None:
    bus = Bus(clock, ready=[message(clock)])
    worker = make(bus)
    woken: list[tuple[int, int]] = []

    def deliver(delivery: int, at: float | None) -> None:
        (count,) = worker.db.read(lambda db: db.execute("select count(*) from deliveries").fetchone())
        woken.append((delivery, count))

    worker.wake_ups.queue = cast("Any", SimpleNamespace(deliver=deliver))
    worker.poller.poll("bob")
    assert woken == [(1, 1)]


def undated(clock: Clock, make: Make, client: BusClient, bridge: FakeBridge) -> Engine:
    """A worker that has looked at the inbox of a bus that says nothing about its clock, and has one message of it."""
    bridge.dated = False
    bridge.add_token("bob", token=os.environ["HOME"])
    worker = make(client, bridge_url=bridge.url, announce=False)
    for number in range(3):
        bridge.streams.add("bob", f"before {number}", ms=int(clock.now * 1000) - 400_000 + 180_000 * number)
    worker.poller.poll("bob")
    clock.now += 60
    return worker


@pytest.mark.parametrize("generation", ["B", "C"])
def test_a_ring_that_a_poll_does_not_confirm_is_looked_for_at_once(
    make: Make, clock: Clock, generation: Generation
) -> None:
    """The bus's clock was set back five minutes, and its answers have no Date. Then its bell lies."""
    with FakeBridge(generation, clock=clock) as bridge, BusClient(max_connections=2) as client:
        worker = undated(clock, make, client, bridge)
        for number in range(3):
            bridge.streams = Streams(clock)  # as a bus that lost its data and its time
            bridge.streams.add("bob", f"after {number}", ms=int(clock.now * 1000) - 300_000 + number)
            taken, _ = worker.poller.poll("bob", rung=True)
            assert taken is not None
            assert taken.new == 1
            clock.now += 20
        bridge.requests.clear()
        for _ in range(3):
            worker.poller.poll("bob", rung=True)
            clock.now += 20
        assert [query["since"] == "0-0" for query in (request.query for request in bridge.requests)] == [
            False,
            True,  # nothing is there: from now on it is looked for when the cost allows
            False,
            False,
        ]


def test_what_hides_behind_a_message_that_came_is_found_soon(
    make: Make, clock: Clock, bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.engine.look_back.SHORTEST_SECONDS", 0.2)
    bell.proven = True
    with FakeBridge("C", clock=clock) as bridge, BusClient(max_connections=2) as client:
        worker = undated(clock, make, client, bridge)
        worker.poller._memories["bob"].look_back._due = time.monotonic() + 600  # it has been quiet for long
        worker.poller._memories["bob"].look_back._not_before = 0.0
        bridge.streams.add("bob", "after", project=None, ms=int(clock.now * 1000))
        taken, due = worker.poller.poll("bob", rung=True)
        assert taken is not None
        assert taken.new == 1
        assert due - clock.now <= 3.0
        bridge.streams = Streams(clock)
        bridge.streams.add("bob", "late", ms=int(clock.now * 1000) - 300_000)
        clock.now = due
        threading.Event().wait(0.25)
        taken, due = worker.poller.poll("bob")
        assert taken is not None
        assert taken.new == 1
        clock.now += 20
        assert worker.poller.poll("bob", rung=False)[1] - clock.now > 3.0


def test_an_entry_that_is_no_message_is_said_once(make: Make, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """It lies among what each poll brings again: neither the log nor `status` may say for ever that it just came."""
    with FakeBridge("C", clock=clock) as bridge, BusClient(max_connections=2) as client:
        bridge.add_token("bob", token=os.environ["HOME"])
        worker = make(client, bridge_url=bridge.url, announce=False)

        def polls(times: int) -> tuple[int, int, float]:
            """How often it was said; how many there were, and when."""
            caplog.clear()
            for _ in range(times):
                assert worker.poller.poll("bob")[0] is not None
                clock.now += 5
            row = worker.db.read(lambda db: db.execute("select malformed, malformed_at from inboxes").fetchone())
            return sum("is no message" in record.message for record in caplog.records), row[0], row[1]

        bridge.streams.add("bob", "", raw=None)
        bridge.streams.add("bob", "", raw={"no": "id"})
        said, count, first = polls(8)
        assert (said, count) == (2, 2)
        bridge.streams.add("bob", "", raw={"no": "id", "either": 1})
        bridge.streams.add("bob", "a message beside it")
        said, count, then = polls(3)
        assert (said, count) == (1, 3)
        assert then > first
        before = commits(worker)
        assert polls(3) == (0, 3, then)
        assert commits(worker) == before
        clock.now += 4000
        bridge.streams.add("bob", "", raw="late")
        assert polls(1)[:2] == (1, 1), "those of an hour ago count no more"
