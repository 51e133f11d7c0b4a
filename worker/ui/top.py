"""`bus-watch top`: all agents and what waits for them, live, with the keys that help."""

import os
import subprocess
import threading
import time
from typing import Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.reactive import reactive
from textual.widgets import DataTable, Footer, Input, Static

from worker import times
from worker.errors import BusWatchError
from worker.settings import Settings
from worker.ui import verbs
from worker.ui.cells import agent_cells, chosen_in, delivery_cells, fill
from worker.ui.story import StoryScreen
from worker.view.agents import AgentView, Board, board
from worker.view.deliveries import not_done
from worker.view.messages import first_lines, story
from worker.view.panes import PaneWatch, pane_of
from worker.view.plain import one_line

REFRESH_SECONDS = 1.0
IDLE_SECONDS = 5.0  # a ledger that nobody has written to is read again so often, as ages go on
SHOWN = 50  # deliveries of a lane
WIDE = 100  # columns from which on names and hours are shown in full


class Top(App[None]):
    """The live view. `settings`: the configuration; its own file is what the keys' commands are given."""

    TITLE = "bus-watch top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #whole { height: 1; }
    #agents { height: 1fr; min-height: 4; max-height: 45%; }
    #problems { height: auto; max-height: 4; }
    #deliveries { height: 2fr; }
    #said { height: auto; max-height: 2; color: $text-muted; }
    #find, #compose { display: none; height: 3; }
    StoryScreen { align: center middle; }
    #story { width: 95%; height: 90%; background: $surface; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        ("enter", "story", "story"),
        ("r", "retry", "retry"),
        ("d", "drop", "drop"),
        ("p", "pause", "pause"),
        ("a", "attach", "attach"),
        ("c", "compose", "send"),
        ("slash,f", "find", "find"),
        ("z", "freeze", "freeze"),
        ("tab", "switch", "table"),
        ("q", "quit", "quit"),
    ]
    frozen: reactive[bool] = reactive(False)

    def __init__(self, settings: Settings) -> None:
        """Nothing is read before the view is shown."""
        super().__init__()
        self._settings = settings
        self._panes = PaneWatch(dict(os.environ))
        self._whole, self._problems, self._said = Static(id="whole"), Static(id="problems"), Static(id="said")
        self._agents: DataTable[Text] = DataTable(id="agents", cursor_type="row", zebra_stripes=True)
        self._waiting: DataTable[Text] = DataTable(id="deliveries", cursor_type="row")
        self._boxes = {
            "find": Input(id="find", placeholder="find in agents and messages; Escape: all"),
            "compose": Input(id="compose", placeholder="a message to the chosen agent; Enter sends, Escape does not"),
        }
        self._board: Board | None = None
        self._deliveries: list[dict[str, Any]] = []
        self._texts: dict[str, str] = {}
        self._find = ""
        self._dropping = ""
        self._seen: tuple[object, ...] = ()
        self._read_at = 0.0
        self._looking = threading.Lock()

    def compose(self) -> ComposeResult:
        """A line for the whole, a line an agent, what is wrong, what waits for the chosen agent, what was done."""
        yield self._whole
        yield self._agents
        yield self._problems
        yield self._waiting
        yield from self._boxes.values()
        yield self._said
        yield Footer(compact=True)

    def on_mount(self) -> None:
        """Begin to read."""
        self._agents.add_columns("AGENT", "PANE", "WAIT", "OLDEST", "LAST", "24 HOURS")
        self._waiting.add_columns("STATE", "AGE", "VIA", "MESSAGE AND WHY")
        self.set_interval(REFRESH_SECONDS, self._refresh)
        self._refresh()

    # -- reading ------------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        if not self.frozen:
            self._read()

    @work(thread=True, exclusive=True, group="read")
    def _read(self) -> None:
        """Read the ledger if somebody has written to it, and look at panes that are due; in a thread."""
        found: Board | None = None
        deliveries: list[dict[str, Any]] = []
        try:
            seen = self._changed()
            if seen is not None:
                found = board(self._settings)
                chosen = self._agent_name() or (found.agents[0].name if found.agents else "")
                deliveries = not_done(self._settings, SHOWN, frozenset({chosen}))["deliveries"] if chosen else []
                unread = {one["key"] for one in deliveries} - self._texts.keys()
                self._texts |= first_lines(self._settings, unread)
                self._seen, self._read_at = seen, time.monotonic()
        except BusWatchError as error:
            self.call_from_thread(self._say, str(error))
            return
        if found is not None:
            self.call_from_thread(self._show, found, deliveries)
        self._look(found or self._board)

    def _changed(self) -> tuple[object, ...] | None:
        """What tells whether the ledger was written to; None: it was not, and what is shown is young enough."""
        marks: list[object] = [self._agent_name()]
        for path in (
            self._settings.ledger_file,
            self._settings.ledger_file.with_name(self._settings.ledger_file.name + "-wal"),
        ):
            try:
                there = path.stat()
            except OSError:
                continue
            marks += [there.st_mtime_ns, there.st_size]
        fresh = time.monotonic() - self._read_at < IDLE_SECONDS
        return None if fresh and tuple(marks) == self._seen else tuple(marks)

    def _look(self, shown: Board | None) -> None:
        """Look at one pane after the other; a look takes some hundredths of a second."""
        if shown is None or not self._looking.acquire(blocking=False):
            return
        try:
            waiting = {one.name for one in shown.agents if one.waits}
            chosen = self._agent_name()
            for agent in self._settings.agents:
                before = self._panes.of(agent.agent)
                calm = agent.agent not in waiting and agent.agent != chosen
                if self._panes.look(agent, calm=calm) != before:
                    self.call_from_thread(self._show_agents)
        finally:
            self._looking.release()

    # -- showing ------------------------------------------------------------------------------------------------

    def _show(self, found: Board, deliveries: list[dict[str, Any]]) -> None:
        self._board, self._deliveries = found, deliveries
        whole = found.whole
        runs = next((w for w in whole["workers"] if w["kind"] == "consumer"), None)
        state = f"running for {times.span(runs['up_seconds'])}" if runs else "NOT RUNNING: bus-watch run"
        counts = f"{whole.get('backlog', 0)} waiting, {whole.get('held', 0)} held, {whole.get('dead', 0)} dead"
        frozen = "  FROZEN (z)" if self.frozen else ""
        self._whole.update(Text(f"bus-watch: {state}; {counts}{frozen}", style="bold"))
        self._show_agents()
        self._show_deliveries()

    def _show_agents(self) -> None:
        if self._board is None:
            return
        now, wide = time.time(), self.size.width >= WIDE
        rows = [
            (one.name, agent_cells(one, self._panes.of(one.name), wide=wide, now=now))
            for one in self._board.agents
            if self._find in one.name or any(self._find in text for text in self._texts.values())
        ]
        fill(self._agents, rows)
        self._show_problems()

    def _show_problems(self) -> None:
        if self._board is None:
            return
        name = self._agent_name()
        agent = next((one for one in self._board.agents if one.name == name), None)
        mine = list(agent.problems) if agent else []
        pane = self._panes.of(name or "")
        if pane.why and pane.word not in {"idle", "?", "-"}:
            mine.append(f"pane: {pane.word}: {one_line(pane.why, 200)}")
        of_none = [
            one
            for one in self._board.whole["problems"]
            if not any(one in other.problems for other in self._board.agents)
        ]
        self._problems.update(Text("\n".join(f"! {one}" for one in [*mine, *of_none]), style="red"))

    def _show_deliveries(self) -> None:
        now = time.time()
        rows = []
        for one in self._deliveries:
            text = self._texts.get(one["key"], "")
            if self._find and self._find not in text and self._find not in one["key"]:
                continue
            rows.append((f"{one['key']} {one['transport']}", delivery_cells(one, text, now=now)))
        fill(self._waiting, rows)

    def _say(self, text: str) -> None:
        self._said.update(Text(one_line(text, 400)))

    # -- choosing -----------------------------------------------------------------------------------------------

    def _agent_name(self) -> str:
        return chosen_in(self._agents)

    def _delivery(self) -> dict[str, Any] | None:
        chosen = chosen_in(self._waiting)
        return next((one for one in self._deliveries if f"{one['key']} {one['transport']}" == chosen), None)

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Another agent: its deliveries."""
        self._dropping = ""
        if event.data_table.id == "agents":
            self._show_problems()
            self._refresh()

    def on_data_table_row_selected(self) -> None:
        """Enter on a row."""
        self.action_story()

    # -- keys ---------------------------------------------------------------------------------------------------

    def action_switch(self) -> None:
        """From the agents to their deliveries, and back."""
        (self._waiting if self._agents.has_focus else self._agents).focus()

    def action_story(self) -> None:
        """Enter: the whole story of the chosen delivery's message."""
        if (one := self._delivery()) is None:
            self._say("nothing waits for this agent")
            return
        try:
            self.push_screen(StoryScreen(story(self._settings, one["key"])))
        except BusWatchError as error:
            self._say(str(error))

    def action_retry(self) -> None:
        """r: `bus-watch retry`."""
        if (one := self._delivery()) is not None:
            self._do("retry", one["key"], "--transport", one["transport"])

    def action_drop(self) -> None:
        """d, and d again: `bus-watch drop`."""
        if (one := self._delivery()) is None:
            return
        if self._dropping != one["key"]:
            self._dropping = one["key"]
            self._say(f"d again: bus-watch drop {one['key']} --transport {one['transport']}")
            return
        self._dropping = ""
        self._do("drop", one["key"], "--transport", one["transport"])

    def action_pause(self) -> None:
        """p: `bus-watch pause`, or `resume` where it is paused."""
        agent = self._agent_view()
        one = self._delivery()
        if agent is None or not agent.transports:
            return
        for transport in [one["transport"]] if one else agent.transports:
            verb = "resume" if transport in agent.paused else "pause"
            self._do(verb, transport, "--agent", agent.name)

    def _agent_view(self) -> AgentView | None:
        name = self._agent_name()
        return next((one for one in self._board.agents if one.name == name), None) if self._board else None

    def action_freeze(self) -> None:
        """z: stop reading, or go on."""
        self.frozen = not self.frozen
        if self._board is not None:
            self._show(self._board, self._deliveries)
        self._say("frozen: what you see stays; z goes on" if self.frozen else "")

    def action_attach(self) -> None:
        """a: tmux attach, or inside tmux switch-client."""
        agent = next((one for one in self._settings.agents if one.agent == self._agent_name()), None)
        pane = pane_of(agent) if agent else None
        if pane is None:
            self._say("no transport of this agent names a pane on this host")
            return
        where = ["-L", pane.socket_name] if pane.socket_name else ["-S", pane.socket_path] if pane.socket_path else []
        verb = "switch-client" if os.environ.get("TMUX") else "attach-session"
        command = [pane.tmux, *where, verb, "-t", pane.target]
        with self.suspend():
            done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        self._say(f"{' '.join(command)}: {done.stderr.strip() or 'done'}")

    def action_find(self) -> None:
        """/ or f: only what holds these words."""
        self._ask("find", self._find)

    def action_compose(self) -> None:
        """c: write to the chosen agent."""
        self._ask("compose", "")

    def _ask(self, name: str, value: str) -> None:
        box = self._boxes[name]
        box.value = value
        box.display = True
        box.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in one of the boxes."""
        event.input.display = False
        self._agents.focus()
        if event.input.id == "find":
            self._find = event.value
            self._show_agents()
            self._show_deliveries()
        elif event.value.strip():
            self._do("send", self._agent_name(), "-", text=event.value)

    def key_escape(self) -> None:
        """Leave a box; all is shown again."""
        for box in self._boxes.values():
            box.display = False
        self._find = ""
        self._agents.focus()
        self._show_agents()
        self._show_deliveries()

    @work(thread=True, group="verbs")
    def _do(self, *words: str, text: str | None = None) -> None:
        done = verbs.run(self._settings.config_path, words, text)
        self._read_at = 0.0
        self.call_from_thread(self._say, str(done))
