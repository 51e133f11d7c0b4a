"""An agent's settings as the bus client wants them: for the worker, `doctor` and `test-send` alike."""

from collections.abc import Callable

from worker.bus.reaching import Route
from worker.bus.requests import Endpoint
from worker.secret import Secret
from worker.settings import AgentSettings


def endpoint_of(agent: AgentSettings, token: Callable[[], Secret]) -> Endpoint:
    """The agent's inbox; `token` is called before each request."""
    return Endpoint(
        agent=agent.agent,
        project=agent.project,
        bridge_url=agent.bridge_url,
        token=token,
        limit=agent.limit,
        max_page_bytes=agent.max_page_bytes,
        presence=agent.announce and agent.bus_kind == "sos",
        route=Route(agent.ca_file, agent.proxy),
        kind=agent.bus_kind,
    )
