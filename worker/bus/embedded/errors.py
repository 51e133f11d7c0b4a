"""What the embedded bus cannot do."""

from worker.errors import BusWatchError


class EmbeddedBusError(BusWatchError):
    """The embedded bus cannot do what it was asked to."""

    code = "embedded-bus"


class QuotaError(EmbeddedBusError):
    """An agent has had its share of the bus."""

    code = "embedded-bus-quota"
