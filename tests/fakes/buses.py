"""Every kind of bus that can be stood in for: three generations of bridges, and mupot."""

from typing import Any, Literal

from tests.fakes.bridges import FakeBridge
from tests.fakes.mupot import FakePot
from tests.fakes.serving import FakeBus
from tests.fakes.streams import GENERATIONS

Bus = Literal["A", "B", "C", "mupot"]
BUSES: tuple[Bus, ...] = (*GENERATIONS, "mupot")


def start_bus(bus: Bus, **given: Any) -> FakeBus:
    """One of this kind, not yet serving: a context manager."""
    return FakePot(**given) if bus == "mupot" else FakeBridge(bus, **given)


def again(bus: FakeBus) -> FakeBus:
    """The same bus at the same address, with what it holds: it was down."""
    port, streams = bus.server_address[1], bus.streams
    new: FakeBus
    if isinstance(bus, FakeBridge):
        new = FakeBridge(bus.generation, port=port, streams=bus.streams)
    else:
        new = FakePot(port=port, streams=streams)
    new.tokens, new.requests = bus.tokens, bus.requests
    return new
