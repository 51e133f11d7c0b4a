"""What `doctor` says about the way to the bus without going it."""

from pathlib import Path

import pytest

from worker.configuration import check
from worker.doctor import connection


@pytest.mark.parametrize(
    ("host", "on_macos", "notes"), [("10.1.2.3", True, 1), ("10.1.2.3", False, 0), ("a.example", True, 0)]
)
def test_macos_may_not_allow_the_local_network(
    host: str, on_macos: bool, notes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ON_MACOS", on_macos)
    settings = check({"agent": "bob", "token_env": "T", "bridge_url": f"https://{host}:6380"}, Path("/c.json"))
    found = list(connection.check(settings))
    assert len(found) == notes
    assert all("Local Network" in finding.text and finding.state == "note" for finding in found)
