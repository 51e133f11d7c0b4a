"""A world to break: a fake bridge, a configuration, transports that keep a record, and real consumers on one ledger."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.fakes.bridges import FakeBridge
from tests.faults.record import Verdict, judge
from worker import process_table
from worker.transports.locks import flock_is_free

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0

# A text that begins with "fail" fails at its first attempt, and leaves no record of that.
_TRANSPORT = """#!/bin/sh
case "$2" in fail*) [ "$SOS_DELIVERY_ATTEMPT" = 1 ] && exit 1; set -- "$1" "${2#fail}";; esac
echo "$SOS_MESSAGE_KEY $SOS_DELIVERY_ATTEMPT start" >> "$1"
sleep "$2"
echo "$SOS_MESSAGE_KEY $SOS_DELIVERY_ATTEMPT end" >> "$1"
"""

CONSUMER = (sys.executable, "-m", "huey.bin.huey_consumer", "worker.app.huey")
RUN = (sys.executable, "-m", "worker.cli.main", "run")


def until(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Wait until `condition` holds; AssertionError after `patience` seconds."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """The processes that this one has started itself."""
    return _parents().get(pid, [])


def descendants(pid: int) -> list[int]:
    """The processes below this one, itself not included."""
    parents = _parents()
    found: list[int] = []
    wanted = [pid]
    while wanted:
        below = parents.get(wanted.pop(), [])
        found += below
        wanted += below
    return found


def _parents() -> dict[int, list[int]]:
    parents: dict[int, list[int]] = {}
    for pid in process_table.pids():
        if fields := process_table.stat(pid):
            parents.setdefault(int(fields[process_table.PARENT]), []).append(pid)
    return parents


class World:
    """`lanes` agents with one recording transport each (or one agent with as many transports), on one bridge.

    The text of a message is how long its transports last, in seconds. Everything random comes from `seed`.
    """

    def __init__(
        self,
        home: Path,
        *,
        lanes: int = 3,
        seed: int = 1,
        one_agent: bool = False,
        longest: float = 0.3,
        transport: dict[str, Any] | None = None,
        settings: dict[str, Any] | None = None,
        state: Path | None = None,
    ) -> None:
        self.home = home
        self.random = random.Random(seed)
        self.longest = longest
        self.bridge = FakeBridge("C")
        self.script = home / "wake"
        self.script.write_text(_TRANSPORT)
        self.script.chmod(0o700)
        self.state = state or home / "state"
        self.sent: dict[Path, list[str]] = {}
        self.lanes: dict[str, list[Path]] = {}
        self.processes: list[subprocess.Popen[bytes]] = []
        names = ["a0"] if one_agent else [f"a{n}" for n in range(lanes)]
        agents = [self._agent(name, lanes if one_agent else 1, transport or {}) for name in names]
        self.config = home / "bus-watch.json"
        self.config.write_text(
            json.dumps(
                {
                    "agents": agents,
                    "bridge_url": self.bridge.url,
                    "requests_per_minute": 600,
                    "poll_interval": 1,
                    "announce": False,
                    "watch": False,
                    "state_path": str(self.state / "ledger.db"),
                    "allowlist": [str(self.script)],
                    **(settings or {}),
                }
            )
        )
        self.config.chmod(0o600)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("BUS_WATCH_", "SOS_"))},
            "BUS_WATCH_CONFIG": str(self.config),
            "PYTHONPATH": str(ROOT),
        }

    def _agent(self, name: str, transports: int, extra: dict[str, Any]) -> dict[str, Any]:
        token = self.home / f"{name}.token"
        token.write_text(self.bridge.add_token(name))
        token.chmod(0o600)
        self.lanes[name] = [self.home / f"{name}-{n}.record" for n in range(transports)]
        self.sent.update({record: [] for record in self.lanes[name]})
        return {
            "agent": name,
            "token_file": str(token),
            "transports": [
                {"name": f"t{n}", "command": [str(self.script), str(record), "{text}"], **extra}
                for n, record in enumerate(self.lanes[name])
            ],
        }

    def __enter__(self) -> Self:
        self.bridge.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            everybody = [process.pid, *descendants(process.pid)]
            if process.poll() is None:
                for pid in everybody:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            process.wait()
        self.bridge.__exit__(kind, error, trace)

    # -- the bus -----------------------------------------------------------------------------------------------------

    def feed(self, count: int, *, agent: str | None = None, text: str | None = None, failing: bool = False) -> None:
        """Put messages into the inboxes, the agents by turns chosen at random; `failing`: at their first attempt."""
        for _ in range(count):
            name = agent or self.random.choice(sorted(self.lanes))
            duration = f"{'fail' * failing}{self.random.uniform(0, self.longest):.3f}"
            ms, seq = self.bridge.streams.add(name, duration if text is None else text)
            key = f"{name}/sos:stream:global:agent:{name}/{ms}-{seq}"
            for record in self.lanes[name]:
                self.sent[record].append(key)

    # -- consumers ---------------------------------------------------------------------------------------------------

    def start(
        self, *command: str, step: str = "", environment: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a consumer, by default huey's own."""
        extra = dict(environment or {})
        if step:
            extra["BUS_WATCH_FAULT_STEP"] = step
        with (self.home / "consumer.log").open("ab") as log:
            process = subprocess.Popen(
                command or CONSUMER, cwd=self.home, env={**self.environment, **extra},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self.processes = [known for known in self.processes if known.poll() is None]
        self.processes.append(process)
        return process

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one command of `bus-watch` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "worker.cli.main", *arguments], cwd=self.home, env=self.environment,
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip

    def log(self) -> str:
        """The end of what the consumers printed."""
        return (self.home / "consumer.log").read_text("utf-8", "replace")[-4000:]

    @property
    def ledger(self) -> Path:
        return self.state / "ledger.db"

    @property
    def queue(self) -> Path:
        return self.state / "ledger-queue.db"

    @property
    def files(self) -> Path:
        return self.state / "ledger.d"

    def serving(self) -> bool:
        """Whether a launcher lives: the consumer is past its start."""
        return any(not flock_is_free(path) for path in self.files.glob("*.launcher"))

    @contextlib.contextmanager
    def look(self) -> Iterator[sqlite3.Connection]:
        """The ledger, for looking only."""
        connection = sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True, timeout=30)
        connection.row_factory = sqlite3.Row
        try:
            yield connection
        finally:
            connection.close()

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """What the ledger says; nothing while there is no ledger yet."""
        try:
            with self.look() as connection:
                return connection.execute(query, values).fetchall()
        except sqlite3.OperationalError:
            return []

    def count(self, query: str, *values: object) -> int:
        """One number from the ledger."""
        found = self.rows(query, *values)
        return int(found[0][0]) if found else 0

    # -- the end -----------------------------------------------------------------------------------------------------

    def owed(self) -> int:
        """How many messages were sent."""
        return sum(len(self.sent[records[0]]) for records in self.lanes.values())

    def keys(self, state: str) -> frozenset[str]:
        """The keys of the messages that have a delivery in this state, by the ledger."""
        return frozenset(
            row[0]
            for row in self.rows(
                """
                select m.agent || '/' || m.stream || '/' || m.message_id
                from deliveries d join messages m on m.id = d.message where d.state = ?
                """,
                state,
            )
        )

    def drained(self) -> bool:
        """Whether all that was sent is in the ledger, and nothing is left to do without a person."""
        # In this order: between the two a poll may commit what was sent.
        if self.count("select count(*) from messages") != self.owed():
            return False
        return not self.count("select count(*) from deliveries where state in ('waiting', 'retrying', 'running')")

    def drain(self, patience: float = PATIENCE) -> None:
        """Let the consumers that run finish the work."""
        until(self.drained, "all messages to be over", patience)

    def verdict(self, *, interrupted: Counter[str] | None = None, unfinished: frozenset[str] = frozenset()) -> Verdict:
        """The judgement by the transports' record."""
        return judge(self.sent, interrupted=interrupted, unfinished=unfinished)

    def states(self) -> dict[str, int]:
        """How many deliveries are in which state, by the ledger."""
        return {
            row[0]: row[1] for row in self.rows("select state, count(*) from deliveries group by state order by state")
        }
