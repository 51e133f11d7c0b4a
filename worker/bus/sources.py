"""The kinds of bus that there are, by the names that the configuration has for them."""

from worker.bus.client import BusClient
from worker.bus.mupot import Mupot
from worker.bus.source import Source


def sources(client: BusClient) -> dict[str, Source]:
    """Each kind, all over the same connections."""
    return {"sos": client, "mupot": Mupot(client)}
