"""Clocks that disagree: what the ledger knows decides what is new, on every generation, with one stream and two."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fakes.bridges import FakeBridge
from tests.fakes.streams import GENERATIONS, Generation, Streams
from worker.bus.client import BusClient
from worker.configuration import load
from worker.engine import Engine
from worker.ledger.claims import Settled
from worker.ledger.sqlite import SqliteLedger

HOUR = 3600.0
DAY = 24 * HOUR


class NoQueue:
    def deliver(self, delivery: int, at: float | None) -> None: ...
    def finalize(self, message: int) -> None: ...
    def may_claim_next(self, seconds: float, after: Settled) -> bool: ...  # type: ignore[empty-body]  # never asked here


@dataclass
class Clock:
    """The true time, and by how much this clock is ahead of it."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass
class World:
    """A bridge and a worker's poller, each with a clock of its own; and what was sent once the worker had looked."""

    generation: Generation
    project: str | None
    folder: Path
    start_from: str = "24h"
    bus: Clock = field(default_factory=Clock)
    ours: Clock = field(default_factory=Clock)
    owed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bridge = FakeBridge(self.generation, clock=self.bus)
        self.bridge.__enter__()
        self.bridge.add_token("bob", token=os.environ["HOME"])
        self.client = BusClient(max_connections=2)
        self.begin()

    def begin(self) -> None:
        """A worker starts."""
        agent = {
            "agent": "bob",
            "token_env": "HOME",
            "project": self.project,
            "bridge_url": self.bridge.url,
            "announce": False,
            "requests_per_minute": 600,
            "start_from": self.start_from,
            "state_path": str(self.folder / "state.json"),
            "transports": [{"name": "t", "command": ["/bin/true"]}],
        }
        config = self.folder / "config.json"
        config.write_text(json.dumps({key: value for key, value in agent.items() if value is not None}))
        settings = load(config)
        self.db = SqliteLedger(settings.ledger_file)
        self.engine = Engine(settings=settings, db=self.db, queue=NoQueue(), bus=self.client, clock=self.ours)
        self.db.write(self.engine.register)

    def end(self) -> None:
        """The worker stops."""
        self.db.close()

    def close(self) -> None:
        self.end()
        self.client.close()
        self.bridge.__exit__(None, None, None)

    def poll(self) -> None:
        self.engine.poller.poll("bob", asked=True)

    def send(self, text: str, *, other: bool = False) -> None:
        """To the agent's stream; or, where an inbox has two, to its `other` one."""
        one = self.project if self.generation == "A" or not other else None
        self.bridge.streams.add("bob", text, project=one)
        self.owed.append(text)

    def history(self, text: str, age: float) -> None:
        """Sent long before the worker looks."""
        self.bridge.streams.add("bob", text, project=self.project, ms=int((self.bus() - age) * 1000))

    @property
    def delivered(self) -> list[str]:
        return self.db.read(lambda db: sorted(row["text"] for row in db.execute("select text from messages")))

    def settle(self, seconds: float = 10.0) -> None:
        """Poll as a worker does until all that is owed has come."""
        deadline = time.monotonic() + seconds
        self.poll()
        while self.delivered != sorted(self.owed) and time.monotonic() < deadline:
            self.poll()
        self.poll()
        assert self.delivered == sorted(self.owed)


Make = Callable[..., World]


@pytest.fixture(params=[(g, p) for g in GENERATIONS for p in (None, "acme")], ids=lambda p: f"{p[0]}-{p[1] or 'one'}")
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    worlds: list[World] = []

    def world(**fields: object) -> World:
        generation, project = request.param
        worlds.append(World(generation, project, tmp_path, **fields))  # type: ignore[arg-type]
        return worlds[-1]

    yield world
    for one in worlds:
        one.close()


@pytest.mark.parametrize("back", [30.0, 90.0, HOUR])
def test_the_bus_is_set_back(make: Make, back: float) -> None:
    world = make()
    world.history("history", 2 * DAY)
    world.send("before")
    world.settle()
    world.bus.ahead = -back
    world.send("after")
    world.send("after, on the other stream", other=True)
    world.settle()


