"""Acceptance tests run what is installed: from the wheel, under `ops/test`."""

from pathlib import Path

import pytest

from tests.world.processes import INSTALLED


@pytest.fixture(scope="session")
def programs() -> Path:
    return INSTALLED
