"""Where a bridge is: which addresses are taken, and which of them never leave this machine."""

import ipaddress
from urllib.parse import SplitResult, urlsplit


def bridge_address(url: str) -> SplitResult:
    """The parts of a bridge's address: `http` or `https`, a host, perhaps a port and a path.

    Raises ValueError, which says what an address of a bridge may not hold.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("not an http:// or https:// address")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must hold no user, password, query or fragment: only where the bridge is")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("has a port that is no number from 1 to 65535") from None
    return parts


def travels_in_clear(url: str) -> bool:
    """Whether a token sent to this bridge crosses a network unencrypted. Raises ValueError as `bridge_address` does."""
    parts = bridge_address(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def in_local_network(url: str) -> bool:
    """Whether a bridge is beside this machine in its own network, by its address or an mDNS name (`.local`)."""
    host = bridge_address(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.endswith(".local")
    return address.is_private and not address.is_loopback


def is_loopback(host: str) -> bool:
    """Whether this host name or address never leaves the machine: nobody else reaches what listens there."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
