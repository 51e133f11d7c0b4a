"""`bus-watch top`: all agents and what waits for them, live, with the keys that help."""

import os
import shlex
import shutil
import subprocess
import time
from itertools import chain
from typing import Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult, SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.reactive import reactive
from textual.widgets import DataTable, Footer, Input, Static
from textual.widgets.data_table import ColumnKey

from worker.errors import BusWatchError
from worker.settings import Settings
from worker.ui import verbs
from worker.ui.cells import DELIVERY_COLUMNS, agent_cells, chosen_in, delivery_cells, fill, rest_of
from worker.ui.keys import LISTED, told
from worker.ui.story import LinesScreen
from worker.view.agents import AgentView, Board
from worker.view.deliveries import not_done
from worker.view.helps import Problem, edit
from worker.view.live import REFRESH_SECONDS, Live
from worker.view.messages import first_lines, story
from worker.view.panes import pane_command, pane_of
from worker.view.plain import one_line
from worker.view.timeline import lines

SHOWN = 50  # deliveries of a lane
WIDE = 100  # columns from which on names and hours are shown in full


class Top(App[None]):
    """The live view. `settings`: the configuration; its own file is what the keys' commands are given."""

    TITLE = "bus-watch top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #whole { height: 1; }
    #agents { height: 1fr; min-height: 4; max-height: 45%; }
    #problems { height: auto; max-height: 30%; }
    #deliveries { height: 2fr; min-height: 2; }
    #said { height: auto; max-height: 2; color: $text-muted; }
    #find, #compose { display: none; height: 3; }
    LinesScreen { align: center middle; }
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
        ("question_mark", "keys", "keys"),
        ("q", "quit", "quit"),
        Binding("D", "drop_all", "drop all", show=False),
        Binding("e", "edit", "edit", show=False),
        Binding("l", "reload", "reload", show=False),
        Binding("o", "doctor", "doctor", show=False),
        Binding("z", "freeze", "freeze", show=False),
        Binding("tab", "switch", "table", show=False),
    ]
    frozen: reactive[bool] = reactive(False)

    def __init__(self, settings: Settings) -> None:
        """Nothing is read before the view is shown."""
        super().__init__()
        self._live = Live(settings, dict(os.environ))
        self._whole, self._problems, self._said = Static(id="whole"), Static(id="problems"), Static(id="said")
        self._agents: DataTable[Text] = DataTable(id="agents", cursor_type="row", zebra_stripes=True)
        self._waiting: DataTable[Text] = DataTable(id="deliveries", cursor_type="row")
        self._boxes = {
            "find": Input(id="find", placeholder="find in agents and messages; Escape: all"),
            "compose": Input(id="compose", placeholder="a message to the chosen agent; Enter sends, Escape does not"),
        }
        self._why = ColumnKey("why")
        self._board: Board | None = None
        self._deliveries: list[dict[str, Any]] = []
        self._texts: dict[str, str] = {}
        self._find = ""
        self._dropping: tuple[str, ...] = ()

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
        for label, width in DELIVERY_COLUMNS.items():
            self._waiting.add_column(label, width=width)
        self._waiting.add_column("MESSAGE AND WHY", key=str(self._why.value), width=rest_of(self.size.width))
        self.set_interval(REFRESH_SECONDS, self._refresh)
        self._refresh()

    # -- reading ------------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        if not self.frozen:
            self._read(self._agent_name())

    @work(thread=True, exclusive=True, group="read")
    def _read(self, chosen: str) -> None:
        """Read the ledger if somebody has written to it, and look at panes that are due; in a thread.

        `chosen`: the agent that the cursor is on, since a thread might look while the table is filled.
        """
        try:
            found = self._live.board(of=chosen)
            if found is not None:
                chosen = chosen or (found.agents[0].name if found.agents else "")
                waiting = not_done(self._live.settings, SHOWN, frozenset({chosen}))["deliveries"] if chosen else []
                unread = {one["key"] for one in waiting} - self._texts.keys()
                self._texts |= first_lines(self._live.settings, unread)
        except BusWatchError as error:
            self.call_from_thread(self._say, str(error))
            return
        if found is not None:
            self.call_from_thread(self._show, found, waiting)
        shown = found or self._board
        if shown is not None and self._live.look(shown, frozenset({chosen})):
            self.call_from_thread(self._show_agents)

    # -- showing ------------------------------------------------------------------------------------------------

    def _show(self, found: Board, deliveries: list[dict[str, Any]]) -> None:
        self._board, self._deliveries = found, deliveries
        self._whole.update(Text(found.headline + ("  FROZEN (z)" if self.frozen else ""), style="bold"))
        self._show_agents()
        self._show_deliveries()

    def _show_agents(self) -> None:
        if self._board is None:
            return
        now, wide = time.time(), self.size.width >= WIDE
        rows = [
            (one.name, agent_cells(one, self._live.pane(one.name), wide=wide, now=now))
            for one in self._board.agents
            if self._find in one.name or any(self._find in text for text in self._texts.values())
        ]
        fill(self._agents, rows)
        self._show_problems()

    def _wrong(self) -> list[Problem]:
        """What is wrong with the chosen agent, with the whole, and with the others, worst first."""
        if self._board is None:
            return []
        name = self._agent_name()
        mine = [self._live.wrong(one) for one in self._board.agents if one.name == name]
        others = [self._live.wrong(one) for one in self._board.agents if one.name != name]
        return [*chain(*mine), *self._board.problems, *chain(*others)]

    def _show_problems(self) -> None:
        self._problems.update(told(self._wrong()))

    def _shown(self) -> list[dict[str, Any]]:
        """The deliveries that are not left out by what is to be found."""
        wanted = self._find
        return [one for one in self._deliveries if wanted in self._texts.get(one["key"], "") or wanted in one["key"]]

    def _show_deliveries(self) -> None:
        now, width = time.time(), rest_of(self.size.width)
        rows = [
            (
                f"{one['key']} {one['transport']}",
                delivery_cells(one, self._texts.get(one["key"], ""), now=now, width=width),
            )
            for one in self._shown()
        ]
        fill(self._waiting, rows, height=2)

    def on_resize(self) -> None:
        """Another width: what is cut off is another."""
        if (column := self._waiting.columns.get(self._why)) is not None:  # None: before there is anything
            column.width = rest_of(self.size.width)
            self._show_agents()
            self._show_deliveries()

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
        self._dropping = ()
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
            self.push_screen(LinesScreen(lines(story(self._live.settings, one["key"]))))
        except BusWatchError as error:
            self._say(str(error))

    def action_retry(self) -> None:
        """r: `bus-watch retry`."""
        if (one := self._delivery()) is not None:
            self._do(verbs.of_delivery("retry", one["key"], one["transport"]))

    def action_drop(self) -> None:
        """d, and d again: `bus-watch drop`."""
        if (one := self._delivery()) is not None:
            self._drop(verbs.of_delivery("drop", one["key"], one["transport"]), "d")

    def action_drop_all(self) -> None:
        """D, and D again: `bus-watch drop` of all that are shown and wait for the same transport."""
        if (one := self._delivery()) is not None:
            keys = [each["key"] for each in self._shown() if each["transport"] == one["transport"]]
            self._drop(verbs.of_deliveries("drop", keys, one["transport"]), "D", f" ({len(keys)} messages)")

    def _drop(self, command: tuple[str, ...], key: str, what: str = "") -> None:
        if self._dropping != command:
            self._dropping = command
            self._say(f"{key} again{what}: {verbs.shown(command)}")
            return
        self._dropping = ()
        self._do(command)

    def action_pause(self) -> None:
        """p: `bus-watch pause`, or `resume` where it is paused."""
        agent = self._agent_view()
        one = self._delivery()
        if agent is None or not agent.transports:
            return
        for transport in [one["transport"]] if one else agent.transports:
            self._do(verbs.of_lane("resume" if transport in agent.paused else "pause", agent.name, transport))

    def _agent_view(self) -> AgentView | None:
        return self._board.agent(self._agent_name()) if self._board else None

    def action_freeze(self) -> None:
        """z: stop reading, or go on."""
        self.frozen = not self.frozen
        if self._board is not None:
            self._show(self._board, self._deliveries)
        self._say("frozen: what you see stays; z goes on" if self.frozen else "")

    def action_attach(self) -> None:
        """a: tmux attach, or inside tmux switch-client; where the pane is gone, its session is made again."""
        agent = self._live.settings.agent(self._agent_name())
        pane = pane_of(agent) if agent else None
        if pane is None:
            self._say("no transport of this agent names a pane on this host")
            return
        gone = self._live.pane(self._agent_name()).word == "gone"
        command = pane_command(pane, inside_tmux=bool(os.environ.get("TMUX")), gone=gone)
        self._in_terminal(command or [pane.tmux, "list-panes", "-a"])

    def action_edit(self) -> None:
        """e: the file that would help, in the person's own editor; it is read again at once."""
        helps = (each for one in self._wrong() for each in one.helps if each.verb == "edit")
        found = next(helps, edit(self._live.settings, None))
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or shutil.which("editor") or "vi"
        self._in_terminal([*shlex.split(editor), shlex.split(found.command)[-1]])

    def _in_terminal(self, command: list[str]) -> None:
        """Run something that takes the terminal for itself."""
        try:
            with self.suspend():
                done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
        except (OSError, SuspendNotSupported) as error:
            self._say(f"{shlex.join(command)}: {error}")
            return
        self._live.expire()
        self._say(f"{shlex.join(command)}: {done.stderr.strip() or 'done'}")

    def action_reload(self) -> None:
        """l: `bus-watch reload`."""
        self._do(("reload",))

    def action_doctor(self) -> None:
        """o: `bus-watch doctor`, on a screen of its own."""
        self._do(("doctor",))

    def action_keys(self) -> None:
        """?: what the keys do."""
        self.push_screen(LinesScreen(LISTED.splitlines()))

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
            self._do(verbs.send(self._agent_name()), event.value)

    def key_escape(self) -> None:
        """Leave a box; all is shown again."""
        for box in self._boxes.values():
            box.display = False
        self._find = ""
        self._agents.focus()
        self._show_agents()
        self._show_deliveries()

    @work(thread=True, group="verbs")
    def _do(self, words: tuple[str, ...], text: str | None = None) -> None:
        self.call_from_thread(self._say, f"{verbs.shown(words)}: running")
        done = verbs.run(self._live.settings.config_path, words, text)
        self._live.expire()
        if words[0] == "doctor":
            self.call_from_thread(self.push_screen, LinesScreen([done.command, "", *done.printed]))
        self.call_from_thread(self._say, str(done))
