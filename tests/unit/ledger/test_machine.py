"""The ledger against a model: hypothesis does what polls, workers, sweeps and people do, in any order."""

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.fakes.inbox import message
from tests.world.ledgers import at
from tests.world.postgres import Server
from worker import delivery
from worker.delivery import Counters, Ending, RetryPolicy
from worker.ledger import claims, intake, lanes, operate, settling, upkeep
from worker.ledger.claims import Claim, NotClaimed
from worker.ledger.groups import LaneSettings
from worker.ledger.operate import Chosen
from worker.ledger.port import Ledger, Row, Tx
from worker.ledger.sqlite import SqliteLedger

POLICY = RetryPolicy(max_attempts=3, retry_max_delay=30.0, give_up_after=1e12)
HOLD = replace(POLICY, on_unknown="hold")
ORDERED = {"first": True, "second": False, "grouped": True, "loose": False}  # transports
GROUPED = {"grouped", "loose"}
POLICY_OF = {"first": HOLD, "second": POLICY, "grouped": POLICY, "loose": HOLD}
FINAL = {"succeeded", "dead", "cancelled"}
GATHERS = 0.001  # seconds between two wakes of a transport that coalesces
CHOSEN = st.builds(Chosen, st.sampled_from([None, *ORDERED]), st.booleans(), st.none())


