"""Where a bridge is, and which addresses stay on this machine."""

import pytest

from worker.urls import bridge_address, in_local_network, is_loopback, travels_in_clear


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("localhost.x", False),
        ("0.0.0.0", False),
        ("::", False),
        ("bus.lan", False),
    ],
)
def test_what_counts_as_this_machine(host: str, is_one: bool) -> None:
    assert is_loopback(host) is is_one


@pytest.mark.parametrize(
    ("host", "is_one"),
    [("192.168.1.5", True), ("10.0.0.1", True), ("[fd00::1]", True), ("bus.local", True)]
    + [(host, False) for host in ("127.0.0.1", "localhost", "[::1]", "100.100.1.1", "1.1.1.1", "bus.example")],
)
def test_what_counts_as_beside_this_machine(host: str, is_one: bool) -> None:
    """What macOS asks its user about: not Tailscale's addresses."""
    assert in_local_network(f"https://{host}:6380") is is_one


@pytest.mark.parametrize(
    ("url", "in_clear"),
    [
        ("http://localhost:6380", False),
        ("http://[::1]:6380/bus", False),
        ("https://bus.lan", False),
        ("http://bus.lan:6380", True),
        ("http://[fe80::1]/", True),
    ],
)
def test_where_a_token_can_be_read_on_the_way(url: str, in_clear: bool) -> None:
    assert travels_in_clear(url) is in_clear


@pytest.mark.parametrize(
    "url",
    ["ftp://bus", "bus.lan:6380", "http://", "http://a:b@bus", "http://bus?x=1", "http://bus#x", "http://bus:0x1"],
)
def test_what_is_no_address_of_a_bridge(url: str) -> None:
    with pytest.raises(ValueError, match=r"address|user|port"):
        bridge_address(url)
