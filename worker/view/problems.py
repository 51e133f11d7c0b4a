"""Whose each problem is that `status` tells, what helps, and what a screen says sooner than `status` would."""

from collections.abc import Iterator, Sequence
from typing import Any

from worker.conditions import Condition
from worker.doctor.troubles import TOKEN_CODES
from worker.ledger import report
from worker.ledger.port import Row, Tx
from worker.settings import Settings
from worker.times import span
from worker.view.helps import DROP, PAUSE, Problem, against
from worker.view.plain import one_line

FLOOD = 50
"""So many waiting in a lane are worth a word on where they come from."""

_OF_NO_AGENT = frozenset({Condition.WORKER_SILENT, Condition.DRIFTED, Condition.DISK_LOW})
_OF_THE_BUS = frozenset({Condition.BUS_DOWN, Condition.TOKEN_REFUSED})

Told = tuple[Problem, Condition | None]


def told(
    whole: dict[str, Any], settings: Settings, names: Sequence[str]
) -> tuple[dict[str, list[Told]], list[Problem]]:
    """The problems of `whole` (an overview) by agent, each with its condition; and those of no single agent."""
    of_agents: dict[str, list[Told]] = {name: [] for name in names}
    of_none = []
    conditions = {one["words"]: (Condition(one["condition"]), one["about"]) for one in whole.get("troubles", ())}
    for words in whole["problems"]:
        condition, about = conditions.get(words, (None, ""))
        name = "" if condition in _OF_NO_AGENT or about == "outbox" else about.partition(" ")[0]
        if words in whole["config_errors"]:
            condition, name = Condition.CONFIGURATION, words.removeprefix("agent ").partition(":")[0]
        helps = () if condition is None else against(condition, settings, settings.agent(name))
        if name in of_agents:
            of_agents[name].append((Problem(words, helps), condition))
        else:
            of_none.append(Problem(words, helps))
    return of_agents, of_none


def not_yet_told(
    db: Tx,
    settings: Settings,
    name: str,
    lanes: Sequence[report.LaneReport],
    inbox: Row | None,
    already: Sequence[Told],
    now: float,
) -> Iterator[Problem]:
    """What has only begun, or explains what is seen: the bus that does not answer, and who floods a lane."""
    if inbox is not None and inbox["error"] and not any(condition in _OF_THE_BUS for _, condition in already):
        refused = inbox["error_code"] in TOKEN_CODES
        since = span(now - (inbox["failing_since"] or now))
        condition = Condition.TOKEN_REFUSED if refused else Condition.BUS_DOWN
        yield Problem(
            f"{name}: no mail for {since}: {inbox['error']}", against(condition, settings, settings.agent(name))
        )
    for lane in lanes:
        if lane.waiting + lane.retrying >= FLOOD and (most := report.most_from(db, lane.id)) is not None:
            source, count = most
            waits = f"{lane.waiting + lane.retrying} wait"
            yield Problem(
                f"{name} {lane.transport}: {waits}, {count} of them from {one_line(source, 60)}", (PAUSE, DROP)
            )
