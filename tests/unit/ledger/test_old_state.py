"""The old watcher's ledger, taken over once, however it was left."""

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.ledgers import first_look
from worker.bus.wire import InboxMessage
from worker.configuration import load
from worker.ledger import old_state
from worker.ledger.old_state import import_old_state
from worker.ledger.sqlite import SqliteLedger

STREAM = "sos:stream:global:agent:bob"
Import = Callable[..., int]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(
        json.dumps({"agent": "bob", "state_path": str(tmp_path / "state.json"), "start_from": "all"})
    )
    return tmp_path / "state.json"


def take_over(state: Path) -> tuple[int, set[str]]:
    """Import; the number of ids, and which of some messages are known afterwards."""
    database = SqliteLedger(state.with_suffix(".db"))
    try:
        settings = load(state.with_name("config.json"))
        count = import_old_state(database, settings)
        messages = [message(ms) for ms in (100, 200, 201, 300, 301, 400)]
        known = first_look(database, "bob", start_from=settings.start_from).known(messages)
    finally:
        database.close()
    return count, {name for _, name in known}


def message(ms: int) -> InboxMessage:
    return InboxMessage(STREAM, f"{ms}-0", ms, 0, "agent:alice", "x", None, None, None)


def test_its_ids_never_run_again_and_nothing_older_than_the_oldest(state: Path) -> None:
    content = json.dumps({"delivered": ["300-0", "200-0"]})
    state.write_text(content)
    assert take_over(state) == (2, {"100-0", "200-0", "300-0"})
    assert state.read_text() == content, "the old file stays as it was"


def test_it_is_taken_over_once(state: Path) -> None:
    state.write_text('{"delivered": ["200-0"]}')
    assert take_over(state)[0] == 1
    state.write_text('{"delivered": ["200-0", "400-0"]}')
    assert take_over(state) == (0, {"100-0", "200-0"})


@pytest.mark.parametrize(
    ("content", "count", "known", "warning"),
    [
        ('{"delivered": ["200-0", "300-0", "40', 2, {"100-0", "200-0", "300-0"}, "cut short"),
        ('{"delivered": ["200-0", "300', 1, {"100-0", "200-0"}, "cut short"),
        ("", 0, set(), "is empty"),
        (" \n", 0, set(), "is empty"),
        ("{}", 0, set(), None),
        ('{"delivered": []}', 0, set(), None),
        ("not json at all", 0, set(), "cut short"),
        ('{"delivered": ["200-0", null, 7, "x", "300-0"]}', 2, {"100-0", "200-0", "300-0"}, None),
        ('{"delivered": ["9999999999999999999999-0", "200-0"]}', 1, {"100-0", "200-0"}, None),
    ],
)
def test_damaged_files_are_read_as_far_as_they_go(
    state: Path, caplog: pytest.LogCaptureFixture, content: str, count: int, known: set[str], warning: str | None
) -> None:
    state.write_text(content)
    assert take_over(state) == (count, known)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == (warning is not None)
    assert all(str(warning) in said and str(state) in said for said in warnings)


def test_bytes_that_are_no_text(state: Path) -> None:
    state.write_bytes(b'\xff\x00{"delivered": ["200-0"\x80, "300-0"]}')
    assert take_over(state) == (2, {"100-0", "200-0", "300-0"})


def test_a_huge_file_is_read_in_bounds(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """200,000 ids, a hundred times what the old tool kept; and one beyond what is read at all."""
    ids = ", ".join(f'"{number}-0"' for number in range(200, 200_200))
    state.write_text(f'{{"delivered": [{ids}]}}')
    began = time.monotonic()
    count, known = take_over(state)
    assert count == 200_000
    assert {"200-0", "201-0", "400-0"} <= known
    assert time.monotonic() - began < 30
    monkeypatch.setattr(old_state, "MAX_BYTES", 40)
    state.with_suffix(".db").unlink()
    count, _ = take_over(state)
    assert 0 < count < 10


def test_what_cannot_be_read_is_said(state: Path, caplog: pytest.LogCaptureFixture) -> None:
    state.mkdir()
    assert take_over(state) == (0, set())
    assert "is no regular file: nothing is taken over" in caplog.text


def test_a_fifo_in_its_place_does_not_hang(state: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(state)
    assert take_over(state) == (0, set())
    assert "is no regular file" in caplog.text


def test_there_is_none(state: Path) -> None:
    assert take_over(state) == (0, set())


def test_the_floor_is_not_lowered_by_old_ids(state: Path) -> None:
    """`start_from` and the oldest id: the later one counts."""
    state.with_name("config.json").write_text(
        json.dumps({"agent": "bob", "state_path": str(state), "start_from": "1h"})
    )
    state.write_text('{"delivered": ["200-0"]}')
    assert take_over(state)[1] == {"100-0", "200-0", "201-0", "300-0", "301-0", "400-0"}
