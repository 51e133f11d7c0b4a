"""What is wrong and what helps against it: the same verbs on every screen, each offered by a key or a button."""

import shlex
from dataclasses import dataclass
from typing import Literal

from worker.conditions import Condition
from worker.settings import AgentSettings, Settings
from worker.view.panes import PaneState, pane_command, pane_of

Verb = Literal["attach", "retry", "drop", "pause", "resume", "reload", "edit", "doctor"]


@dataclass(frozen=True, slots=True)
class Help:
    """Something that a person can do."""

    verb: Verb
    command: str
    """As a person would type it; empty: that depends on which delivery or transport is chosen."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and what would help, the best first."""

    words: str
    helps: tuple[Help, ...] = ()


RETRY, DROP, PAUSE, RESUME = Help("retry", ""), Help("drop", ""), Help("pause", ""), Help("resume", "")
DOCTOR, RELOAD = Help("doctor", "bus-watch doctor"), Help("reload", "bus-watch reload")

_ON_DELIVERIES: dict[Condition, tuple[Help, ...]] = {
    Condition.PAUSED: (RESUME,),
    Condition.ORPHANED: (DROP,),
    Condition.HELD: (RETRY, DROP),
    Condition.DEAD: (RETRY, DROP),
}


def against(condition: Condition, settings: Settings, agent: AgentSettings | None) -> tuple[Help, ...]:
    """What helps against a trouble, the agent's own or the whole's."""
    match condition:
        case Condition.STUCK:
            return (*at_the_pane(agent), RETRY, DOCTOR)
        case Condition.TOKEN_REFUSED:
            return edit(settings, agent), DOCTOR
        case Condition.CONFIGURATION:
            return RELOAD, edit(settings, None), DOCTOR
        case _:
            return _ON_DELIVERIES.get(condition, (DOCTOR,))


def at_the_pane(agent: AgentSettings | None, state: PaneState | None = None) -> tuple[Help, ...]:
    """To see the agent's pane, or to make it again where its `state` says that it is gone; nothing without one."""
    pane = pane_of(agent) if agent is not None else None
    if pane is None:
        return ()
    gone = state is not None and state.word == "gone"
    command = pane_command(pane, inside_tmux=False, gone=gone)
    return (Help("attach", shlex.join(command)),) if command else ()


def edited(settings: Settings, agent: AgentSettings | None) -> str:
    """The file in which an agent's token is; without an agent, or where it has no such file, the configuration."""
    path = agent.token_source(settings.config_path).path if agent is not None else None
    return str(path or settings.config_path)


def edit(settings: Settings, agent: AgentSettings | None) -> Help:
    """To write to that file. It is read again at once."""
    return Help("edit", shlex.join(["editor", edited(settings, agent)]))
