import os
import stat
from pathlib import Path

import pytest

from worker.terminal.channels import handed


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".local/state/bus-watch/handed"


def test_a_note_is_found_until_it_is_withdrawn(folder: Path) -> None:
    assert handed.noted("a" * 32) is None
    handed.note("a" * 32, "codex", "ses_1")
    found = handed.noted("a" * 32)
    assert found is not None
    assert (found.channel, found.session, found.path) == ("codex", "ses_1", str(folder / f"{'a' * 32}.codex"))
    assert handed.noted("b" * 32) is None
    handed.withdraw("b" * 32)
    assert handed.noted("a" * 32) == found
    handed.withdraw("a" * 32)
    assert handed.noted("a" * 32) is None


def test_handed_over_again_it_is_as_young_as_that(folder: Path) -> None:
    handed.note("a" * 32, "pi", "ses_1")
    path = folder / f"{'a' * 32}.pi"
    os.utime(path, (1000, 1000))
    handed.note("a" * 32, "pi", "ses_1")
    found = handed.noted("a" * 32)
    assert found is not None
    assert found.at > 1000


@pytest.mark.parametrize("content", [b"", b"../../x", b"*", b"\xff", b"a" * 300, b"a\n"])
def test_a_note_with_no_sessions_name_in_it_is_one_all_the_same(folder: Path, content: bytes) -> None:
    handed.note("a" * 32, "codex", "ses_1")
    (folder / f"{'a' * 32}.codex").write_bytes(content)
    found = handed.noted("a" * 32)
    assert found is not None
    assert (found.channel, found.session) == ("codex", "")


def test_only_its_user_can_read_it(folder: Path) -> None:
    umask = os.umask(0)
    try:
        handed.note("a" * 32, "codex", "ses_1")
    finally:
        os.umask(umask)
    modes = [stat.S_IMODE(one.stat().st_mode) for one in (*folder.iterdir(), folder, folder.parent)]
    assert modes == [0o600, 0o700, 0o700]


def test_the_oldest_are_forgotten_when_there_are_too_many(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handed, "_MOST", 10)
    monkeypatch.setattr(handed, "_FEWER", 8)
    for number in range(30):
        handed.note(f"{number:032x}", "codex", "ses_1")
        os.utime(folder / f"{number:032x}.codex", (number, number))
        assert len(list(folder.iterdir())) <= 10
    assert handed.noted(f"{29:032x}") is not None
    assert handed.noted(f"{22:032x}") is not None
    assert handed.noted(f"{3:032x}") is None
