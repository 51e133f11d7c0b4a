"""A bus and a worker's poller, in this process, each with a clock of its own; nothing is delivered."""

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.buses import Bus, start_bus
from worker.bus.client import BusClient
from worker.configuration import load
from worker.engine import Engine
from worker.ledger.settling import Settled
from worker.ledger.sqlite import SqliteLedger


class NoQueue:
    def deliver(self, delivery: int, at: float | None) -> None: ...
    def finalize(self, message: int) -> None: ...
    def may_claim_next(self, seconds: float, after: Settled) -> bool: ...  # type: ignore[empty-body]  # never asked here


@dataclass
class Clock:
    """The true time, and by how much this clock is ahead of it."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass
class Polled:
    """A bridge and a worker's poller, each with a clock of its own; and what was sent once the worker had looked."""

    kind: Bus
    project: str | None
    folder: Path
    start_from: str = "24h"
    bus: Clock = field(default_factory=Clock)
    ours: Clock = field(default_factory=Clock)
    owed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bridge = start_bus(self.kind, clock=self.bus)
        self.bridge.__enter__()
        self.bridge.add_token("bob", token=os.environ["HOME"])
        self.client = BusClient(max_connections=2)
        self.begin()

    def begin(self) -> None:
        """A worker starts."""
        agent = {
            "agent": "bob",
            "token_env": "HOME",
            "project": self.project,
            "bridge_url": self.bridge.url,
            "bus_kind": self.bridge.kind,
            "announce": False,
            "requests_per_minute": 600,
            "start_from": self.start_from,
            "state_path": str(self.folder / "state.json"),
            "transports": [{"name": "t", "command": ["/bin/true"]}],
        }
        config = self.folder / "config.json"
        config.write_text(json.dumps({key: value for key, value in agent.items() if value is not None}))
        settings = load(config)
        self.db = SqliteLedger(settings.ledger_file)
        self.engine = Engine(settings=settings, db=self.db, queue=NoQueue(), bus=self.client, clock=self.ours)
        self.db.write(self.engine.register)

    def end(self) -> None:
        """The worker stops."""
        self.db.close()

    def close(self) -> None:
        self.end()
        self.client.close()
        self.bridge.__exit__(None, None, None)

    def poll(self) -> None:
        self.engine.poller.poll("bob", asked=True)

    def send(self, text: str, *, other: bool = False) -> None:
        """To the agent's stream; or, where an inbox has two, to its `other` one."""
        one = self.project if self.kind == "A" or not other else None
        self.bridge.streams.add("bob", text, project=one)
        self.owed.append(text)

    def history(self, text: str, age: float) -> None:
        """Sent long before the worker looks."""
        self.bridge.streams.add("bob", text, project=self.project, ms=int((self.bus() - age) * 1000))

    @property
    def delivered(self) -> list[str]:
        return self.db.read(lambda db: sorted(row["text"] for row in db.execute("select text from messages")))

    def settle(self, seconds: float = 10.0) -> None:
        """Poll as a worker does until all that is owed has come."""
        deadline = time.monotonic() + seconds
        self.poll()
        while self.delivered != sorted(self.owed) and time.monotonic() < deadline:
            self.poll()
        self.poll()
        assert self.delivered == sorted(self.owed)
