"""An engine with a real ledger and a real launcher; its clock, its bus and its queue are in the test's hand."""

import heapq
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fakes.inbox import message
from tests.world.waiting import PATIENCE
from worker.bus.client import BusClient
from worker.bus.source import Collected
from worker.engine import Engine, sweeping
from worker.engine.finalizing import finalize
from worker.ledger.group_commit import GroupCommit
from worker.ledger.port import Ledger
from worker.ledger.settling import Settled
from worker.ledger.sqlite import SqliteLedger
from worker.settings import AgentSettings, Settings, TransportSettings


class Rig:
    """One worker. `now` is its clock; `answer` is what its transport's next runs exit with."""

    opened_by: Callable[[Path], Ledger] = SqliteLedger

    def __init__(
        self, home: Path, *, script: str | None = None, whole: dict[str, Any] | None = None, **transport: Any
    ) -> None:
        self.home = home
        self.now = time.time()
        self.record = home / "record"
        self.record.touch()
        self.exit = home / "exit"
        self.answer(0)
        command = (
            script or f'echo "$SOS_MESSAGE_STREAM_ID $SOS_DELIVERY_ATTEMPT" >> {self.record}; exit $(cat {self.exit})'
        )
        settings = {"name": "t", "command": ("/bin/sh", "-c", command), "retry_delay": 2.0, **transport}
        self.settings = Settings(
            agents=(AgentSettings(agent="a", transports=(TransportSettings(**settings),)),),
            state_path=str(home / "ledger.db"),
            allowlist=("/bin/sh",),
            config_path=home / "config.json",
            **(whole or {}),
        )
        self.due: list[tuple[float, int, int]] = []  # when, order of arrival, delivery
        self.finished: list[int] = []
        self.broken_queue = False
        self.goes_on = False  # a thread claims its lane's next head itself
        self._count = itertools.count()
        self.engine = Engine(
            settings=self.settings,
            db=self.open_ledger(),
            queue=self,
            bus=BusClient(),
            clock=lambda: self.now,
        )

    def open_ledger(self) -> Ledger:
        """Its ledger."""
        return type(self).opened_by(self.settings.ledger_file)

    @property
    def file(self) -> SqliteLedger:
        """Its ledger, where it is a file."""
        assert isinstance(self.engine.db, SqliteLedger)
        return self.engine.db

    @property
    def commits(self) -> GroupCommit:
        """Its ledger, as what commits for all."""
        assert isinstance(self.engine.db, GroupCommit)
        return self.engine.db

    # -- the queue -----------------------------------------------------------------------------------------------------

    def deliver(self, delivery: int, at: float | None) -> None:
        if self.broken_queue:
            raise OSError(28, "no space")
        heapq.heappush(self.due, (at or self.now, next(self._count), delivery))

    def finalize(self, message: int) -> None:
        self.finished.append(message)

    def may_claim_next(self, seconds: float, after: Settled) -> bool:
        return self.goes_on

    # -- the bus -------------------------------------------------------------------------------------------------------

    def take(self, count: int = 1, *, ms: int | None = None, source: str = "agent:s") -> list[str]:
        """So many new messages come in; returns their ids."""
        new = tuple(message(ms or int(self.now * 1000), next(self._count), source=source) for _ in range(count))
        self.engine.poller.take_in(self.settings.agents[0], Collected(new, (), 1))
        return [one.message_id for one in new]

    def answer(self, status: int) -> None:
        """From now on the transport exits with this."""
        self.exit.write_text(str(status))

    # -- time ----------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Do all that is due now."""
        while self.due and self.due[0][0] <= self.now:
            self.engine.dispatcher.deliver(heapq.heappop(self.due)[2])
        finished, self.finished = self.finished, []
        finalize(self.engine.db, finished, self.now)

    def pass_time(self, seconds: float) -> None:
        """Let time go by, and do everything when it is due."""
        end = self.now + seconds
        self.run()
        while self.due and self.due[0][0] <= end:
            self.now = max(self.now, self.due[0][0])
            self.run()
        self.now = end

    def sweep(self) -> sweeping.Swept:
        return self.engine.sweeper.sweep()

    # -- what is to be seen --------------------------------------------------------------------------------------------

    @property
    def runs(self) -> list[str]:
        """`ID ATTEMPT` of each run of the transport."""
        return self.record.read_text().splitlines()

    def rows(self, query: str = "select * from deliveries order by ms, seq") -> list[Any]:
        return self.engine.db.read(lambda db: db.execute(query).fetchall())

    @property
    def states(self) -> list[str]:
        return [row["state"] for row in self.rows()]


@contextmanager
def running(home: Path, **settings: Any) -> Iterator[Rig]:
    """A rig that is started, and stopped afterwards."""
    rig = Rig(home, **settings)
    rig.engine.start()
    rig.now = time.time()  # no claim is older than the folder of its files
    try:
        yield rig
    finally:
        rig.engine.stop()
        rig.engine.dispatcher.launcher.join(PATIENCE)
