"""What can go wrong between here and the bus: one class and one stable code for each kind of failure.

No message here holds a token, a message's text, or anything else that the other side wrote.
"""

from typing import ClassVar

from worker.errors import BusWatchError


class BusError(BusWatchError):
    """Base of every failure of a request to the bus.

    `slow` says that retrying quickly is pointless. `retry_after` is how many seconds the bus asked to be left
    alone, if it did.
    """

    code: ClassVar[str] = "bus-error"
    slow: ClassVar[bool] = False

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnreachableError(BusError):
    """Nobody answers at the address: refused, no route, no such name, or no connection in time."""

    code = "bus-unreachable"


class TlsError(BusError):
    """No secure connection: a certificate that is not trusted, TLS where there is none, a `ca_file` of no use."""

    code = "bus-tls"


class NetworkForbiddenError(BusError):
    """The system does not let this process use the network."""

    code = "bus-network-forbidden"


class ClosedError(BusError):
    """The bridge closed the connection without a byte: the oldest generation's answer to most errors."""

    code = "bus-closed"


class UnauthorizedError(BusError):
    """401: the token is wrong, or the bridge was rewriting its token file just then."""

    code = "bus-unauthorized"


class IdentityError(BusError):
    """403: the token belongs to another agent, or its record on the bridge is broken."""

    code = "bus-identity"
    transient = False
    slow = True


class CoherenceError(BusError):
    """403 coherence_violation: the bridge wants an announcement and heartbeats first."""

    code = "bus-coherence"
    slow = True


class ForbiddenError(BusError):
    """403 for a reason this program does not know."""

    code = "bus-forbidden"
    transient = False
    slow = True


class RateLimitedError(BusError):
    """429: too many requests with this token in this minute."""

    code = "bus-rate-limited"


class ServerError(BusError):
    """500 and above: the bridge, or what it stands on, is broken for now."""

    code = "bus-server-error"


class UnavailableError(ServerError):
    """503: the bridge says that it did nothing, and may do it later."""

    code = "bus-unavailable"


class RequestRefusedError(BusError):
    """Any other 4xx: the bridge will not do this, however often it is asked."""

    code = "bus-refused"
    transient = False


class NotFoundError(RequestRefusedError):
    """404: this bridge does not have that address."""

    code = "bus-not-found"


class NoSuchAgentError(RequestRefusedError):
    """The bus has no agent of that name, or none that this one may write to."""

    code = "bus-no-such-agent"


class BadAnswerError(BusError):
    """An answer that is not what a bridge sends: HTML, truncated JSON, an unexpected status."""

    code = "bus-bad-answer"


class RedirectError(BusError):
    """The bridge pointed elsewhere; a token is never taken along."""

    code = "bus-redirect"


class TooLargeError(BusError):
    """Something in the answer is larger than `max_page_bytes`; it was cut off while it came."""

    code = "bus-too-large"


class TooSlowError(BusError):
    """The answer was not complete within the time one request may take."""

    code = "bus-too-slow"


class PageIncompleteError(BusError):
    """Even the widest page did not reach what is known: more new messages than one page can hold."""

    code = "bus-page-incomplete"


class UnsendableError(BusError):
    """A text or token that cannot be put into a request."""

    code = "bus-unsendable"
    transient = False
