"""Synced means on the disk: where a platform has more than fsync, that is asked for, in each place that syncs."""

import errno
import fcntl
import os
from contextlib import closing
from pathlib import Path

import pytest

from worker import durable
from worker.atomic_files import write_atomically
from worker.bus.embedded.store import BusStore
from worker.ledger.sqlite import SqliteLedger

FULL = 51  # F_FULLFSYNC of macOS, <sys/fcntl.h>


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the kernel, as macOS would be."""
    seen: list[str] = []

    def control(descriptor: int, command: int) -> int:
        assert command == FULL
        seen.append("F_FULLFSYNC")
        return 0

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", FULL, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", control)
    monkeypatch.setattr(os, "fsync", lambda _: seen.append("fsync"))
    return seen


def test_macos_is_asked_to_empty_the_drives_cache(calls: list[str], tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"content")
    assert calls == ["F_FULLFSYNC"]


def test_a_file_system_that_cannot_gets_fsync(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, command: int) -> int:
        raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    durable.sync(0)
    assert calls == ["fsync"]


def test_elsewhere_it_is_fsync(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(fcntl, "F_FULLFSYNC")
    durable.sync(0)
    assert calls == ["fsync"]


def test_commits_of_ledger_and_embedded_bus_ask_for_it_too(tmp_path: Path) -> None:
    """SQLite keeps the wish on every platform, and heeds it on macOS."""
    with closing(SqliteLedger(tmp_path / "ledger.db")) as ledger, closing(BusStore(tmp_path / "bus.db")) as bus:
        for connection in (ledger._writer, bus._db):
            for pragma, value in (("synchronous", 2), ("fullfsync", 1), ("checkpoint_fullfsync", 1)):
                assert connection.execute(f"pragma {pragma}").fetchone()[0] == value
