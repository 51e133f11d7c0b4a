"""The model's transactions and recovery do what the code's do: else it would be searched in vain."""

import os
import random
from pathlib import Path

import pytest

from tests.fakes.inbox import message
from tests.model import ledger
from tests.model.rules import Scenario
from tests.model.sweep import sweep_steps
from tests.model.world import (
    FAILED,
    HELD,
    INTERRUPTED,
    NEW,
    NOT_STARTED,
    OK,
    RUNNING,
    TIMEOUT,
    VOID,
    Attempt,
    Delivery,
    File,
    Host,
    Sweep,
    World,
)
from worker import delivery
from worker.delivery import Ending, RetryPolicy
from worker.ledger import claims, intake, operate, settling
from worker.ledger.claims import Claim
from worker.ledger.groups import LaneSettings
from worker.ledger.operate import Chosen
from worker.ledger.sqlite import SqliteLedger
from worker.transports import receipt_format, recovery
from worker.transports.receipts import create_void_note, path_of

ENDINGS: dict[str, Ending] = {
    OK: Ending("exit", 0),
    FAILED: Ending("exit", 1),
    TIMEOUT: Ending("timeout", 9),
    INTERRUPTED: Ending("interrupted"),
    VOID: Ending("void"),
    NOT_STARTED: Ending("not_started", 28),
}
MESSAGES = 3


class Both:
    """One lane of three messages, in the ledger and in the model; all that happens, happens to both."""

    def __init__(self, folder: Path, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.random = random.Random(seed)
        self.db = SqliteLedger(folder / f"{seed}.db")
        self.db.write(lambda tx: intake.ensure_inbox(tx, "a", 0))
        self.now = 1_000_000.0
        self.attempts: dict[tuple[int, int], str] = {}  # by the model's id
        world = scenario.start()
        once = (1,) * MESSAGES  # that what succeeded had been done is not what is compared here
        self.world: World = world._replace(past=world.past._replace(successes=once))

    def step(self) -> None:
        """Something happens: whether it can is for both to say."""
        self.now += 1000.0  # whatever was put off is due
        one = self.random.randrange(MESSAGES)
        ways = [self.take_in, self.claim, self.settle, self.drop, self.retry]
        (way,) = self.random.choices(ways, weights=[4, 12, 12, 1, 1])
        way(one)
        self.compare()

    def take_in(self, one: int) -> None:
        page = [message(one + 1, 0)]
        self.db.write(lambda tx: intake.take_in(tx, "a", page, lambda _: (None, ["t"]), self.now))
        self.world = ledger.take_in(self.world, self.scenario, [one])

    def claim(self, one: int) -> None:
        row = self.row(one)
        settings = LaneSettings(coalesce=0.001 if self.scenario.coalesce else None)
        name = f"{len(self.attempts):032x}"
        found = self.db.write(
            lambda tx: claims.claim(
                tx, claims.this(row), attempt_id=name, worker="w", boot_id="b", now=self.now,
                settings=lambda *_: settings,
            )
        )  # fmt: skip
        assert isinstance(found, Claim) == ledger.is_claimable(self.world, self.scenario, one, 0)
        if isinstance(found, Claim):
            group = tuple(self.number(each.delivery) for each in found.together) or (one,)
            may = {members: (world, id_) for world, id_, members in ledger.claims(self.world, self.scenario, one, 0)}
            assert group in may, "a group that the model does not know"
            self.world, attempt = may[group]
            self.attempts[attempt] = name

    def settle(self, _one: int) -> None:
        if not self.attempts:
            return
        attempt = self.random.choice(list(self.attempts)[-2:])  # settled already, perhaps
        outcome = self.random.choice([OK, FAILED, FAILED, TIMEOUT, INTERRUPTED, VOID, NOT_STARTED])
        policy = RetryPolicy(
            max_attempts=self.scenario.max_attempts, on_unknown="hold" if self.scenario.hold else "redeliver"
        )
        row, name = self.row(attempt[0]), self.attempts[attempt]
        found = self.db.write(
            lambda tx: settling.settle(tx, row, name, ENDINGS[outcome], policy, now=self.now, rng=self.random)
        )
        self.world, changed = ledger.settle(self.world, self.scenario, attempt, outcome)
        written = () if found is None else tuple(sorted(self.number(each.delivery) for each in (found, *found.others)))
        assert written == changed

    def drop(self, one: int) -> None:
        if self.row(one):
            self.db.write(lambda tx: operate.drop(tx, self.message(one), Chosen(), self.now))
            self.world = ledger.drop(self.world, self.scenario, one) or self.world

    def retry(self, one: int) -> None:
        if self.row(one):
            self.db.write(lambda tx: operate.retry(tx, self.message(one), Chosen(), self.now))
            self.world = ledger.retry(self.world, self.scenario, one) or self.world

    def compare(self) -> None:
        rows = self.db.read(lambda db: db.execute(_ALL).fetchall())
        real = {row["ms"] - 1: tuple(row)[1:] for row in rows}
        for one, expected in enumerate(self.world.deliveries):
            state = self.world.messages[one].state
            if state == NEW:
                assert one not in real
            else:
                assert real[one] == (expected.state, expected.starts, expected.burnt, expected.cancel, state)

    def row(self, one: int) -> int:
        return self._number("select id from deliveries where ms = ?", one + 1)

    def message(self, one: int) -> int:
        return self._number("select id from messages where ms = ?", one + 1)

    def number(self, row: int) -> int:
        return self._number("select ms from deliveries where id = ?", row) - 1

    def _number(self, query: str, value: int) -> int:
        found = self.db.read(lambda db: db.execute(query, (value,)).fetchone())
        return int(found[0]) if found else 0


_ALL = """
select d.ms, d.state, d.starts, d.burnt, d.cancel, m.state from deliveries d join messages m on m.id = d.message
"""


@pytest.mark.parametrize("coalesce", [False, True])
@pytest.mark.parametrize("hold", [False, True])
def test_transactions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, coalesce: bool, hold: bool) -> None:
    monkeypatch.setattr(delivery, "MAX_VOIDS", 1000)  # the one limit that the model leaves out
    scenario = Scenario(messages=MESSAGES, hosts=(0,), late=True, coalesce=coalesce, hold=hold)
    seen: set[str] = set()
    for seed in range(4):
        both = Both(tmp_path, scenario, seed)
        for _ in range(80):
            both.step()
            seen |= {row.state for row in both.world.deliveries}
        both.db.close()
    assert seen >= {"waiting", "retrying", RUNNING, "succeeded", "cancelled"} | ({HELD} if hold else {"dead"})


