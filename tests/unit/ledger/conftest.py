"""A new ledger for each test, of each kind."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from worker.ledger import intake
from worker.ledger.port import Ledger
from worker.ledger.sqlite import SqliteLedger


@pytest.fixture
def db(open_ledger: Callable[[Path], Ledger], tmp_path: Path) -> Iterator[Ledger]:
    found = open_ledger(tmp_path / "ledger.db")
    found.write(lambda tx: intake.ensure_inbox(tx, "a", 0))
    yield found
    found.close()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SqliteLedger]:
    """One that is a file."""
    found = SqliteLedger(tmp_path / "ledger.db")
    found.write(lambda tx: intake.ensure_inbox(tx, "a", 0))
    yield found
    found.close()
