from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.transports import receipt_format
from worker.transports.receipts import Note, create_void_note, read_note, read_receipt, remove_files

LINE = receipt_format.receipt_line(
    attempt="a", boot="b", kind="exit", code=3, started_at=1.5, ended_at=2.25, pid=77, tail_length=4
)


def test_a_receipt_round_trips(tmp_path: Path) -> None:
    (tmp_path / "a.note").write_bytes(LINE.ljust(receipt_format.TAIL_AT, b"\0") + b"\xff\x00ab" + bytes(90))
    outcome = read_receipt(tmp_path, "a")
    assert outcome is not None
    assert (outcome.kind, outcome.code, outcome.pid) == ("exit", 3, 77)
    assert (outcome.started_at, outcome.ended_at) == (1.5, 2.25)
    assert outcome.tail == b"\xff\x00ab"


@pytest.mark.parametrize("length", range(0, receipt_format.LINE_BYTES, 5))
def test_incomplete_means_absent(tmp_path: Path, length: int) -> None:
    (tmp_path / "a.note").write_bytes(LINE[:length] + bytes(500))
    assert read_receipt(tmp_path, "a") is None
    (tmp_path / "a.note").write_bytes(LINE[:length])
    assert read_receipt(tmp_path, "a") is None


def test_what_another_attempt_left_in_the_file_counts_for_nothing(tmp_path: Path) -> None:
    whole = LINE + receipt_format.note_line("a", 12, "345", 9.0) + b"tail"
    for attempt in "ab":
        (tmp_path / f"{attempt}.note").write_bytes(whole)
    assert read_receipt(tmp_path, "a") is not None
    assert read_receipt(tmp_path, "b") is None
    assert read_note(tmp_path, "b") == Note(void=False)


def test_an_absent_receipt_is_none(tmp_path: Path) -> None:
    assert read_receipt(tmp_path, "a") is None
    assert read_note(tmp_path, "a") is None


@given(st.binary(max_size=600))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    receipt_format.parse_receipt(data, "a")
    receipt_format.parse_note(data, "a")


def test_notes(tmp_path: Path) -> None:
    assert create_void_note(tmp_path, "a")
    assert create_void_note(tmp_path, "a")
    assert read_note(tmp_path, "a") == Note(void=True)
    (tmp_path / "b.note").touch()
    assert not create_void_note(tmp_path, "b")
    assert read_note(tmp_path, "b") == Note(void=False)
    (tmp_path / "b.note").write_bytes(bytes(receipt_format.LINE_BYTES) + receipt_format.note_line("b", 12, "345", 9.0))
    assert read_note(tmp_path, "b") == Note(void=False, pid=12, start="345", until=9.0)
    for attempt in "ab":
        remove_files(tmp_path, attempt)
        remove_files(tmp_path, attempt)
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.binary(max_size=50), max_size=8), st.integers(1, 20))
def test_frames_survive_any_chopping(bodies: list[bytes], size: int) -> None:
    stream = b"".join(receipt_format.frame((body,)) for body in bodies)
    buffer = bytearray()
    taken: list[object] = []
    for at in range(0, len(stream), size):
        buffer += stream[at : at + size]
        taken += receipt_format.take_frames(buffer)
    assert taken == [(body,) for body in bodies]