ATTEMPT = "a" * 32


@pytest.mark.parametrize("lives", [True, False])
@pytest.mark.parametrize("same_boot", [True, False])
@pytest.mark.parametrize("file", ["none", "void", "note", "receipt"])
def test_recovery(tmp_path: Path, file: str, *, same_boot: bool, lives: bool) -> None:
    note = path_of(tmp_path, ATTEMPT, receipt_format.RECEIPT_SUFFIX)
    receipt = receipt_format.receipt_line(
        attempt=ATTEMPT, boot="b", kind="exit", code=0, started_at=1, ended_at=2, pid=os.getpid(), tail_length=0
    )
    if file == "void":
        assert create_void_note(tmp_path, ATTEMPT)
    elif file != "none":
        note.write_bytes(receipt if file == "receipt" else bytes(receipt_format.TAIL_AT))
    found = recovery.inspect(
        tmp_path, ATTEMPT, same_boot=same_boot, writer_alive=lambda: lives, started_at=0.0, timeout=1.0, now=100.0
    )
    words = {
        recovery.Void: VOID, recovery.Finished: OK, recovery.StillRunning: "left", recovery.Unknown: INTERRUPTED,
    }  # fmt: skip
    assert words[type(found)] == by_the_model(file, same_boot=same_boot, lives=lives)


def by_the_model(file: str, *, same_boot: bool, lives: bool) -> str:
    """How the model's recovery settles an attempt of a dead worker; `left` where it looks again later."""
    scenario = Scenario(messages=1, hosts=(0,))
    start, attempt = scenario.start(), (0, 1)
    worker = start.workers[0]._replace(incarnation=1, sweep=Sweep(attempt, "note"))
    files = () if file == "none" else (File(attempt, file == "void", OK if file == "receipt" else "", named=True),)
    world = start._replace(
        deliveries=(Delivery(RUNNING, attempt, starts=1),),
        attempts=(Attempt(attempt, (0,), (1,), (0, 0), boot=0),),
        hosts=(Host(boot=0 if same_boot else 1),),
        workers=(worker,),
        launchers=((0, 0),) if lives else (),
        files=files,
    )
    while (sweep := world.workers[0].sweep) is not None and sweep.at != "settle":
        (step,) = sweep_steps(world, scenario)
        world = step.world
    return sweep.outcome if sweep is not None else "left"
