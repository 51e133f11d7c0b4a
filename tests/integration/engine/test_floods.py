"""More mail than fits into one answer, or into memory: all of it comes, in order, in bounded pieces."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.buses import BUSES, Bus, start_bus
from worker.configuration import load
from worker.ledger.sqlite import SqliteLedger

# A process of its own, so that its memory is that of polls alone. It prints how many transactions brought messages.
_POLL = """
import sys
from pathlib import Path
from worker.bus.client import BusClient
from worker.configuration import load
from worker.engine import Engine
from worker.ledger.sqlite import SqliteLedger

class NoQueue:
    def deliver(self, delivery, at): ...
    def finalize(self, message): ...
    def may_claim_next(self, seconds, after): ...

settings = load(Path(sys.argv[1]))
db = SqliteLedger(settings.ledger_file)
engine = Engine(settings=settings, db=db, queue=NoQueue(), bus=BusClient(max_connections=2))
db.write(engine.register)
signs = []
for _ in range(int(sys.argv[2])):
    engine.poller.poll("bob", asked=True, alive=signs.append)
print(len(signs), Path("/proc/self/status").read_text() if sys.platform == "linux" else "")
"""


class Flooded:
    """A bridge, and a ledger that polls of another process fill."""

    def __init__(self, bus: Bus, folder: Path) -> None:
        self._written = 0
        self.bridge = start_bus(bus)
        self.bridge.add_token("bob", token=os.environ["HOME"])
        self.config = folder / "config.json"
        self.config.write_text(
            json.dumps(
                {
                    "agent": "bob",
                    "token_env": "HOME",
                    "bridge_url": self.bridge.url,
                    "bus_kind": self.bridge.kind,
                    "announce": False,
                    "requests_per_minute": 600,
                    "state_path": str(folder / "state.json"),
                    "transports": [{"name": "t", "command": ["/bin/true"]}],
                }
            )
        )

    def send(self, count: int, text: str) -> None:
        ms = max(int(time.time() * 1000) - count, self._written + 1)  # never before what is there
        self._written = ms + count - 1
        for number in range(count):
            self.bridge.streams.add("bob", text, ms=ms + number)

    def poll(self, times: int = 1) -> tuple[int, int]:
        """Poll in a process of its own: its signs of life, and its peak memory in MB."""
        done = subprocess.run(
            [sys.executable, "-c", _POLL, str(self.config), str(times)],
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
            cwd=Path(__file__).parents[3],
        )
        peak = re.search(r"VmHWM:\s+(\d+) kB", done.stdout)
        return int(done.stdout.split()[0]), int(peak[1]) // 1024 if peak else 0

    def count(self) -> int:
        db = SqliteLedger(load(self.config).ledger_file)
        try:
            rows = db.read(lambda tx: tx.execute("select ms, seq from messages order by id").fetchall())
        finally:
            db.close()
        ids = [tuple(row) for row in rows]
        assert ids == sorted(set(ids)), "taken in out of order, or twice"
        return len(ids)


@pytest.fixture(params=BUSES)
def flooded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flooded]:
    made = Flooded(request.param, tmp_path)
    with made.bridge:
        yield made


@pytest.mark.usefixtures("unmeasured")
def test_long_messages_that_waited_all_come(flooded: Flooded) -> None:
    flooded.send(1150, "x" * 16_000)
    _, peak = flooded.poll()
    assert flooded.count() == 1150
    assert peak < 150
    flooded.send(1, "a small one behind them")
    flooded.poll()
    assert flooded.count() == 1151


def test_long_messages_that_come_while_it_polls_all_come(flooded: Flooded) -> None:
    flooded.send(1, "first")
    flooded.poll()
    flooded.send(1150, "x" * 16_000)
    flooded.poll()
    flooded.send(1, "a small one behind them")
    flooded.poll()
    assert flooded.count() == 1152


@pytest.mark.usefixtures("unmeasured")
def test_very_many_small_ones_all_come_with_signs_of_life(tmp_path: Path) -> None:
    made = Flooded("C", tmp_path)
    with made.bridge:
        made.send(10_000, "hello " * 40)
        signs, peak = made.poll()
        assert made.count() == 10_000
        assert signs >= 10_000 // 500
        assert peak < 150
        signs, _ = made.poll()  # a new process looks through all of it again, and takes nothing in
        assert signs >= 10_000 // 500, "an answer that takes its time is no poll that hangs"


def test_known_messages_are_not_fetched_again_and_again(flooded: Flooded) -> None:
    flooded.send(1150, "x" * 16_000)
    flooded.poll()
    flooded.bridge.requests.clear()
    flooded.poll(10)
    asked = [request.query for request in flooded.bridge.requests]
    assert len(asked) <= 11, "an ordinary poll needs one request"
    floor = {query.get("since") for query in asked}
    assert len(floor) == (1 if flooded.bridge.kind == "mupot" else 2), "one look back, and polls from near the end"
