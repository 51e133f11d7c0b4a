"""The agents, worst first: what waits for each, since when, what came in a day, and what is wrong."""

import time
from dataclasses import dataclass, field
from typing import Any

from worker import times
from worker.ledger import report
from worker.ledger.port import Tx
from worker.settings import Settings
from worker.view.access import ledger_of
from worker.view.overview import overview

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
    problems: tuple[str, ...] = field(default=())
    """What is wrong, as `status` says it."""

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

    @property
    def headline(self) -> str:
        """The whole in one line."""
        runs = next((w for w in self.whole.get("workers", ()) if w["kind"] == "consumer"), None)
        state = f"running for {times.span(runs['up_seconds'])}" if runs else "NOT RUNNING: bus-watch run"
        backlog, held, dead = (self.whole.get(name, 0) for name in ("backlog", "held", "dead"))
        return f"bus-watch: {state}; {backlog} waiting, {held} held, {dead} dead"

    @property
    def problems(self) -> list[str]:
        """What is wrong, and is no single agent's."""
        return [one for one in self.whole["problems"] if not any(one in agent.problems for agent in self.agents)]

    def agent(self, name: str) -> AgentView | None:
        """The agent of this name."""
        return next((one for one in self.agents if one.name == name), None)


def board(settings: Settings) -> Board:
    """Read the ledger once for all agents."""
    now = time.time()
    whole = overview(lambda: settings, ask=False)
    lanes: dict[str, list[report.LaneReport]] = {}
    found = []
    with ledger_of(settings) as db:
        for lane in report.lanes(db):
            lanes.setdefault(lane.agent, []).append(lane)
        for name in dict.fromkeys([*(agent.agent for agent in settings.agents), *lanes]):
            mine = lanes.get(name, [])
            found.append(
                AgentView(
                    name=name,
                    counts={
                        state: sum(getattr(lane, state) for lane in mine)
                        for state in ("running", "waiting", "retrying", "held", "dead")
                    },
                    paused=frozenset(lane.transport for lane in mine if lane.paused),
                    transports=tuple(lane.transport for lane in mine),
                    oldest_at=min((lane.oldest for lane in mine if lane.oldest is not None), default=None),
                    delivered_at=report.last_delivered(db, name),
                    hours=_hours(db, name, now),
                    problems=tuple(one for one in whole["problems"] if one.startswith((f"{name}:", f"{name} "))),
                )
            )
    return Board(whole, tuple(sorted(found, key=lambda one: one.rank)))


def _hours(db: Tx, agent: str, now: float) -> tuple[int, ...]:
    counts = [0] * HOURS
    for hours_ago, number in report.came_by_hour(db, agent, now, HOURS):
        if 0 <= hours_ago < HOURS:
            counts[HOURS - 1 - hours_ago] += number
    return tuple(counts)


def sparkline(hours: tuple[int, ...]) -> str:
    """One character an hour: blank for none, else higher for more."""
    most = max(hours, default=0)
    return "".join(_BARS[0 if not one else max(1, round(one / most * (len(_BARS) - 1)))] for one in hours)
