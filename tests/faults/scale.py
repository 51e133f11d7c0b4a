"""What a long history costs: the same work on a ledger with few delivered rows and on one with very many.

Three measures of each operation: the query plans of all its statements, the steps that SQLite's virtual machine takes
(which count visited rows, and do not depend on the machine), and seconds.
"""

import random
import sqlite3
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from worker.bus.client import BusClient
from worker.bus.source import Collected
from worker.bus.wire import InboxMessage
from worker.delivery import Ending, RetryPolicy
from worker.engine import Engine
from worker.engine.inbox_view import BusClock, InboxMemory, InboxView
from worker.engine.retention import retain
from worker.ledger import claims, history, intake, lanes, leases, message_report, operate, report, settling
from worker.ledger.opening import Connection
from worker.ledger.operate import Chosen
from worker.ledger.port import Ledger, Tx
from worker.ledger.settling import Settled
from worker.ledger.sqlite import SqliteLedger
from worker.settings import AgentSettings, Settings, TransportSettings

AGENTS = ("a0", "a1", "a2")
DAY = 86400.0

# Tables that hold a row for each agent, stream, lane or worker process, and `found`, the lanes with something to do:
# to scan them is to read them.
SMALL = frozenset(
    {"lanes", "l", "workers", "inboxes", "i", "streams", "CONSTANT", "found", "n"}
)  # found: lanes with something to do; n: notices, which the next sweep reads and deletes
# Indexes that hold only what is not done: their size is the work there is, not the history.
LIVE = (
    "messages_open",
    "messages_unreported",
    "messages_receipts",
    "deliveries_pending",
    "one_runs",
    "deliveries_scheduled",
    "deliveries_stuck",
)

# The newest rows of a table are at its end: reading it backwards stops at the limit.
NEWEST = "from messages m order by m.id desc limit ?"


