"""Very many messages that wait, or that come at once: the real consumer takes all in and delivers them, in order.

What is judged is the ledger's own record, with the ids that the bridge gave; the transport is /bin/true, so that the
consumer is what is measured.
"""

import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.bridges import FakeBridge
from tests.fakes.streams import Generation
from tests.world.config import QUICK
from tests.world.world import World

LOOK_SECONDS = 0.2
BEHIND_SECONDS = 30.0
PEAK_MB = 150

_DONE = "select count(*) from deliveries where state = 'succeeded'"
_KNOWN = "select count(*) from messages"


@dataclass(kw_only=True)
class Flooding:
    """What a flood did. Seconds from the start of the worker, or of the flood where that came later.

    `behind`: for each small message that was sent behind it, the seconds from its turn (all before it were taken in, or
    it was sent) until it was in the ledger.
    """

    taken_in: float = 0.0
    delivered: float | None = None
    behind: list[float] = field(default_factory=list)
    peak_mb: int = 0
    wrong: list[str] = field(default_factory=list)

    def words(self) -> str:
        """One line of figures, and what is wrong."""
        done = "" if self.delivered is None else f", delivered in {self.delivered:.1f} s"
        behind = " and ".join(f"{seconds:.1f}" for seconds in self.behind)
        figures = (
            f"taken in within {self.taken_in:.1f} s{done}; the small ones behind {behind} s; peak {self.peak_mb} MB"
        )
        return figures + "".join(f"\n  WRONG: {one}" for one in self.wrong)


def flood(
    home: Path,
    *,
    messages: int,
    size: int,
    generation: Generation = "C",
    online: bool = False,
    deliver: bool = True,
    first_start: bool = False,
    patience: float = 3600.0,
    say: Callable[[str], None] = lambda _: None,
) -> Flooding:
    """`messages` of `size` bytes are there when the worker starts, or (`online`) come all at once while it polls.

    Without `deliver` the transport is paused: what is looked at is that all is taken in. `first_start`: there is no
    ledger yet, as when somebody who has much mail begins.
    """
    found = Flooding()
    with FakeBridge(generation) as bridge, World(home) as world:
        wake = {"name": "wake", "command": [os.path.realpath("/bin/true")]}
        world.configure(world.agent(bridge, "bob", wake), **QUICK)
        if not first_start:
            assert world.bus_watch("run", "--once").returncode == 0  # a ledger, which has looked once
        if not deliver:
            assert world.bus_watch("pause", "wake").returncode == 0
        sent: list[tuple[int, int]] = []

        def send(count: int, text: str) -> None:
            ms = int(time.time() * 1000) - count
            sent.extend(bridge.streams.add("bob", text, ms=ms + number) for number in range(count))

        def wait(query: str, wanted: int, what: str) -> float:
            """Until the ledger says so; the seconds it took."""
            begun = last = time.monotonic()
            while (count := world.count(query) if world.ledger.exists() else 0) < wanted:
                assert worker.poll() is None, f"the worker ended: {world.log()}"
                now = time.monotonic()
                assert now < begun + patience, f"{count} of {wanted} {what} after {patience:g} s"
                if now > last + 15:
                    say(f"{now - begun:7.1f} s  {count} of {wanted} {what}")
                    last = now
                time.sleep(LOOK_SECONDS)
            return time.monotonic() - begun

        if not online:
            send(messages, "x" * size)
            send(1, "a small one")
        worker = world.start_consumer()
        if online:
            wait("select count(*) from workers", 1, "workers")
            send(messages, "x" * size)
            send(1, "a small one")
        found.taken_in = wait(_KNOWN, messages, "taken in")
        found.behind.append(wait(_KNOWN, messages + 1, "taken in"))
        send(1, "one that comes while they are delivered")
        found.behind.append(wait(_KNOWN, messages + 2, "taken in"))
        if deliver:
            found.delivered = found.taken_in + sum(found.behind) + wait(_DONE, messages + 2, "delivered")
        found.peak_mb = worker.peak_memory() // 1_000_000
        with world.look() as ledger:
            found.wrong = list(_wrong(ledger, sent, deliver=deliver))
    found.wrong += [f"peak memory {found.peak_mb} MB"] if found.peak_mb >= PEAK_MB else []
    found.wrong += [f"a small one waited {seconds:.0f} s" for seconds in found.behind if seconds >= BEHIND_SECONDS]
    return found


def _wrong(ledger: sqlite3.Connection, sent: list[tuple[int, int]], *, deliver: bool) -> list[str]:
    """What is not as it should be: all known, in order, each delivered by one attempt, in order."""
    known = [tuple(row) for row in ledger.execute("select ms, seq from messages order by id")]
    wrong = [] if known == sorted(sent) else [f"{len(known)} in the ledger of {len(sent)}, or not in order"]
    if deliver:
        runs = [
            tuple(row)
            for row in ledger.execute(
                """
                select d.ms, d.seq from attempts a join deliveries d on d.id = a.delivery
                where a.result = 'exit 0' order by a.started_at, a.id
                """
            )
        ]
        wrong += [] if runs == sorted(sent) else [f"{len(runs)} runs for {len(sent)}, or not in order"]
        more = ledger.execute("select count(*) from attempts").fetchone()[0] - len(runs)
        wrong += [f"{more} attempts more"] if more else []
    return wrong
