"""How each agent's pane is now: one word and a sentence, from a look that types nothing."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from worker.doctor.panes import NamedPane, named_pane
from worker.errors import BusWatchError
from worker.settings import AgentSettings
from worker.terminal.catalogue import Catalogue
from worker.terminal.tmux import GoneError

CALM = frozenset({"idle", "busy", "?", "-"})
"""Words for a pane that nobody has to see to, and for none."""

LOOK_SECONDS = 5.0  # a pane is looked at no more often
CALM_SECONDS = 20.0  # nor one for which nothing waits


@dataclass(frozen=True, slots=True)
class PaneState:
    """What a look found."""

    word: str
    """idle, busy, draft, dialog, unknown, refused (a shell, somebody else's program), gone, or `-`: no pane of ours."""
    why: str = ""
    at: float = 0.0
    """When, by the monotonic clock."""


NO_PANE = PaneState("-", "no transport of it names a pane on this host")


def pane_of(agent: AgentSettings) -> NamedPane | None:
    """The pane that the agent's first terminal transport names on this host."""
    return next((pane for one in agent.transports if (pane := named_pane(one.command)) is not None), None)


def pane_command(pane: NamedPane, *, inside_tmux: bool, gone: bool) -> list[str]:
    """What shows the pane in this terminal; one that is `gone`: its session made again, where it is named by one."""
    where = ["-L", pane.socket_name] if pane.socket_name else ["-S", pane.socket_path] if pane.socket_path else []
    show = ["switch-client" if inside_tmux else "attach-session", "-t", pane.target]
    if gone:
        session = pane.target.partition(":")[0].removeprefix("=")
        if not session or session[0] in "%@$":
            return []
        make = ["new-session", "-s", session]
        show = [*make, "-d", ";", "switch-client", "-t", session] if inside_tmux else make
    return [pane.tmux, *where, *show]


class PaneWatch:
    """The states of the panes of all agents; looks are rare, and for one thread at a time."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """`environment`: where the user's own profiles lie."""
        self._profiles = Catalogue.of(environment)
        self._states: dict[str, PaneState] = {}

    def of(self, agent: str) -> PaneState:
        """The last that is known of an agent's pane."""
        return self._states.get(agent, PaneState("?", "not looked at yet"))

    def look(self, agent: AgentSettings, *, calm: bool) -> PaneState:
        """Look at an agent's pane, if the last look is long enough ago; `calm`: nothing waits for it."""
        before, now = self._states.get(agent.agent), time.monotonic()
        if before is not None and now - before.at < (CALM_SECONDS if calm else LOOK_SECONDS):
            return before
        named = pane_of(agent)
        state = NO_PANE if named is None else self._seen(named, now)
        self._states[agent.agent] = state
        return state

    def _seen(self, named: NamedPane, now: float) -> PaneState:
        try:
            found = named.examine(self._profiles)
        except GoneError:
            return PaneState("gone", f"there is no {named.target!r} now", now)
        except BusWatchError as why:
            return PaneState("refused", str(why), now)
        if found.would == "gone":
            return PaneState("gone", found.why, now)
        return PaneState("refused" if found.profile is None else found.state, found.why, now)
