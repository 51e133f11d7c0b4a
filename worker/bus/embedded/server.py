"""The embedded bus as a process runs it: `BusApi` on a server of ours. Needs the extra `bus`."""

from pathlib import Path
from types import TracebackType
from typing import Self

from worker.bus.embedded.api import BusApi
from worker.bus.embedded.store import BusStore
from worker.serving.server import Server


class EmbeddedBus:
    """A running bus; a context manager. Port 0 takes a free one.

    `enforce_rate_limit`: answer 429 beyond 60 requests a minute; otherwise they are only logged. Raises OSError if it
    cannot listen there, and what `BusStore` raises.
    """

    def __init__(self, path: Path, *, host: str = "127.0.0.1", port: int = 0, enforce_rate_limit: bool = False) -> None:
        self.store = BusStore(path)
        self._api = BusApi(self.store, enforce_rate_limit=enforce_rate_limit)
        try:
            self._server = Server(self._api.app, host=host, port=port, stop=self._api.listeners.stop)
        except BaseException:
            self.store.close()
            raise
        self.url = self._server.url
        """Where it listens, for `bridge_url`."""

    @property
    def answered(self) -> int:
        """How many requests it answered so far."""
        return self._server.answered

    def __enter__(self) -> Self:
        self._server.__enter__()
        self.store.on_arrival = lambda stream: self._server.soon(self._api.listeners.ring, stream)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop accepting, let running requests end (listeners at once), close the store."""
        self.store.on_arrival = None
        self._server.__exit__(kind, error, trace)
        self.store.close()
