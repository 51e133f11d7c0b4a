"""The agents, worst first: what waits for each, since when, what came in a day, and what is wrong."""

import contextlib
import time
from dataclasses import dataclass, field
from typing import Any

from worker import times
from worker.ledger import message_report, report
from worker.ledger.errors import LedgerError
from worker.ledger.port import Row, Tx
from worker.settings import Settings
from worker.view.access import ledger_of
from worker.view.helps import Problem
from worker.view.overview import overview
from worker.view.problems import not_yet_told, told

HOURS = 24
_BARS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class AgentView:
    """One agent's line."""

    name: str
    counts: dict[str, int]
    """Deliveries by state: running, waiting, retrying, held, dead."""
    paused: frozenset[str]
    """Its paused transports."""
    transports: tuple[str, ...]
    oldest_at: float | None
    """When the oldest message that is not done came, epoch seconds."""
    delivered_at: float | None
    """When a message was last delivered, epoch seconds."""
    hours: tuple[int, ...]
    """Messages that came in each of the last HOURS hours, the oldest first."""
    problems: tuple[Problem, ...] = field(default=())
    """What is wrong: as `status` says it, and what is not yet worth a line there."""

    @property
    def waits(self) -> int:
        """Deliveries that are yet to be done, in whatever state."""
        return self.counts["running"] + self.counts["waiting"] + self.counts["retrying"]

    @property
    def rank(self) -> tuple[int, float]:
        """For sorting, worst first: what needs a person, what is wrong, what retries, what waits; then by age."""
        if self.counts["dead"] + self.counts["held"]:
            grade = 0
        elif self.problems:
            grade = 1
        elif self.counts["retrying"]:
            grade = 2
        else:
            grade = 3 if self.waits else 4
        return grade, self.oldest_at or float("inf")


@dataclass(frozen=True, slots=True)
class Board:
    """All of it at one moment."""

    whole: dict[str, Any]
    """What `status --json` says."""
    agents: tuple[AgentView, ...]
    """Worst first."""

    problems: tuple[Problem, ...]
    """What is wrong, and is no single agent's."""

    @property
    def headline(self) -> str:
        """The whole in one line."""
        runs = next((w for w in self.whole.get("workers", ()) if w["kind"] == "consumer"), None)
        state = f"running for {times.span(runs['up_seconds'])}" if runs else "NOT RUNNING: bus-watch run"
        backlog, held, dead = (self.whole.get(name, 0) for name in ("backlog", "held", "dead"))
        return f"bus-watch: {state}; {backlog} waiting, {held} held, {dead} dead"

    def agent(self, name: str) -> AgentView | None:
        """The agent of this name."""
        return next((one for one in self.agents if one.name == name), None)


def board(settings: Settings) -> Board:
    """Read the ledger for all agents. Where it cannot be read, that is a problem, and nobody waits."""
    now = time.time()
    whole = overview(lambda: settings, ask=False)
    names = [agent.agent for agent in settings.agents]
    lanes: list[report.LaneReport] = []
    inboxes: dict[str, Row] = {}
    with contextlib.ExitStack() as stack:
        db = None
        with contextlib.suppress(LedgerError):
            db = stack.enter_context(ledger_of(settings))
            now, lanes, inboxes = db.now(), report.lanes(db), report.inboxes(db)
        names = list(dict.fromkeys([*names, *(lane.agent for lane in lanes)]))
        of_agents, of_none = told(whole, settings, names)
        found = []
        of_lanes = report.by_agent(lanes)
        for name in names:
            mine = of_lanes.get(name, [])
            young = (
                () if db is None else not_yet_told(db, settings, name, mine, inboxes.get(name), of_agents[name], now)
            )
            found.append(_view(db, name, mine, now, (*(one for one, _ in of_agents[name]), *young)))
    return Board(whole, tuple(sorted(found, key=lambda one: one.rank)), tuple(of_none))


def _view(
    db: Tx | None, name: str, lanes: list[report.LaneReport], now: float, problems: tuple[Problem, ...]
) -> AgentView:
    return AgentView(
        name=name,
        counts={
            state: sum(getattr(lane, state) for lane in lanes)
            for state in ("running", "waiting", "retrying", "held", "dead")
        },
        paused=frozenset(lane.transport for lane in lanes if lane.paused),
        transports=tuple(lane.transport for lane in lanes),
        oldest_at=min((lane.oldest for lane in lanes if lane.oldest is not None), default=None),
        delivered_at=None if db is None else message_report.last_delivered(db, name),
        hours=(0,) * HOURS if db is None else _hours(db, name, now),
        problems=problems,
    )


def _hours(db: Tx, agent: str, now: float) -> tuple[int, ...]:
    counts = [0] * HOURS
    for hours_ago, number in message_report.came_by_hour(db, agent, now, HOURS):
        if 0 <= hours_ago < HOURS:
            counts[HOURS - 1 - hours_ago] += number
    return tuple(counts)


def sparkline(hours: tuple[int, ...]) -> str:
    """One character an hour: blank for none, else higher for more."""
    most = max(hours, default=0)
    return "".join(_BARS[0 if not one else max(1, round(one / most * (len(_BARS) - 1)))] for one in hours)
