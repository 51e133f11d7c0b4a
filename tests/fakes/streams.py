"""What a bridge's Redis holds, and how each generation cuts an inbox page out of it.

A model without sockets: the bridges serve it, and the brute-force tests of page completion poll it directly.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Generation = Literal["A", "B", "C"]
GENERATIONS: tuple[Generation, ...] = ("A", "B", "C")
Id = tuple[int, int]

NOT_GIVEN: Any = object()


@dataclass(frozen=True)
class Entry:
    """One stream entry. `raw`, if given, is what the page shows instead of a message."""

    stream: str
    id: Id
    source: Any
    text: Any
    project: str | None
    extra: dict[str, Any]
    raw: Any = NOT_GIVEN

    def item(self, generation: Generation, agent: str) -> Any:
        if self.raw is not NOT_GIVEN:
            return self.raw
        name = f"{self.id[0]}-{self.id[1]}"
        item: dict[str, Any] = {
            "id": name,
            "source": self.source,
            "type": "send",
            "text": self.text,
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(min(self.id[0], 10**13) / 1000)),
            "project": self.project or "",
        }
        if generation != "A":
            item |= {
                "stream_id": name,
                "stream": self.stream,
                "stream_kind": "project" if self.project else "global",
                "sender": self.source,
                "target": f"agent:{agent}",
            }
        return item | self.extra


def stream_of(agent: str, project: str | None) -> str:
    return f"sos:stream:project:{project}:agent:{agent}" if project else f"sos:stream:global:agent:{agent}"


class Streams:
    """Redis streams with Redis's rule for ids: never smaller than the last of the same stream."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.lock = threading.Condition()
        self._streams: dict[str, list[Entry]] = {}

    def add(
        self,
        agent: str,
        text: Any,
        *,
        source: Any = "agent:alice",
        project: str | None = None,
        ms: int | None = None,
        raw: Any = NOT_GIVEN,
        **extra: Any,
    ) -> Id:
        """Append to the agent's stream, `ms` default now; returns the id."""
        stream = stream_of(agent, project)
        with self.lock:
            entries = self._streams.setdefault(stream, [])
            last = entries[-1].id if entries else (0, 0)
            wanted = int(self.clock() * 1000) if ms is None else ms
            new = (wanted, 0) if wanted > last[0] else (last[0], last[1] + 1)
            entries.append(Entry(stream, new, source, text, project, extra, raw))
            self.lock.notify_all()
        return new

    def entries(self, agent: str, project: str | None) -> list[Entry]:
        with self.lock:
            return list(self._streams.get(stream_of(agent, project), []))

    def lengths(self) -> dict[str, int]:
        with self.lock:
            return {name.rpartition(":")[2]: len(entries) for name, entries in self._streams.items()}

    def merged(self, agent: str, project: str | None) -> list[list[Entry]]:
        """The streams that make up an inbox on B and C."""
        return [self.entries(agent, name) for name in ([project, None] if project else [None])]

    def page(
        self, generation: Generation, agent: str, project: str | None, limit: int, since: Id | None
    ) -> list[Entry]:
        """The page as that generation cuts it, newest first."""
        if generation == "A":
            return self.entries(agent, project)[::-1][:limit]
        cut: list[Entry] = []
        for entries in self.merged(agent, project):
            if since is not None:
                cut += [entry for entry in entries if entry.id > since][:limit]
            elif generation == "B":
                cut += entries[:limit]
            else:
                cut += entries[-limit:]
        return sorted(cut, key=lambda entry: entry.id, reverse=True)[:limit]
