"""The read model kept up: what is read again, and when, for as long as a screen shows it."""

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from worker import configuration
from worker.errors import ConfigError
from worker.reloading import stamp_of
from worker.settings import Settings
from worker.view.agents import AgentView, Board, board
from worker.view.helps import RELOAD, Problem, at_the_pane, edit
from worker.view.panes import CALM, PaneState, PaneWatch
from worker.view.plain import one_line

REFRESH_SECONDS = 1.0
"""How often a screen asks whether there is something new."""

IDLE_SECONDS = 5.0
"""A ledger that nobody has written to is read again so often, as ages go on."""


class Live:
    """Agents, panes and the configuration, each read no more often than it changes. For any thread."""

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        """`environment`: where the user's own profiles lie. Nothing is read yet."""
        self.settings = settings
        """Those of the newest configuration that could be read."""
        self._panes = PaneWatch(environment)
        self._looking = threading.Lock()
        self._config_stamp = stamp_of(settings.config_path)
        self._refused = ""
        self._seen: tuple[object, ...] = ()
        self._read_at = 0.0

    def board(self, *, of: object = None) -> Board | None:
        """All agents; None: nothing was written since the last time, and what was read is young enough.

        `of`: what else is shown; another than last time makes it be read again. A server's ledger is read each time.

        Raises:
            BusWatchError: the ledger cannot be read.
        """
        self._reload()
        seen = (of, self._config_stamp, *map(stamp_of, _files(self.settings.ledger_file)))
        if not self.settings.is_fleet and seen == self._seen and time.monotonic() - self._read_at < IDLE_SECONDS:
            return None
        found = board(self.settings)
        if self._refused:
            refused = Problem(self._refused, (edit(self.settings, None), RELOAD))
            found = replace(found, problems=(refused, *found.problems))
        self._seen, self._read_at = seen, time.monotonic()
        return found

    def expire(self) -> None:
        """Something was done: whatever was read is old."""
        self._read_at = 0.0

    def _reload(self) -> None:
        stamp = stamp_of(self.settings.config_path)
        if stamp == self._config_stamp:
            return
        self._config_stamp = stamp
        try:
            self.settings, self._refused = configuration.load(self.settings.config_path), ""
        except ConfigError as error:
            self._refused = f"the configuration is refused: {'; '.join(str(error).splitlines())}"

    def pane(self, agent: str) -> PaneState:
        """The last that is known of an agent's pane."""
        return self._panes.of(agent)

    def wrong(self, one: AgentView) -> list[Problem]:
        """What is wrong with an agent, its pane included."""
        state, settings = self._panes.of(one.name), self.settings.agent(one.name)
        if state.word in CALM or not state.why:
            return list(one.problems)
        words = f"{one.name}: pane {state.word}: {one_line(state.why, 200)}"
        return [Problem(words, at_the_pane(settings, state)), *one.problems]

    def look(self, shown: Board, chosen: frozenset[str]) -> bool:
        """Look at the panes that are due, one after the other, some hundredths of a second each.

        Those of `chosen` and of agents for which something waits come due sooner. False: nothing is another than
        before, or another thread is looking.
        """
        if not self._looking.acquire(blocking=False):
            return False
        try:
            hurried = chosen | {one.name for one in shown.agents if one.waits}
            changed = False
            for agent in self.settings.agents:
                before = self._panes.of(agent.agent)
                after = self._panes.look(agent, calm=agent.agent not in hurried)
                changed |= (before.word, before.why) != (after.word, after.why)
            return changed
        finally:
            self._looking.release()


def _files(ledger: Path) -> tuple[Path, Path]:
    """The ledger, and where SQLite writes first."""
    return ledger, ledger.with_name(ledger.name + "-wal")
