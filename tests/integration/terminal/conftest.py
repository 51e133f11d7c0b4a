"""The terminal tests' fixtures; what they are made of lies in `tests.fakes.terminals`."""

from collections.abc import Iterator

import pytest

from tests.fakes.terminals import Sshd, Terminal, loopback_sshd, private_terminal


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with private_terminal() as made:
        yield made


@pytest.fixture(scope="session")
def sshd() -> Iterator[Sshd]:
    with loopback_sshd() as made:
        yield made
