"""What systemd hears."""

import os
import secrets
import socket
import sys
from pathlib import Path

import pytest

from worker.runtime.sd_notify import Supervisor


def heard(address: str, told: str) -> tuple[list[str], bool]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(address)
        channel.settimeout(10)
        sent = Supervisor({"NOTIFY_SOCKET": told}).tell("READY=1", "STATUS=running")
        return channel.recv(4096).decode().split("\n"), sent


def test_a_socket_with_a_path(tmp_path: Path) -> None:
    assert heard(str(tmp_path / "notify"), str(tmp_path / "notify")) == (["READY=1", "STATUS=running"], True)


def test_an_abstract_socket(tmp_path: Path) -> None:
    name = f"bus-watch-{secrets.token_hex(8)}"
    if sys.platform == "linux":  # nobody else has abstract names, nor systemd
        assert heard(f"\0{name}", f"@{name}") == (["READY=1", "STATUS=running"], True)
    else:
        assert Supervisor({"NOTIFY_SOCKET": f"@{name}"}).tell("READY=1") is False


def test_nobody_listens(tmp_path: Path) -> None:
    assert Supervisor({}).tell("READY=1") is False
    assert Supervisor({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell("READY=1") is False


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "often"}, None),
        ({}, None),
    ],
)
def test_how_often_the_watchdog_wants_to_be_fed(environment: dict[str, str], seconds: float | None) -> None:
    assert Supervisor({"NOTIFY_SOCKET": "/run/notify", **environment}).watchdog_seconds == seconds
