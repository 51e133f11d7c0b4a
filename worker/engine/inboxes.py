"""The bus side: the inboxes of our agents, each on its own kind of bus and with its own token."""

from collections.abc import Callable, Sequence
from pathlib import Path

from worker.bus.client import BusClient
from worker.bus.endpoints import endpoint_of
from worker.bus.requests import Endpoint
from worker.bus.source import Collected, KnownInbox, Source, Watch
from worker.bus.sources import sources
from worker.bus.wire import InboxMessage
from worker.credentials import TokenSource
from worker.settings import AgentSettings


class Inboxes:
    """One client for all of them. `config_path` is what relative token files are relative to."""

    def __init__(self, client: BusClient, config_path: Path) -> None:
        self._client = client
        self._sources = sources(client)
        self._config_path = config_path
        self._tokens: dict[tuple[object, ...], TokenSource] = {}

    def source(self, agent: AgentSettings) -> Source:
        """The bus that an agent is on."""
        return self._sources[agent.bus_kind]

    def endpoint(self, agent: AgentSettings) -> Endpoint:
        """An agent's inbox, as its source wants it."""
        return endpoint_of(agent, self._token_source(agent).read)

    def _token_source(self, agent: AgentSettings) -> TokenSource:
        """The same for the same settings: it reads its file again only when that has changed."""
        key = agent.agent, agent.token_file, agent.token_env, agent.token
        return self._tokens.setdefault(key, agent.token_source(self._config_path))

    def collect(self, agent: AgentSettings, seen: KnownInbox, wait_for_slot: Callable[[], None]) -> Collected:
        """Read what is new. Raises BusError, TokenError, and whatever `wait_for_slot` does."""
        return self.source(agent).collect(self.endpoint(agent), seen, wait_for_slot)

    def ack(self, agent: AgentSettings, messages: Sequence[InboxMessage], wait_for_slot: Callable[[], None]) -> None:
        """The ledger has these. Raises what `collect` does."""
        if messages:
            self.source(agent).ack(self.endpoint(agent), messages, wait_for_slot)

    def watch(self, endpoint: Endpoint) -> Watch:
        """Where an inbox rings."""
        return self._sources[endpoint.kind].watch(endpoint)

    def renew(self) -> None:
        """Make the connections anew."""
        self._client.renew()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
