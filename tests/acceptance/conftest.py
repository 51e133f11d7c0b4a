"""Fixtures of the acceptance tests: a world of its own for each, and bridges that close with the test."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.world import World
from tests.fakes.bridges import FakeBridge
from tests.fakes.streams import Generation


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def bridge_of() -> Iterator[Callable[[Generation], FakeBridge]]:
    """Starts bridges on free ports."""
    with contextlib.ExitStack() as stack:
        yield lambda generation: stack.enter_context(FakeBridge(generation))
