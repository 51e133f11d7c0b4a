"""What the page is told, as JSON: the same moment, numbers and sentences as `top`, `status` and `queue` have."""

import time
from collections.abc import Iterable
from typing import Any

from worker.settings import Settings
from worker.view.agents import AgentView, Board, sparkline
from worker.view.deliveries import not_done
from worker.view.helps import Problem, at_the_pane
from worker.view.live import Live
from worker.view.messages import first_lines, story
from worker.view.plain import one_line
from worker.view.timeline import lines

SHOWN = 50  # deliveries of a lane
RUN_HERE = frozenset({"reload", "doctor"})  # of what has a command; a terminal's are for a terminal


def snapshot(live: Live, board: Board) -> dict[str, Any]:
    """All agents, worst first. Times are epoch seconds."""
    return {
        "now": time.time(),
        "headline": board.headline,
        "running": bool(board.whole.get("running")),
        "problems": _problems(board.problems),
        "agents": [_agent(live, one) for one in board.agents],
    }


def _agent(live: Live, one: AgentView) -> dict[str, Any]:
    pane = live.pane(one.name)
    return {
        "name": one.name,
        "pane": pane.word,
        "rank": one.rank[0],
        "counts": one.counts,
        "waits": one.waits,
        "paused": sorted(one.paused),
        "transports": list(one.transports),
        "oldest_at": one.oldest_at,
        "delivered_at": one.delivered_at,
        "hours": sparkline(one.hours),
        "came": sum(one.hours),
        "problems": _problems(live.wrong(one)),
        "attach": next((each.command for each in at_the_pane(live.settings.agent(one.name), pane)), ""),
    }


def _problems(found: Iterable[Problem]) -> list[dict[str, Any]]:
    """`helps`: what can be done here, `run` by its verb, or is to be typed at a terminal; each once."""
    told: set[str] = {""}
    shown = []
    for one in found:
        helps = [each for each in one.helps if each.command not in told]
        told.update(each.command for each in helps)
        shown.append(
            {
                "words": one_line(one.words, 600),
                "helps": [{"verb": each.verb, "command": each.command, "run": each.verb in RUN_HERE} for each in helps],
            }
        )
    return shown


def waiting(settings: Settings, agent: str) -> list[dict[str, Any]]:
    """What an agent's deliveries are that are not done, as `queue --json` has them, each with its `first_line`."""
    found: list[dict[str, Any]] = not_done(settings, SHOWN, frozenset({agent}))["deliveries"]
    texts = first_lines(settings, {one["key"] for one in found})
    return [
        one | {"first_line": one_line(texts[one["key"]], 300), "words": one_line(one["words"], 600)} for one in found
    ]


_VERBS = {"dead": ["retry", "drop"], "held": ["retry", "drop"], "retrying": ["retry", "drop"], "waiting": ["drop"]}


def told(settings: Settings, key: str) -> dict[str, Any]:
    """A message's story: `title`, `lines`, and of its `deliveries` each `transport` and the `verbs` that would help.

    Raises:
        NoSuchMessageError: `key` names no message, or several.
    """
    whole = story(settings, key)
    return {
        "title": f"{whole['agent']}/{whole['id']}",
        "lines": lines(whole),
        "deliveries": [
            {"transport": one["transport"], "verbs": _VERBS.get(one["state"], [])} for one in whole["deliveries"]
        ],
    }
