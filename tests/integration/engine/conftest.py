"""Every engine test holds for both kinds of ledger, but those that are about a file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.world.engine import Rig
from worker.ledger.port import Ledger


@pytest.fixture
def either_ledger(open_ledger: Callable[[Path], Ledger], monkeypatch: pytest.MonkeyPatch) -> None:
    """The rigs of this test have a ledger of the one kind, then of the other."""
    monkeypatch.setattr(Rig, "opened_by", staticmethod(open_ledger))
