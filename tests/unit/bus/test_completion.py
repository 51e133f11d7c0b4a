"""Page completion by brute force: whatever arrives between and during polls is taken once, on every generation."""

import json
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.fakes.ledgers import MemoryLedger
from tests.fakes.streams import GENERATIONS, Generation, Id, Streams
from worker.bus.client import BusClient
from worker.bus.page import Page, PageReader
from worker.bus.requests import Endpoint
from worker.secret import Secret

START_MS = 1_795_300_000_000


@dataclass
class World:
    """A bridge without sockets, its clock, and everything that was ever sent to bob."""

    generation: Generation
    rng: random.Random
    project: str | None
    streams: Streams = field(default_factory=Streams)
    now: int = START_MS
    sent: list[tuple[str, str]] = field(default_factory=list)
    quiet: bool = False

    def arrive(self, most: int) -> None:
        """Up to `most` messages, often several in one millisecond."""
        for _ in range(0 if self.quiet else self.rng.randint(0, most)):
            self.now += self.rng.choice([0, 0, 1, 1, 700, 30_000])
            project = self.project if self.generation == "A" else self.rng.choice([self.project, None])
            stream = f"sos:stream:project:{project}:agent:bob" if project else "sos:stream:global:agent:bob"
            ms, seq = self.streams.add("bob", "x", project=project, ms=self.now)
            self.sent.append((stream, f"{ms}-{seq}"))


class ModelClient(BusClient):
    """The real collecting over a model's pages; more may arrive between any two requests."""

    world: World

    def inbox(self, endpoint: Endpoint, since: Id, limit: int, **more: Any) -> Page:
        world = self.world
        page = world.streams.page(world.generation, "bob", endpoint.project, limit, since)
        items = [entry.item(world.generation, "bob") for entry in page]
        body = json.dumps({"project": endpoint.project, "messages": items}).encode()
        world.arrive(2)
        reader = PageReader(endpoint.agent, endpoint.project, longest_item=10_000, known=more["known"])
        reader.feed(body)
        return reader.close()


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("project", [None, "acme"])
@pytest.mark.parametrize("limit", [1, 3, 10])
def test_random_arrivals_and_polls_lose_nothing_and_double_nothing(
    generation: Generation, project: str | None, limit: int
) -> None:
    with ModelClient() as client:
        for seed in range(10):
            world = client.world = World(generation, random.Random(f"{limit} {seed}"), project)
            ledger = MemoryLedger()
            endpoint = Endpoint("bob", project, "http://unused", lambda: Secret("x"), limit, presence=False)
            for _ in range(world.rng.randint(1, 12)):
                world.arrive(world.rng.choice([0, 1, limit, 4 * limit, 40 * limit]))
                poll(client, endpoint, ledger)
            world.quiet = True
            poll(client, endpoint, ledger)
            assert ledger.keys == set(world.sent), f"seed {seed}"
            assert poll(client, endpoint, ledger) == 0


def poll(client: BusClient, endpoint: Endpoint, ledger: MemoryLedger) -> int:
    """One poll into the ledger, which refuses doubles; how many were new."""
    new = client.collect(endpoint, ledger, lambda: None).messages
    assert list(new) == sorted(new, key=lambda message: (message.ms, message.seq, message.stream))
    ledger.take(new)
    return len(new)


def test_the_model_shows_why_paging_from_the_largest_id_loses_mail() -> None:
    """The loss that the client is built around exists in the model; else the test above would prove nothing."""
    streams = Streams()
    for number in range(15):
        streams.add("bob", "global", ms=START_MS + number)
    for number in range(15):
        streams.add("bob", "project", project="acme", ms=START_MS + 100 + number)
    seen: set[tuple[str, Id]] = set()
    since = (0, 0)
    while page := streams.page("C", "bob", "acme", 10, since):
        seen |= {(entry.stream, entry.id) for entry in page}
        since = max(entry.id for entry in page)
    assert len(seen) < 30
