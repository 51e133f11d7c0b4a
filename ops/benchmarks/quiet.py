"""A world whose inboxes are quiet, beside a real embedded bus."""

import contextlib
from collections.abc import Iterator

from ops.benchmarks.world import World, true_agents
from worker.bus.embedded.server import EmbeddedBus


@contextlib.contextmanager
def quiet_world(agents: int) -> Iterator[tuple[World, EmbeddedBus]]:
    """So many agents, each with a token of the bus's."""
    with World(true_agents(agents), url="http://127.0.0.1:1") as world, EmbeddedBus(world.home / "bus.db") as bus:
        for agent in world.agents:
            token = world.home / ".sos" / f"{agent['agent']}.token"
            token.write_text(bus.store.add_agent(agent["agent"]), encoding="ascii")
            token.chmod(0o600)
            agent["token_file"] = str(token)
        world.configure(url=bus.url, watch=True, announce=True, poll_interval=3)
        world.fill(0)
        yield world, bus
