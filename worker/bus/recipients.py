"""Whether a bus knows whom a message is for, as far as it says: `GET /peers` of the embedded bus names all agents."""

import difflib
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from worker.bus.errors import NotFoundError
from worker.bus.requests import Endpoint
from worker.bus.source import Source

REMEMBERED_SECONDS = 300.0


class Known(NamedTuple):
    """`refuse`: there is no such agent, for certain; `words`: what to say about it, empty where it is known."""

    refuse: bool = False
    words: str = ""


def judge(to: str, peers: Mapping[str, Any]) -> Known:
    """A bus that names all of its agents is believed; others only make us wonder."""
    agents = peers.get("agents")
    listed = [one for key in ("registered", "streams") for one in _list(peers.get(key)) if isinstance(one, dict)]
    seen = {str(one.get("name") or one.get("agent")) for one in listed}
    names = {str(one) for one in _list(agents)}
    near = difflib.get_close_matches(to, sorted(seen | names), n=1)
    guess = f"; did you mean {near[0]}?" if near and near[0] != to else ""
    if isinstance(agents, list):
        return Known() if to in names else Known(refuse=True, words=f"the bus knows no agent {to!r}{guess}")
    return Known() if to in seen else Known(words=f"the bus has not seen an agent {to!r} yet{guess}")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


class Recipients:
    """Looks recipients up, and remembers for a while those that are known. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str | None, str], float] = {}

    def look_up(self, source: Source, endpoint: Endpoint, to: str) -> Known:
        """What the bus says of an agent. BusError: it did not say."""
        if source.refuses_unknown:
            return Known()
        key = endpoint.bridge_url, endpoint.project, to
        now = time.monotonic()
        with self._lock:
            if now - self._known.get(key, float("-inf")) < REMEMBERED_SECONDS:
                return Known()
        try:
            found = judge(to, source.peers(endpoint)) if to != endpoint.agent else Known()
        except NotFoundError:  # a bridge without a list of peers
            found = Known()
        if not found.words:
            with self._lock:
                self._known[key] = now
        return found