class Recorder:
    """A connection that remembers the statements which went through it, and counts the machine's steps."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.statements: dict[str, Any] = {}
        self.steps = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)

    def execute(self, query: str, values: Any = ()) -> sqlite3.Cursor:
        self.statements[query] = values
        return self.connection.execute(query, values)

    def executemany(self, query: str, values: Any) -> sqlite3.Cursor:
        return self.connection.executemany(query, values)

    def count(self, *, counting: bool) -> None:
        self.connection.set_progress_handler(self._step if counting else None, 1)

    def _step(self) -> int:
        self.steps += 1
        return 0

    def plans(self) -> dict[str, list[str]]:
        """The plan of every statement so far."""
        found = {}
        for query, values in self.statements.items():
            if query.split(None, 1)[0].lower() in {"select", "insert", "update", "delete", "with"}:
                rows = self.connection.execute(f"explain query plan {query}", values).fetchall()
                found[" ".join(query.split())] = [row["detail"] for row in rows]
        return found


@dataclass
class Figures:
    """What was measured: by statement, by operation."""

    plans: dict[str, list[str]] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def scans(self) -> list[str]:
        """Statements that read a whole table, or an index that grows with the history."""
        return [
            f"{query}: {detail}"
            for query, details in self.plans.items()
            for detail in details
            if detail.startswith("SCAN")
            and detail.split()[1] not in SMALL
            and not detail.split()[1].startswith("(")
            and not any(f"INDEX {index}" in detail for index in LIVE)
            and not query.endswith(NEWEST)
        ]


class Silent:
    """A queue that wakes nobody."""

    def deliver(self, delivery: int, at: float | None) -> None:
        pass

    def may_claim_next(self, seconds: float, after: Settled) -> bool:
        return False

    def finalize(self, message: int) -> None:
        pass


def sqlite_of(ledger: Ledger) -> SqliteLedger:
    """The ledger as what it is here."""
    assert isinstance(ledger, SqliteLedger)
    return ledger


def settings_of(home: Path) -> Settings:
    """Three agents with one transport each."""
    transport = TransportSettings(
        name="t0", command=("/bin/true",), max_wakes_per_minute=1000, max_wakes_per_source=1000, expires_after=9 * DAY
    )
    return Settings(
        agents=tuple(AgentSettings(agent=name, transports=(transport,)) for name in AGENTS),
        state_path=str(home / "ledger.db"),
        allowlist=("/bin/true",),
        config_path=home / "config.json",
    )


def build(home: Path, delivered: int) -> Engine:
    """An engine on a new ledger: so many delivered messages of the last 20 days, and a little work that is not done."""
    settings = settings_of(home)
    engine = Engine(settings=settings, db=SqliteLedger(settings.ledger_file), queue=Silent(), bus=BusClient())
    engine.identity.files.mkdir()
    engine.db.write(engine.register)
    now = time.time()
    engine.db.write(lambda tx: _fill(tx, delivered, now))
    sqlite_of(engine.db)._writer.execute("pragma wal_checkpoint(truncate)")
    for number in range(30):
        take(engine, AGENTS[number % 3], 10)
    for state, count in (("dead", 12), ("held", 6)):
        engine.db.write(
            lambda tx, state=state, count=count: tx.execute(  # type: ignore[misc]
                "update deliveries set state = ? where id in"
                " (select id from deliveries where state = 'waiting' order by id desc limit ?)",
                (state, count),
            )
        )
    return engine


def _fill(tx: Tx, count: int, now: float) -> None:
    """Messages, deliveries and attempts, the oldest first; texts older than a week are cleared already."""
    begin = now - 20 * DAY
    values = {"count": count, "begin": begin, "step": 19.9 * DAY / max(count, 1), "week": now - 7 * DAY}
    tx.execute(
        """
        with recursive n (i) as (select 0 where :count > 0 union all select i + 1 from n where i + 1 < :count)
        insert into messages
          (id, agent, stream, ms, seq, message_id, source, class, text, received_at, state, finished_at)
        select i + 1, 'a' || (i % 3), 'sos:stream:global:agent:a' || (i % 3),
               cast((:begin + i * :step) * 1000 as integer), i % 7,
               cast((:begin + i * :step) * 1000 as integer) || '-' || (i % 7), 'agent:s' || (i % 40), 'actionable',
               case when :begin + i * :step < :week then null else 'a message of an ordinary length, number ' || i end,
               :begin + i * :step, 'delivered', :begin + i * :step + 1
        from n
        """,
        values,
    )
    tx.execute(
        """
        insert into deliveries (id, message, lane, ms, seq, state, starts, ended_at)
        select m.id, m.id, l.id, m.ms, m.seq, 'succeeded', 1, m.finished_at
        from messages m join lanes l on l.agent = m.agent order by m.id
        """
    )
    tx.execute(
        """
        insert into attempts
          (id, delivery, lane, starts, worker, boot_id, source, started_at, timeout, ended_at, result)
        select printf('%012x%020x', m.ms, m.id), m.id, d.lane, 1, 'w' || (m.id % 5), 'boot', m.source, m.received_at,
               30, m.finished_at, 'exit 0'
        from messages m join deliveries d on d.id = m.id order by m.ms, m.id
        """
    )


_ids = iter(range(10**9))


def fresh(agent: str, count: int) -> list[InboxMessage]:
    """New messages as the bus gives them, all of one millisecond: how many share one decides how many rows are read."""
    found = []
    ms = int(time.time() * 1000)
    for _ in range(count):
        seq = next(_ids)
        found.append(
            InboxMessage(
                stream=f"sos:stream:global:agent:{agent}", message_id=f"{ms}-{seq}", ms=ms, seq=seq, source="agent:s1",
                text="hello", message_class=None, project=None, timestamp=None,
            )
        )  # fmt: skip
    return found


def take(engine: Engine, agent: str, count: int) -> None:
    """What a poll does in the ledger, the bus left out."""
    name = engine.settings.agent(agent)
    assert name is not None
    engine.db.read(lambda db: leases.inbox_of(db, agent, time.time()))
    engine.db.write(lambda tx: intake.book_slot(tx, agent, time.time(), 0.0))
    since = engine.db.read(lambda db: history.cursor(db, agent, int(time.time() * 1000)))
    expected = engine.db.read(lambda db: history.known_after(db, agent, since[0]))
    memory = InboxMemory(BusClock(clock=time.time))
    seen = InboxView(db=engine.db, agent=agent, since=since, expected=expected, memory=memory, alive=lambda _: None)
    page = fresh(agent, count)
    new = [message for message in page if message.key not in seen.known(page)]
    engine.poller.take_in(name, Collected(tuple(new), (), 1))


def deliver(engine: Engine, ending: Ending, *, going_on: bool = False) -> None:
    """Claim a due head and settle it, the transport left out; `going_on` with the lane, as a settle does."""
    now = time.time()
    attempt = claims.new_attempt_id(now)

    def claim(tx: Tx) -> claims.Claim | claims.NotClaimed:
        lane = tx.execute("select id from lanes where agent = 'a1'").fetchone()["id"]
        head = lanes.candidate(tx, lane, ordered=True, now=now + 1e6)
        assert head is not None
        tx.execute("update deliveries set next_at = null where id = ?", (head.delivery,))
        return claims.claim(
            tx,
            claims.head_of(lane) if going_on else claims.this(head.delivery),
            attempt_id=attempt,
            worker=engine.identity.worker,
            boot_id=engine.identity.boot,
            settings=engine.lanes.claim_settings,
            now=now,
        )

    claimed = engine.db.write(claim)
    assert isinstance(claimed, claims.Claim)

    def settle(tx: Tx) -> None:
        policy = RetryPolicy(retry_delay=0.001)
        settled = settling.settle(tx, claimed.delivery, attempt, ending, policy, now=now, rng=random.Random(1))
        assert settled is not None
        engine.wake_ups.mark(tx, [settled.lane])

    engine.db.write(settle)


def status(engine: Engine) -> None:
    """What `status` and `queue` ask."""

    def ask(db: Tx) -> None:
        report.workers(db)
        report.inboxes(db)
        for lane in report.lanes(db):
            report.running(db, lane.id)
            report.pending(db, lane.id, 20)
            report.stuck(db, lane.id, 20)
        message_report.history(db, message_report.Wanted(), 20)
        message_report.history(db, message_report.Wanted(frozenset({"a2"})), 20)

    engine.db.read(ask)


def one_message(engine: Engine) -> None:
    """What `show`, `retry` and `drop` do."""
    row = engine.db.read(lambda db: db.execute("select max(id) as id from messages").fetchone())
    key = engine.db.read(
        lambda db: db.execute("select agent, message_id from messages where id = ?", (row["id"],)).fetchone()
    )
    message = engine.db.read(lambda db: operate.find_message(db, f"{key['agent']}/{key['message_id']}"))
    assert engine.db.read(lambda db: operate.find_message(db, key["message_id"])) == message
    engine.db.read(lambda db: message_report.message(db, message))
    engine.db.read(lambda db: [message_report.attempts(db, delivery.id) for delivery in report.of_message(db, message)])
    engine.db.write(lambda tx: operate.drop(tx, message, Chosen(), time.time()))
    engine.db.write(lambda tx: operate.retry(tx, message, Chosen(), time.time()))
    engine.db.read(operate.dead_messages)


OPERATIONS: dict[str, Callable[[Engine], object]] = {
    "poll": lambda engine: take(engine, "a0", 10),
    "poll that brings nothing": lambda engine: take(engine, "a0", 0),
    "deliver": lambda engine: deliver(engine, Ending("exit", 0)),
    "deliver what comes next": lambda engine: deliver(engine, Ending("exit", 0), going_on=True),
    "deliver in vain": lambda engine: deliver(engine, Ending("exit", 1)),
    "sweep": lambda engine: engine.sweeper.sweep(),
    "retention": lambda engine: retain(engine.db, engine.settings, engine.clock()),
    "status": status,
    "one message": one_message,
}


def measure(engine: Engine, *, rounds: int = 20) -> Figures:
    """Do everything once while it is watched, then `rounds` times against the clock."""
    figures = Figures()
    ledger = sqlite_of(engine.db)
    writer, reader = Recorder(ledger._writer), Recorder(ledger._reader)
    for operation in OPERATIONS.values():  # once unwatched: prepared statements and pages are there
        operation(engine)
    ledger._writer = cast("Connection", writer)
    ledger._reader = cast("Connection", reader)
    for name, operation in OPERATIONS.items():
        before = writer.steps + reader.steps
        for recorder in (writer, reader):
            recorder.count(counting=True)
        operation(engine)
        for recorder in (writer, reader):
            recorder.count(counting=False)
        figures.steps[name] = writer.steps + reader.steps - before
    figures.plans = writer.plans() | reader.plans()
    ledger._writer, ledger._reader = writer.connection, reader.connection
    for name, operation in OPERATIONS.items():
        figures.seconds[name] = statistics.median(_seconds(operation, engine) for _ in range(rounds))
    return figures


def _seconds(operation: Callable[[Engine], object], engine: Engine) -> float:
    before = time.perf_counter()
    operation(engine)
    return time.perf_counter() - before


def compare(small: Figures, large: Figures) -> list[str]:
    """What a long history changes: nothing, if this is empty. Times are for the caller to judge."""
    found = [f"reads a whole table: {scan}" for scan in large.scans()]
    found += [
        f"another plan: {query}: {plan} instead of {small.plans.get(query)}"
        for query, plan in large.plans.items()
        if small.plans.get(query, plan) != plan
    ]
    found += [
        f"{name}: {large.steps[name]} steps instead of {steps}"
        for name, steps in small.steps.items()
        if abs(large.steps[name] - steps) > 0.05 * steps + 20
    ]
    return found


def table(figures: Sequence[tuple[str, Figures]]) -> str:
    """The figures for people."""
    lines = [f"{'':28}" + "".join(f"{title:>28}" for title, _ in figures)]
    for name in OPERATIONS:
        cells = (f"{one.steps[name]:>12} steps {one.seconds[name] * 1000:>6.2f} ms" for _, one in figures)
        lines.append(f"{name:28}" + "".join(f"{cell:>28}" for cell in cells))
    return "\n".join(lines)
