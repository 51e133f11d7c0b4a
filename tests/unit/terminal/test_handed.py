import os
import stat
import subprocess
from pathlib import Path

import pytest

from worker.terminal.channels import handed


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".local/state/bus-watch/handed"


def test_a_note_is_found_until_it_is_withdrawn(folder: Path) -> None:
    assert handed.noted("a" * 32) is None
    handed.note("a" * 32, "codex", "ses_1", os.getpid())
    found = handed.noted("a" * 32)
    assert found is not None
    assert (found.channel, found.session, found.path) == ("codex", "ses_1", str(folder / f"{'a' * 32}.codex"))
    assert handed.noted("b" * 32) is None
    handed.withdraw("b" * 32)
    assert handed.noted("a" * 32) == found
    handed.withdraw("a" * 32)
    assert handed.noted("a" * 32) is None


def test_it_knows_whether_the_agent_has_ended_since(folder: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as agent:
        handed.note("a" * 32, "claude", "ses_1", agent.pid)
        assert said() == ("ses_1", False)
        agent.kill()
        os.waitid(os.P_PID, agent.pid, os.WEXITED | os.WNOWAIT)
        assert said() == ("ses_1", True)  # a zombie has ended
    assert said() == ("ses_1", True)
    (folder / f"{'a' * 32}.claude").write_text(f"ses_1 {os.getpid()} 1")  # another has its number by now
    assert said() == ("ses_1", True)
    handed.note("a" * 32, "claude", "ses_1", agent.pid)  # when it starts is not known
    assert said() == ("ses_1", False)


def said() -> tuple[str, bool]:
    found = handed.noted("a" * 32)
    assert found is not None
    return found.session, found.ended


def test_handed_over_again_it_is_as_young_as_that(folder: Path) -> None:
    handed.note("a" * 32, "pi", "ses_1", os.getpid())
    path = folder / f"{'a' * 32}.pi"
    os.utime(path, (1000, 1000))
    handed.note("a" * 32, "pi", "ses_1", os.getpid())
    found = handed.noted("a" * 32)
    assert found is not None
    assert found.at > 1000


@pytest.mark.parametrize("content", [b"", b"../../x", b"*", b"\xff", b"a" * 300, b"a\n", b"a 1", b"a x 1", b"a 1 2 3"])
def test_a_note_with_no_sessions_name_in_it_is_one_all_the_same(folder: Path, content: bytes) -> None:
    handed.note("a" * 32, "codex", "ses_1", os.getpid())
    (folder / f"{'a' * 32}.codex").write_bytes(content)
    found = handed.noted("a" * 32)
    assert found is not None
    assert (found.channel, found.session, found.ended) == ("codex", "", False)


def test_only_its_user_can_read_it(folder: Path) -> None:
    umask = os.umask(0)
    try:
        handed.note("a" * 32, "codex", "ses_1", os.getpid())
    finally:
        os.umask(umask)
    modes = [stat.S_IMODE(one.stat().st_mode) for one in (*folder.iterdir(), folder, folder.parent)]
    assert modes == [0o600, 0o700, 0o700]


def test_the_oldest_are_forgotten_when_there_are_too_many(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handed, "_MOST", 10)
    monkeypatch.setattr(handed, "_FEWER", 8)
    for number in range(30):
        handed.note(f"{number:032x}", "codex", "ses_1", os.getpid())
        os.utime(folder / f"{number:032x}.codex", (number, number))
        assert len(list(folder.iterdir())) <= 10
    assert handed.noted(f"{29:032x}") is not None
    assert handed.noted(f"{22:032x}") is not None
    assert handed.noted(f"{3:032x}") is None
