"""Clocks that disagree: what the ledger knows decides what is new, on every kind of bus, with one stream and two."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.buses import BUSES, Bus
from tests.world.polled import Clock, Polled

HOUR = 3600.0
DAY = 24 * HOUR

Make = Callable[..., Polled]


WORLDS: list[tuple[Bus, str | None]] = [(b, p) for b in BUSES for p in (None, "acme") if (b, p) != ("mupot", "acme")]


@pytest.fixture(params=WORLDS, ids=lambda p: f"{p[0]}-{p[1] or 'one'}")
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    worlds: list[Polled] = []

    def world(**fields: object) -> Polled:
        kind, project = request.param
        worlds.append(Polled(kind, project, tmp_path, **fields))  # type: ignore[arg-type]
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
    world.bridge.streams = type(world.bridge.streams)(world.bus)
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
    if world.project and world.kind != "A":
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
    monkeypatch.setattr("tests.fakes.serving.FakeHandler.date_time_string", lambda *_: date)
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
