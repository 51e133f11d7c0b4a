"""Several hosts in one process: rigs with a home and a host's name each, one ledger in PostgreSQL, one clock."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.world.engine import Rig
from tests.world.waiting import PATIENCE, until
from worker.ledger.errors import LedgerUnreachableError
from worker.ledger.port import Ledger, Tx
from worker.ledger.postgres import PostgresLedger
from worker.ledger.server_clock import ServerClock
from worker.secret import Secret

T = TypeVar("T")
LOST_AFTER = 900.0


class FleetClock(ServerClock):
    """The server's time, in the test's hand."""

    def __init__(self) -> None:
        super().__init__()
        self.at = time.time()

    def now(self) -> float:
        return self.at

    def is_stale(self) -> bool:
        return False


class Line(PostgresLedger):
    """A host's connection, which can be cut."""

    is_cut = False

    def write_all(self, operations: Sequence[Callable[[Tx], T]]) -> list[T | BaseException]:
        self._fail()
        return super().write_all(operations)

    def read(self, operation: Callable[[Tx], T]) -> T:
        self._fail()
        return super().read(operation)

    def _fail(self) -> None:
        if self.is_cut:
            raise LedgerUnreachableError("ledger: it is cut off by this test")


class HostRig(Rig):
    """One worker of one host. Its transport waits for `gate` where there is one, then notes that it ran, and exits."""

    def __init__(self, fleet: "Fleet", home: Path, name: str, **transport: Any) -> None:
        self.fleet = fleet
        self.name = name
        self.gate = home / "gate"
        script = (
            f'while [ -e {self.gate} ]; do sleep 0.02; done; echo "$SOS_MESSAGE_STREAM_ID {name}" >> {fleet.record}; '
            f"exit $(cat {home}/exit)"
        )
        self._threads: list[threading.Thread] = []
        whole = {"ledger_url": fleet.url, "host": name, "host_lost_after": LOST_AFTER}
        super().__init__(home, script=script, whole=whole, **transport)

    def open_ledger(self) -> Ledger:
        secret = Secret(self.fleet.url)
        self.line = Line(lambda: secret, clock=self.fleet.clock)
        return self.line

    @property
    def now(self) -> float:  # all hosts have the server's
        return self.fleet.clock.at

    @now.setter
    def now(self, at: float) -> None:
        self.fleet.clock.at = max(at, self.fleet.clock.at)

    def hold(self) -> None:
        """From now on what its transport runs waits."""
        self.gate.touch()

    def let_go(self) -> None:
        """What waits ends, and what follows does not wait."""
        self.gate.unlink(missing_ok=True)

    def begin(self) -> None:
        """Run what is due in threads of its own, and return once it runs."""
        before = len(self.rows("select 1 from deliveries where state = 'running'"))
        due = [delivery for _, _, delivery in self.due]
        self.due.clear()
        for delivery in due:
            thread = threading.Thread(target=self.engine.dispatcher.deliver, args=(delivery,), daemon=True)
            thread.start()
            self._threads.append(thread)
        until(
            lambda: len(self.rows("select 1 from deliveries where state = 'running'")) == before + len(due),
            "what is due runs",
        )

    def settle_down(self) -> None:
        """Wait for what was begun."""
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        self._threads.clear()

    def cut_off(self) -> None:
        """Its ledger is out of its reach, and so is it for the others."""
        self.line.is_cut = True

    def reconnect(self) -> None:
        """It is there again."""
        self.line.is_cut = False

    def lane(self) -> Any:
        (row,) = self.rows("select * from lanes order by id")
        return row


class Fleet:
    """The hosts, by name."""

    def __init__(self, url: str, home: Path) -> None:
        self.url = url
        self.home = home
        self.clock = FleetClock()
        self.record = home / "record"
        self.record.touch()
        self._started: list[HostRig] = []

    def host(self, name: str, *, home: str | None = None, **transport: Any) -> HostRig:
        """A worker of a host, started; `home`: by default named as the host."""
        folder = self.home / (home or name)
        folder.mkdir(exist_ok=True)
        rig = HostRig(self, folder, name, **transport)
        try:
            rig.engine.start()
        except BaseException:
            rig.engine.stop()
            raise
        self._started.append(rig)
        return rig

    def pass_time(self, seconds: float) -> None:
        """It gets later for all."""
        self.clock.at += seconds

    @property
    def runs(self) -> list[str]:
        """`ID HOST` of each run of a transport."""
        return self.record.read_text().splitlines()

    def stop(self) -> None:
        """Stop all that was started."""
        for rig in self._started:
            rig.let_go()
            rig.reconnect()
        for rig in self._started:
            rig.engine.stop()
            rig.engine.dispatcher.launcher.join(PATIENCE)


@contextmanager
def hosts(url: str, home: Path) -> Iterator[Fleet]:
    """A fleet, stopped afterwards."""
    fleet = Fleet(url, home)
    try:
        yield fleet
    finally:
        fleet.stop()
