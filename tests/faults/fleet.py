"""Hosts of a fleet to break: homes with the same agents, one ledger in PostgreSQL, and a server that may go away."""

import contextlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.faults.lanes import Lanes
from tests.faults.record import Verdict
from tests.world.postgres import Server
from tests.world.processes import Process, descendants, kill_everybody
from tests.world.waiting import until
from worker.ledger.claims import START_SECONDS
from worker.ledger.upkeep import OVER_SECONDS

SCHEMA = "fleet"
SWEEP_SECONDS = 5.0
LOST_AFTER = 20  # seconds, where a host is to be lost


@dataclass(frozen=True)
class Outage:
    """What an outage of the server cost: until the first delivery after it, and until all were done (seconds)."""

    first: float
    done: float

    def words(self) -> str:
        """On one line."""
        return f"the first delivery {self.first:.1f} s after its return, all done {self.done:.1f} s after it"


class Hosts(Lanes):
    """Lanes that any of several hosts may run, or are `bound`; a new consumer is of the host that has the fewest."""

    def __init__(
        self,
        home: Path,
        server: Server,
        *,
        hosts: tuple[str, ...] = ("north", "south"),
        bound: bool = False,
        **more: Any,
    ) -> None:
        self._server = server
        self._bound = bound
        url_file = home / "ledger-url"
        self.write_private(url_file, server.fresh(SCHEMA))
        settings = {"ledger_url_file": str(url_file), "host": hosts[0]} | ({} if bound else {"run_on": "any"})
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

    def lose_host(self, in_flight: int, *, messages: int) -> Verdict:
        """Lose the first host while its transports run in so many lanes, and let the other one finish what it may.

        Where lanes are bound, what outlives its worker goes on, and the host comes back; else the machine is gone for
        good. The verdict forgives that those in flight ran again or, where they are held, did not run to their end.
        """
        north = self.start_worker()
        for name in sorted(self.lanes)[:in_flight]:
            self.feed(1, agent=name, text="gate")
        until(lambda: self._ran() == in_flight, "some in flight")
        flying = self.keys("running")
        self.start_worker()
        until(lambda: self.count("select count(*) from hosts") == len(self._places), "two hosts")
        self.feed(messages)
        if self._bound:
            north.kill()
        else:
            kill_everybody(north.pid)
        north.wait()
        (self.home / "gate").touch()
        if self._bound:
            self._wait_until_all_must_be_over()
            assert self.keys("running") == flying, "somebody else's receipts were not waited for"
            self.start_worker()
        self.drain(300.0)
        held = self.keys("held")
        assert held <= flying, f"held, and not in flight: {held - flying}"
        again = frozenset[str]() if self._bound else flying - held
        verdict = self.verdict(interrupted=Counter(again), unfinished=held)
        assert verdict.runs == verdict.kept + len(again), verdict.words()
        assert len(flying) == in_flight
        return verdict

    def _wait_until_all_must_be_over(self) -> None:
        """Until the server's clock says that what runs has had all its time; and the sweeps after it."""
        rows = self.rows("select max(started_at + timeout) from attempts where ended_at is null")
        over = rows[0][0] + START_SECONDS + OVER_SECONDS
        clock = "select cast(extract(epoch from clock_timestamp()) as double precision)"
        until(lambda: self.rows(clock)[0][0] > over + 2 * SWEEP_SECONDS, "all that runs to be over", 300.0)

    def _ran(self) -> int:
        """How many transports have begun, by their own records."""
        return sum(
            path.read_text().count(" start\n") for records in self.lanes.values() for path in records if path.exists()
        )


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
