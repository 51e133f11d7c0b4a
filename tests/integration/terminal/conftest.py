"""The terminal tests' fixtures; what they are made of lies in `tests.fakes.terminals`."""

from collections.abc import Iterator

import pytest

from tests.fakes.channels import WORLDS, World
from tests.fakes.terminals import Sshd, Terminal, loopback_sshd, private_terminal


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    with private_terminal() as made:
        monkeypatch.setenv("HOME", str(made.home))  # what is noted there is the test's, not the person's
        yield made


@pytest.fixture(scope="session")
def sshd() -> Iterator[Sshd]:
    with loopback_sshd() as made:
        yield made


@pytest.fixture(params=WORLDS, ids=lambda one: one.name)
def world(request: pytest.FixtureRequest, terminal: Terminal) -> Iterator[World]:
    made: World = request.param(terminal)
    yield made
    made.close()
