"""What the page is told, as JSON: the same moment, numbers and sentences as `top`, `status` and `queue` have."""

import shlex
import time
from typing import Any

from worker.settings import Settings
from worker.view.agents import AgentView, Board, sparkline
from worker.view.deliveries import not_done
from worker.view.live import Live
from worker.view.messages import first_lines, story
from worker.view.panes import attach_command, pane_of
from worker.view.plain import one_line
from worker.view.timeline import lines

SHOWN = 50  # deliveries of a lane


def snapshot(live: Live, board: Board) -> dict[str, Any]:
    """All agents, worst first. Times are epoch seconds."""
    return {
        "now": time.time(),
        "headline": board.headline,
        "running": bool(board.whole.get("running")),
        "problems": board.problems,
        "agents": [_agent(live, one) for one in board.agents],
    }


def _agent(live: Live, one: AgentView) -> dict[str, Any]:
    pane = live.pane(one.name)
    return {
        "name": one.name,
        "pane": pane.word,
        "why": pane.why,
        "rank": one.rank[0],
        "counts": one.counts,
        "waits": one.waits,
        "paused": sorted(one.paused),
        "transports": list(one.transports),
        "oldest_at": one.oldest_at,
        "delivered_at": one.delivered_at,
        "hours": sparkline(one.hours),
        "came": sum(one.hours),
        "problems": list(one.problems),
        "attach": _attach(live.settings, one.name),
    }


def _attach(settings: Settings, name: str) -> str:
    agent = next((one for one in settings.agents if one.agent == name), None)
    pane = pane_of(agent) if agent else None
    return shlex.join(attach_command(pane, inside_tmux=False)) if pane else ""


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
