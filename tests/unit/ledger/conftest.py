"""A new ledger for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.ledger import intake
from worker.ledger.sqlite import SqliteLedger


@pytest.fixture
def db(tmp_path: Path) -> Iterator[SqliteLedger]:
    found = SqliteLedger(tmp_path / "ledger.db")
    found.write(lambda tx: intake.ensure_inbox(tx, "a", 0))
    yield found
    found.close()