@dataclass
class Model:
    """What one delivery should be."""

    key: tuple[int, int]
    transport: str
    message: int
    state: str = "waiting"
    starts: int = 0
    burnt: int = 0
    frees: int = 0
    voids: int = 0
    next_at: float | None = None
    cancel: bool = False
    attempt: str | None = None
    failed_with: frozenset[int] = frozenset()  # the deliveries of its last attempt


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.db: Ledger = self.opened()
        self.now = 1_000_000.0
        self.model: dict[int, Model] = {}  # by delivery
        self.paused: set[str] = set()
        self.broken: set[str] = set()
        self.began: dict[str, float] = {}  # by attempt
        self.woken: dict[str, float] = {}  # by transport: when its last successful attempt began
        self.sent: set[tuple[int, int]] = set()
        self.count = 0
        self.rng = random.Random(0)
        self.db.write(lambda tx: intake.ensure_inbox(tx, "a", 0))
        self.lanes = {name: self.db.write(lambda tx, n=name: intake.ensure_lane(tx, "a", n)) for name in ORDERED}  # type: ignore[misc]

    def opened(self) -> Ledger:
        """A new ledger."""
        file = SqliteLedger(Path(self.folder.name) / "ledger.db")
        file._writer.execute("pragma synchronous = off")  # no power fails here, and 1,200 commits take their time
        return file

    def teardown(self) -> None:
        self.db.close()
        self.folder.cleanup()

    # -- what polls do -------------------------------------------------------------------------------------------------

    @rule(ids=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 2)), max_size=4))
    def poll(self, ids: list[tuple[int, int]]) -> None:
        """Messages come in, perhaps again, perhaps older ones late."""
        page = [message(ms, seq) for ms, seq in ids]
        taken = self.db.write(lambda tx: intake.take_in(tx, "a", page, lambda _: (None, list(ORDERED)), self.now))
        new = set(ids) - self.sent
        assert taken.new == len(new)
        self.sent |= new
        for row in self.rows(
            "select d.id, d.ms, d.seq, d.message, l.transport from deliveries d, lanes l where l.id = d.lane"
        ):
            if row["id"] not in self.model:
                assert (row["ms"], row["seq"]) in new
                self.model[row["id"]] = Model((row["ms"], row["seq"]), row["transport"], row["message"])

    # -- what workers do -----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        """Somebody was woken for a delivery, rightly or wrongly."""
        chosen = data.draw(st.sampled_from(sorted(self.model)))
        one = self.model[chosen]
        self.count += 1
        attempt = f"{self.count:032x}"
        result = self.db.write(
            lambda tx: claims.claim(
                tx, claims.this(chosen), attempt_id=attempt, worker="w", boot_id="b", now=self.now,
                settings=lambda _, transport: LaneSettings(
                    ordered=ORDERED[transport], coalesce=GATHERS if transport in GROUPED else None
                ),
            )
        )  # fmt: skip
        gathers = one.transport in GROUPED and not one.burnt and self.woken.get(one.transport) == self.now
        if self._claimable(one, chosen) and not gathers:
            assert isinstance(result, Claim)
            group = self._group(one, chosen)
            assert [member.delivery for member in result.together] == (group if len(group) > 1 else [])
            for number in group:
                member = self.model[number]
                member.state, member.attempt, member.next_at = "running", attempt, None
                member.starts += 1
                member.failed_with = frozenset(group)
            self.began[attempt] = self.now
            assert result.attempt == one.starts
        else:
            assert isinstance(result, NotClaimed), result
            if self._claimable(one, chosen):
                one.next_at = self.now + GATHERS

    def _group(self, head: Model, chosen: int) -> list[int]:
        """What goes together with a delivery that is claimed, in inbox order."""
        if head.transport not in GROUPED:
            return [chosen]
        group = []
        for number, one in sorted(self.model.items(), key=lambda item: (item[1].key, item[0])):
            if one.transport != head.transport or one.state not in {"waiting", "retrying"}:
                continue
            due = one.next_at is None or one.next_at <= self.now
            again = number in head.failed_with if head.burnt else not one.burnt
            if number == chosen or (due and again):
                group.append(number)
            elif ORDERED[head.transport]:
                break
        return group

    def _claimable(self, one: Model, chosen: int) -> bool:
        lane = [(other.key, number) for number, other in self.model.items() if other.transport == one.transport]
        pending = [place for place in lane if self.model[place[1]].state in {"waiting", "retrying"}]
        due = one.next_at is None or one.next_at <= self.now
        busy = any(self.model[number].state == "running" for _, number in lane)
        ordered = ORDERED[one.transport] or one.transport in self.broken
        return (
            one.state in {"waiting", "retrying"}
            and due
            and not busy
            and one.transport not in self.paused
            and (not ordered or min(pending)[1] == chosen)
        )

    @precondition(lambda self: any(one.state == "running" for one in self.model.values()))
    @rule(data=st.data(), code=st.sampled_from([0, 0, 1, 65, 69, 75, 76, "void", "timeout", "interrupted"]))
    def settle(self, data: st.DataObject, code: Any) -> None:
        """A run has ended, or a sweep found out how; and who comes second changes nothing."""
        attempt = data.draw(st.sampled_from(sorted({one.attempt for one in self.model.values() if one.attempt})))
        (chosen,) = (row["delivery"] for row in self.rows(f"select delivery from attempts where id = '{attempt}'"))
        ending = Ending(code) if isinstance(code, str) else Ending("exit", code)  # type: ignore[arg-type]
        policy = POLICY_OF[self.model[chosen].transport]
        group = sorted((n for n, one in self.model.items() if one.attempt == attempt), key=lambda n: n != chosen)

        def write(tx: Tx, *, given: str) -> settling.Settled | None:
            return settling.settle(tx, chosen, given, ending, policy, now=self.now, rng=random.Random(7))

        assert self.db.write(lambda tx: write(tx, given="f" * 32)) is None
        settled = self.db.write(lambda tx: write(tx, given=attempt))
        assert settled is not None
        assert self.db.write(lambda tx: write(tx, given=attempt)) is None
        written = {one.delivery: one for one in (settled, *settled.others)}
        assert written.keys() == set(group), "an ending counts for all that went together"
        due = {row["id"]: row["next_at"] for row in self.rows("select id, next_at from deliveries")}
        for number in group:
            one = self.model[number]
            before = Counters(one.burnt, one.frees, one.voids, self.now)
            decision = delivery.decide(ending, before, policy, now=self.now, cancelled=one.cancel, rng=random.Random(7))
            assert written[number].state == decision.state
            one.state, one.attempt, one.cancel = str(decision.state), None, False
            one.next_at = decision.next_at if len(group) == 1 else due[number]
            assert (one.next_at is None) == (decision.next_at is None)
            one.burnt, one.frees, one.voids = decision.counters.burnt, decision.counters.frees, decision.counters.voids
        assert len({due[n] for n in group if due[n] is not None}) <= 1, "what goes on goes on together"
        transport = self.model[chosen].transport
        if code == 0:
            self.woken[transport] = self.began[attempt]
        if code == 69:
            self.broken.add(transport)
        elif code not in {"void", "interrupted"}:
            self.broken.discard(transport)
        finished = {self.model[n].message for n in group if written[n].finished}
        assert finished == {m for n in group if self._over(m := self.model[n].message)}

    # -- what people do ------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model)
    @rule(data=st.data(), chosen=CHOSEN)
    def retry(self, data: st.DataObject, chosen: Chosen) -> None:
        number = self.model[data.draw(st.sampled_from(sorted(self.model)))].message
        self.db.write(lambda tx: operate.retry(tx, number, chosen, self.now))
        for one in self._of(number, chosen):
            if one.state in {"dead", "held", "cancelled"}:
                one.state, one.next_at, one.cancel = "waiting", None, False
                one.burnt = one.frees = one.voids = 0
            elif one.state == "retrying":
                one.next_at = None

    @precondition(lambda self: self.model)
    @rule(data=st.data(), chosen=CHOSEN)
    def drop(self, data: st.DataObject, chosen: Chosen) -> None:
        number = self.model[data.draw(st.sampled_from(sorted(self.model)))].message
        self.db.write(lambda tx: operate.drop(tx, number, chosen, self.now))
        for one in self._of(number, chosen):
            if one.state in {"waiting", "retrying", "held", "dead"}:
                one.state, one.next_at = "cancelled", None
            elif one.state == "running":
                one.cancel = True

    @rule(transport=st.sampled_from(sorted(ORDERED)), paused=st.booleans())
    def pause(self, transport: str, *, paused: bool) -> None:
        self.db.write(lambda tx: lanes.set_paused(tx, transport, None, paused=paused))
        (self.paused.add if paused else self.paused.discard)(transport)

    @rule(seconds=st.floats(0.1, 100.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.floats(-1e6, 1e6))
    def the_clock_jumps(self, seconds: float) -> None:
        """And the sweep brings back what it put out of reach."""
        self.now = max(1000.0, self.now + seconds)
        latest = self.now + 60.0
        for lane in self.lanes.values():
            if self.db.read(lambda db, lane=lane: lanes.furthest(db, [lane])).get(lane, 0.0) > latest:  # type: ignore[misc]
                self.db.write(lambda tx, lane=lane: upkeep.clamp_next_at(tx, lane, latest))  # type: ignore[misc]
        for one in self.model.values():
            if one.next_at is not None and one.next_at > latest:
                one.next_at = latest

    # -- what must always hold -----------------------------------------------------------------------------------------

    @invariant()
    def the_ledger_is_as_the_model_says(self) -> None:
        rows = {row["id"]: row for row in self.rows("select * from deliveries")}
        assert rows.keys() == self.model.keys()
        for number, one in self.model.items():
            row = rows[number]
            assert (row["state"], row["starts"], row["burnt"], row["voids"], row["next_at"], bool(row["cancel"])) == (
                one.state, one.starts, one.burnt, one.voids, one.next_at, one.cancel,
            )  # fmt: skip
        made = """
            select made.delivery, count(*) as n, sum(case when made.ended_at is null then 1 else 0 end) as open from (
              select delivery, ended_at from attempts
              union all select c.delivery, a.ended_at from companions c join attempts a on a.id = c.attempt
            ) as made group by 1
            """
        for row in self.rows(made):
            one = self.model[row["delivery"]]
            assert (row["n"], row["open"]) == (one.starts, int(one.state == "running"))
        for row in self.rows("select id, state from messages"):
            assert (row["state"] == "open") == (not self._over(row["id"]))

    @invariant()
    def every_lane_knows_what_comes_next(self) -> None:
        """What a wake-up would name can be claimed when it is due; if there is none, nothing can."""
        for transport, lane in self.lanes.items():
            found = self.db.read(
                lambda db, t=transport, i=lane: lanes.candidate(db, i, ordered=ORDERED[t], now=self.now)  # type: ignore[misc]
            )
            claimable = [n for n, one in self.model.items() if one.transport == transport and self._claimable(one, n)]
            if claimable:
                assert found is not None
                assert found.delivery in claimable
            elif found is not None:
                assert found.next_at is not None
                assert found.next_at > self.now

    def _over(self, number: int) -> bool:
        return all(one.state in FINAL for one in self.model.values() if one.message == number)

    def _of(self, number: int, chosen: Chosen) -> list[Model]:
        mine = [o for o in self.model.values() if o.message == number and chosen.transport in {None, o.transport}]
        return [o for o in mine if o.state == "dead"] if chosen.only_dead else mine

    def rows(self, query: str) -> list[Row]:
        return self.db.read(lambda db: db.execute(query).fetchall())


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)


def test_the_same_in_postgresql(postgres: Callable[[], Server]) -> None:
    class OnPostgres(LedgerMachine):
        def opened(self) -> Ledger:
            return at(postgres().emptied("machine"))

    run_state_machine_as_test(OnPostgres, settings=settings(max_examples=10, stateful_step_count=30, deadline=None))
