"""What stands at the place of the ledger, or of its queue, and is no file."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Desk
from worker.configuration import load

Make = Callable[[Path], object]


@pytest.mark.parametrize("suffix", [".db", "-queue.db"])
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/nowhere")])
def test_what_stands_in_the_way_of_the_ledger_is_named(empty_desk: Desk, suffix: str, make: Make) -> None:
    place = load(empty_desk.config).ledger_file
    place = place.with_name(place.stem + suffix)
    make(place)
    said = empty_desk.run("doctor", "--offline")
    assert f"FAIL ledger: {place} should be the ledger, but it is" in said.out
    if suffix == ".db":
        (problem,) = empty_desk.run("status", "--json").json["problems"]
        assert problem.startswith(f"{place} should be the ledger, but it is")
