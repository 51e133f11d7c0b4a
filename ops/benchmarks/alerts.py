"""What a look of the alerts costs: whether a condition holds is asked of all agents together, never of each."""

import tempfile
import time
from pathlib import Path

from ops.benchmarks.statements import counted_statements
from ops.benchmarks.table import Row, median_row
from worker.alert_settings import AlertSettings, ChannelSettings
from worker.engine.alerting import LOOK_SECONDS, Alerter
from worker.engine.lane_lookup import LaneLookup
from worker.engine.wake_ups import WakeUps
from worker.ledger.port import Tx
from worker.ledger.settling import Settled
from worker.ledger.sqlite import SqliteLedger
from worker.settings import AgentSettings, Settings, TransportSettings

NAME = "alerts"
WAITING = 20  # messages in each lane, where something waits


def run(*, quick: bool) -> list[Row]:
    """The rows of this part."""
    sizes, rounds = ((4, 40), 3) if quick else ((40, 1000), 15)
    rows = []
    for agents in sizes:
        with tempfile.TemporaryDirectory(prefix="bus-watch-bench-") as home:
            rows += _looks(Path(home), agents, rounds)
    return rows


class _NoQueue:
    """What is to be told is told by nobody here."""

    def deliver(self, delivery: int, at: float | None) -> None: ...

    def finalize(self, message: int) -> None: ...

    def may_claim_next(self, seconds: float, after: Settled) -> bool:
        raise NotImplementedError  # nothing is settled here, so nobody asks


def _looks(home: Path, agents: int, rounds: int) -> list[Row]:
    settings = Settings(
        agents=tuple(
            AgentSettings(agent=f"agent{n}", transports=(TransportSettings(name="t", command=("/bin/true",)),))
            for n in range(agents)
        ),
        state_path=str(home / "ledger.db"),
        alerts=AlertSettings(channels=(ChannelSettings(name="desk", type="desktop"),)),
    )
    what = f"{agents:,} agents"
    with counted_statements() as statements:
        db = SqliteLedger(settings.ledger_file)
        wakes = WakeUps(_NoQueue(), LaneLookup(settings), time.time)
        alerter = Alerter(db=db, wake_ups=wakes, clock=time.time, redact=str, look_seconds=0.0)

        def look() -> tuple[int, float]:
            before, begin = statements.count, time.process_time()
            alerter.round()
            return statements.count - before, 1000 * (time.process_time() - begin)

        db.write(lambda tx: _fill(tx, agents, time.time() - 3600))
        quiet = [look() for _ in range(rounds)]
        db.write(lambda tx: tx.execute("update deliveries set state = 'waiting'"))
        begins = look()
        lasts = [look() for _ in range(rounds)]
        db.close()
    return [
        Row(NAME, f"{what}: statements of a look, nothing waits", quiet[-1][0], "", "<= 30"),
        median_row(NAME, f"{what}: time of a look, nothing waits", [one[1] for one in quiet], "ms"),
        median_row(NAME, f"{what}: CPU, nothing waits", [one[1] / LOOK_SECONDS / 10 for one in quiet], "% core"),
        Row(NAME, f"{what}: time of a look that opens all their alerts", begins[1], "ms"),
        median_row(NAME, f"{what}: time of a look while all are stuck", [one[1] for one in lasts], "ms"),
    ]


def _fill(tx: Tx, agents: int, then: float) -> None:
    """So many lanes, each with messages of then, all of which are delivered."""
    ms = int(then * 1000)
    for agent in range(agents):
        name = f"agent{agent}"
        tx.execute("insert into inboxes (agent, floor_ms, polled_at) values (?, 0, ?)", (name, time.time()))
        tx.execute("insert into lanes (id, agent, transport) values (?, ?, 't')", (agent + 1, name))
        for number in range(WAITING):
            row = agent * WAITING + number + 1
            tx.execute(
                "insert into messages (id, agent, stream, ms, seq, message_id, source, text, received_at, state)"
                " values (?, ?, 's', ?, ?, ?, 'agent:bench', 'hello', ?, 'open')",
                (row, name, ms, number, f"{ms}-{number}", then),
            )
            tx.execute(
                "insert into deliveries (message, lane, ms, seq, state) values (?, ?, ?, ?, 'succeeded')",
                (row, agent + 1, ms, number),
            )
