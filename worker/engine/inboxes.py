"""The bus side: the inboxes of our agents, each read with its own token."""

from collections.abc import Callable
from pathlib import Path

from worker.bus.client import BusClient, Collected, KnownInbox
from worker.bus.endpoints import endpoint_of
from worker.bus.requests import Endpoint
from worker.credentials import TokenSource
from worker.settings import AgentSettings


class Inboxes:
    """One client for all of them. `config_path` is what relative token files are relative to."""

    def __init__(self, client: BusClient, config_path: Path) -> None:
        self.client = client
        self._config_path = config_path
        self._tokens: dict[tuple[object, ...], TokenSource] = {}

    def endpoint(self, agent: AgentSettings) -> Endpoint:
        """An agent's inbox, as the bus client wants it."""
        return endpoint_of(agent, self._token_source(agent).read)

    def _token_source(self, agent: AgentSettings) -> TokenSource:
        """The same for the same settings: it reads its file again only when that has changed."""
        key = agent.agent, agent.token_file, agent.token_env, agent.token
        return self._tokens.setdefault(key, agent.token_source(self._config_path))

    def collect(self, agent: AgentSettings, seen: KnownInbox, wait_for_slot: Callable[[], None]) -> Collected:
        """Read what is new. Raises BusError, TokenError, and whatever `wait_for_slot` does."""
        return self.client.collect(self.endpoint(agent), seen, wait_for_slot)

    def renew(self) -> None:
        """Make the connections anew."""
        self.client.renew()

    def close(self) -> None:
        """Close the connections."""
        self.client.close()
