"""Hosts of a fleet to break: homes with the same agents, one ledger in PostgreSQL, and a server that may go away."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.faults.lanes import Lanes
from tests.world.postgres import Server
from tests.world.processes import Process, descendants
from tests.world.waiting import until

SCHEMA = "fleet"


@dataclass(frozen=True)
class Outage:
    """What an outage of the server cost: until the first delivery after it, and until all were done (seconds)."""

    first: float
    done: float

    def words(self) -> str:
        """On one line."""
        return f"the first delivery {self.first:.1f} s after its return, all done {self.done:.1f} s after it"


class Hosts(Lanes):
    """Lanes that any of several hosts may run; a consumer that is started is of the host that has the fewest."""

    def __init__(self, home: Path, server: Server, *, hosts: tuple[str, ...] = ("north", "south"), **more: Any) -> None:
        self._server = server
        url_file = home / "ledger-url"
        self.write_private(url_file, server.fresh(SCHEMA))
        settings = {"ledger_url_file": str(url_file), "host": hosts[0], "run_on": "any"}
        super().__init__(home, settings=settings | more.pop("settings", {}), **more)
        self._places: dict[Path, Path] = {self.config: self.files}  # of each host: its configuration, its folder
        self._workers: dict[Path, list[Process]] = {self.config: []}
        for name in hosts[1:]:
            whole = json.loads(self.config.read_text()) | {"host": name, "state_path": str(home / name / "state.json")}
            config = self.config.with_name(f"{name}.json")
            self.write_private(config, json.dumps(whole))
            (home / name).mkdir(mode=0o700)
            self._places[config] = home / name / "state.d"
            self._workers[config] = []

    def start_worker(self, *command: str, step: str = "") -> Process:
        """Start a consumer of the host that has the fewest."""
        for known in self._workers.values():
            known[:] = [process for process in known if process.poll() is None]
        config = min(self._workers, key=lambda one: len(self._workers[one]))
        armed = {"BUS_WATCH_FAULT_STEP": step} if step else {}
        process = self.start(*(command or self.consumer_command), BUS_WATCH_CONFIG=str(config), **armed)
        self._workers[config].append(process)
        return process

    def serving(self) -> bool:
        """Whether a launcher lives, on any host."""
        here = self.state
        try:
            return any(self._serves(files) for files in self._places.values())
        finally:
            self.state = here

    def _serves(self, files: Path) -> bool:
        self.state = files.parent
        return super().serving()

    def rows(self, query: str, *values: object) -> list[Any]:
        """What the ledger says; nothing while there is no ledger yet."""
        words = query.replace("%", "%%").replace("?", "%s").encode()
        with self._server.connect() as connection, contextlib.suppress(psycopg.errors.UndefinedTable):
            connection.execute("select set_config('search_path', %s, false)", (SCHEMA,))
            return connection.execute(words, values).fetchall()
        return []

    @contextlib.contextmanager
    def away(self, how: str) -> Iterator[None]:
        """The server is stopped, crashes, or hangs while the block lasts."""
        if how == "hang":
            everybody = [self._server.pid, *descendants(self._server.pid)]
            _signal(everybody, signal.SIGSTOP)
            yield
            _signal(everybody, signal.SIGCONT)
        else:
            self._server.stop("immediate" if how == "crash" else "fast")
            yield
            self._server.start()

    def outage(self, how: str, seconds: float, *, messages: int, consumers: int = 4) -> Outage:
        """Let consumers work, take the server away for so long, let them finish; how long that took."""
        self.feed(messages)
        for _ in range(consumers):
            self.start_worker()
        until(lambda: len(self.keys("succeeded")) >= messages // 10, "some work", 300.0)
        before = self._ran()
        with self.away(how):
            time.sleep(seconds)
        back = time.monotonic()
        at_return = self._ran()
        assert at_return < messages, f"too few messages: {before} had run before, {at_return} at its return"
        until(lambda: self._ran() > at_return, "work after its return", 300.0)
        first = time.monotonic() - back
        self.drain(60.0 + messages * self.longest)
        return Outage(first, time.monotonic() - back)

    def _ran(self) -> int:
        """How many transports have begun, by their own records."""
        return sum(
            path.read_text().count(" start\n") for records in self.lanes.values() for path in records if path.exists()
        )


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