@pytest.mark.parametrize("start_from", ["24h", "now"])
@pytest.mark.parametrize("ahead", [-HOUR, HOUR, -2 * DAY, 2 * DAY])
def test_the_bus_is_behind_or_ahead_always(make: Make, ahead: float, start_from: str) -> None:
    world = make(bus=Clock(ahead), start_from=start_from)
    world.history("history", 2 * DAY)
    world.poll()
    for number in range(3):
        world.send(f"{number}")
        world.send(f"{number}, other", other=True)
        world.settle()


def test_the_bus_is_ahead_and_then_corrected(make: Make) -> None:
    world = make(bus=Clock(HOUR))
    world.send("from the future")
    world.settle()
    world.bus.ahead = 0.0
    world.send("now")
    world.send("now, other", other=True)
    world.settle()


@pytest.mark.parametrize("behind", [0.0, HOUR, 3 * DAY])
def test_the_bus_loses_its_data(make: Make, behind: float) -> None:
    world = make(start_from="now")
    world.history("history", 60.0)
    world.poll()
    world.send("before")
    world.settle()
    world.bus.ahead = -behind
    world.bridge.streams = Streams(world.bus)
    world.send("after")
    world.settle()
    world.send("after, other", other=True)
    world.settle()


def test_our_clock_is_days_ahead_at_the_first_start(make: Make) -> None:
    world = make(ours=Clock(2 * DAY))
    world.history("history", 3 * DAY)
    world.send("an hour ago")
    world.poll()
    world.ours.ahead = 0.0
    world.send("now")
    world.settle()
    world.send("now, other", other=True)
    world.settle()


@pytest.mark.parametrize("back", [180.0, 1800.0, 3500.0, 2 * DAY])
def test_our_clock_is_set_back(make: Make, back: float) -> None:
    world = make()
    world.send("before")
    world.settle()
    world.ours.ahead = -back
    world.send("after")
    began = time.monotonic()
    while world.delivered != sorted(world.owed):  # as a worker does, who asks for nothing special
        _, due = world.engine.poller.poll("bob")
        assert due - world.ours() < 10
        threading.Event().wait(max(0.0, min(due - world.ours(), 0.2)))
        assert time.monotonic() - began < 10
    world.settle()


def test_a_new_process_finds_what_its_predecessor_could_not(make: Make) -> None:
    """Ids that came late while nobody looked, on a bus that says nothing about its clock."""
    world = make()
    world.history("history", 2 * DAY)
    world.send("before")
    world.settle()
    world.end()
    ms = int((time.time() - 7200) * 1000)
    if world.project and world.generation != "A":
        world.bridge.streams.add("bob", "late", project=None, ms=ms)
        world.owed.append("late")
    world.begin()
    world.settle()


def test_history_of_a_bus_whose_redis_was_down_stays_history(make: Make) -> None:
    """It answered our first look with an empty page."""
    world = make()
    world.history("history", 2 * DAY)
    world.bridge.fault("empty", times=2)
    world.poll()
    world.poll()
    world.send("new")
    world.settle()


@pytest.mark.parametrize("start_from", ["24h", "now"])
@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 01 Jan 1960 00:00:00 GMT", "yesterday"])
def test_a_date_that_cannot_be_says_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch, date: str, start_from: str
) -> None:
    monkeypatch.setattr("tests.fakes.bridges._Handler.date_time_string", lambda *_: date)
    world = make(start_from=start_from)
    world.history("history", 2 * DAY)
    if start_from == "24h":
        world.send("before the first look")
    world.settle()
    world.send("after it")
    world.settle()


def test_a_date_that_is_not_that_of_the_ids(make: Make) -> None:
    """A proxy's clock is an hour ahead: once a message came, ordinary polls find the next ones."""
    world = make(bus=Clock(HOUR), start_from="now")
    world.bridge.streams.clock = time.time
    world.poll()
    world.poll()
    memory = world.engine.poller._memories["bob"]
    world.send("found by looking back")
    memory.look_back._due = 0.0
    world.settle()
    for number in range(3):
        memory.look_back._due = time.monotonic() + 600
        world.send(f"{number}")
        world.poll()
        assert world.delivered == sorted(world.owed)
