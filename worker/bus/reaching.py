"""How a bridge is reached - trusted authorities, a proxy - and why it was not, in a sentence that names the cause."""

import errno
import socket
import ssl
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import httpx

from worker.bus.errors import BusError, NetworkForbiddenError, TlsError, UnreachableError

RUNNING = "Nobody answers at bridge_url; is the bridge running? Retrying."

_WRONG_PROTOCOL = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH")
_NO_WAY = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}
_FORBIDDEN = {errno.EPERM, errno.EACCES}


class Route(NamedTuple):
    """What differs between two ways to a bridge: `ca_file` and `proxy` of the configuration, None where it has none."""

    ca_file: str | None = None
    proxy: str | None = None


DIRECT = Route()


@cache
def tls(ca_file: str | None) -> ssl.SSLContext:
    """How certificates are checked: once a process for each `ca_file`, since reading the authorities takes 25 ms.

    Without a `ca_file` both certifi's authorities and the system's are trusted, and those that OpenSSL's own variables
    `SSL_CERT_FILE` and `SSL_CERT_DIR` name. Raises TlsError where the file cannot be used.
    """
    if ca_file is None:
        context = httpx.create_ssl_context(trust_env=False)
        context.load_default_certs()
        return context
    try:
        return ssl.create_default_context(cafile=Path(ca_file).expanduser())
    except ssl.SSLError:
        raise TlsError(f"ca_file {ca_file} holds no certificate: it must be PEM text.") from None
    except OSError as error:
        raise TlsError(f"ca_file {ca_file} cannot be read: {error.strerror}.") from None


def why_unreachable(error: BaseException) -> BusError:
    """What kept us from a connection. `error` is httpcore's or httpx's; what the system said is behind it."""
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return TlsError(
                f"The bridge's certificate is not trusted ({cause.verify_message}): put its authority's certificate "
                "into a file and name that in ca_file, or in SSL_CERT_FILE. Retrying."
            )
        if isinstance(cause, ssl.SSLError):
            if any(word in (cause.reason or "") for word in _WRONG_PROTOCOL):
                return TlsError("What answers at bridge_url speaks no TLS: is it http:// and not https://? Retrying.")
            return TlsError(f"TLS with the bridge failed ({cause.reason or 'no reason given'}). Retrying.")
        if isinstance(cause, socket.gaierror):
            return UnreachableError("Nobody knows the host's name in bridge_url: is it spelt right? Retrying.")
        if isinstance(cause, OSError) and cause.errno in _FORBIDDEN:
            return NetworkForbiddenError(
                "This process may not use the network: a sandbox forbids it (an agent's, a service's, a firewall's). "
                "Run it outside, or allow it. Retrying."
            )
        if isinstance(cause, OSError) and cause.errno in _NO_WAY:
            return UnreachableError(
                "There is no way from here to the host in bridge_url: is the network, or the VPN, up? On macOS, "
                "allow local network access for what starts this. Retrying."
            )
        if isinstance(cause, TimeoutError):
            return UnreachableError(
                "The host in bridge_url does not answer: is it up, is a firewall between? Retrying."
            )
    return UnreachableError(RUNNING)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = 0
    while error is not None and seen < 20:
        yield error
        error = error.__cause__ or error.__context__
        seen += 1
