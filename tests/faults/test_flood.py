"""A flood, through the whole worker: the short form of `ops/faults flood`."""

from pathlib import Path

import pytest

from tests.faults.flood import flood


@pytest.mark.parametrize("online", [False, True], ids=["offline", "online"])
def test_long_messages_are_all_delivered_in_order(tmp_path: Path, online: bool) -> None:
    found = flood(tmp_path, messages=1150, size=16_000, online=online, patience=300.0)
    assert not found.wrong, found.words()
