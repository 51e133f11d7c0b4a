"""What every test has: hypothesis without deadlines, since this suite also runs on machines that are busy.

And the parts of a world, as fixtures: what lies behind them is in `tests/world`.
"""

import contextlib
import functools
import gc
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.fakes.buses import Bus, start_bus
from tests.fakes.measuring import measuring
from tests.fakes.serving import FakeBus
from tests.world.installation import install
from tests.world.processes import HERE
from tests.world.world import World
from worker import process_table
from worker.ledger.port import Ledger
from worker.process_table import NO_PROC_VARIABLE
from worker.terminal import processes
from worker.transports import sessions

if TYPE_CHECKING:
    from tests.world.postgres import Server

signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have what they start in the background ignore it

settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-machine")

LONG = ("faults", "bench", "ops")  # folders of tests that last long


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Thousands of tests are made, in each process, and none is garbage: neither now nor later is any looked for."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`-m alone` comes after the others: only files that hold such a test are read once more."""
    if config.option.markexpr != "alone" or not collection_path.match("test_*.py"):
        return None
    return "pytest.mark.alone" not in collection_path.read_text("utf-8") or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long tests first, shared out, where several processes run them: else the last one runs while the others idle.

    Each process begins with its share of the list, a part without gaps, and later takes what others have not begun.
    """
    processes = getattr(config, "workerinput", {}).get("workercount", 1)
    long = [item for item in items if _is_long(item)]
    short = [item for item in items if not _is_long(item)]
    share = len(items) // processes
    items[:] = []
    for number in range(processes):
        mine = long[number::processes]
        rest = max(0, share - len(mine))
        items += [*mine, *short[:rest]]
        del short[:rest]
    items += short


def _is_long(item: pytest.Item) -> bool:
    """By where it lies, or as it has been given more time than others."""
    return any(part in item.path.parts for part in LONG) or item.get_closest_marker("timeout") is not None


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that weigh or time the processes they start: what coverage adds to these is not the product's."""
    for name in measuring():
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres() -> "Iterator[Callable[[], Server]]":
    """A PostgreSQL server of this process, which is started when it is first called."""
    from tests.world.postgres import running_server

    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda: stack.enter_context(running_server()))


@pytest.fixture(params=("sqlite", "postgres"))
def open_ledger(request: pytest.FixtureRequest, postgres: "Callable[[], Server]") -> Callable[[Path], Ledger]:
    """Opens the ledger of a path: the test runs once with SQLite, once with PostgreSQL."""
    from tests.world.ledgers import opener

    return opener(request.param, postgres)


@pytest.fixture(scope="session")
def programs() -> Path:
    """Where the commands lie that a world runs: by default this environment's, which run the source."""
    return HERE


@pytest.fixture
def world_of(programs: Path) -> Iterator[Callable[[Path], World]]:
    """Makes worlds, for tests that need several."""
    with contextlib.ExitStack() as stack:
        yield lambda home: stack.enter_context(World(home, bin=programs))


@pytest.fixture
def world(world_of: Callable[[Path], World], tmp_path: Path) -> World:
    """A home of its own, in which the real commands run."""
    return world_of(tmp_path)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[World]:
    """A world with an environment of its own, as pip would make it."""
    with install(tmp_path) as world:
        yield world


@pytest.fixture
def without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes `/proc` away from this process and what it starts: what they do then is what they do on other systems."""
    monkeypatch.setenv(NO_PROC_VARIABLE, "1")
    for module in (process_table, sessions, processes):
        monkeypatch.setattr(module, "HAS_PROC", False)


@pytest.fixture(params=["proc", "no-proc"])
def both_ways(request: pytest.FixtureRequest) -> None:
    """Runs a test with `/proc`, and without it."""
    if request.param == "no-proc":
        request.getfixturevalue("without_proc")


@pytest.fixture
def bridge_of() -> Iterator[Callable[[Bus], FakeBus]]:
    """Starts bridges, or other buses, on free ports."""
    with contextlib.ExitStack() as stack:
        yield lambda bus: stack.enter_context(start_bus(bus))
