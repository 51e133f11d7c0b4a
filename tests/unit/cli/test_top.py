"""`bus-watch top`, driven by its keys: what it shows is what `status` and `queue` say, what it does is a command."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable

import pytest
from rich.text import Text
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, Static

from tests.unit.cli.conftest import MS, Desk
from worker.configuration import load
from worker.ui import verbs
from worker.ui.cells import fill
from worker.ui.story import LinesScreen
from worker.ui.top import Top
from worker.view.agents import board, sparkline
from worker.view.panes import PaneWatch

Scene = Callable[[Top, "Pilot[None]"], Awaitable[None]]


def play(desk: Desk, scene: Scene, size: tuple[int, int] = (80, 24)) -> None:
    """Run the view on the desk's ledger, without a terminal, and let `scene` use it."""

    async def run() -> None:
        app = Top(load(desk.config))
        async with app.run_test(size=size) as pilot:
            await shown(pilot, lambda: app.query_one("#deliveries", DataTable).row_count > 0)
            await scene(app, pilot)

    asyncio.run(run())


async def shown(pilot: "Pilot[None]", there: Callable[[], bool]) -> None:
    """Wait until the view shows something; the runner's own time-out ends it."""
    while not there():
        assert pilot.app._exception is None
        await pilot.pause(0.02)


def text(app: Top, name: str) -> str:
    return str(app.query_one(f"#{name}", Static).content)


def rows(app: Top, name: str) -> list[list[str]]:
    table = app.query_one(f"#{name}", DataTable)
    return [[str(cell) for cell in table.get_row(key)] for key in table.rows]


async def choose(app: Top, pilot: "Pilot[None]", state: str) -> None:
    """Put the cursor on the first delivery in this state."""
    table = app.query_one("#deliveries", DataTable)
    table.focus()
    table.move_cursor(row=[row[0] for row in rows(app, "deliveries")].index(state))
    await pilot.pause()


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[str, ...], str | None]]:
    """The commands that were run, instead of running them."""
    found: list[tuple[tuple[str, ...], str | None]] = []

    def run(_config: object, words: tuple[str, ...], standard_input: str | None = None) -> verbs.Done:
        found.append((tuple(words), standard_input))
        return verbs.Done("bus-watch " + " ".join(words), 0, "")

    monkeypatch.setattr(verbs, "run", run)
    return found


def test_it_shows_what_the_commands_say(desk: Desk) -> None:
    queue = desk.run("queue", "--json").json

    async def scene(app: Top, _pilot: "Pilot[None]") -> None:
        (agent,) = rows(app, "agents")
        assert agent[0] == "bob"
        assert "1dead" in agent[2]
        assert "1held" in agent[2]
        states = [row[0] for row in rows(app, "deliveries")]
        assert states == [one["state"] for one in queue["deliveries"]]
        assert "can't find pane" in " ".join(row[3] for row in rows(app, "deliveries"))
        assert f"{queue['counts']['dead']} dead" in text(app, "whole")
        assert "! [r retry, d drop] 1 dead" in text(app, "problems")

    play(desk, scene)


@pytest.mark.parametrize("size", [(80, 24), (160, 50), (60, 20), (40, 12)])
def test_it_fits(desk: Desk, size: tuple[int, int]) -> None:
    async def scene(app: Top, _pilot: "Pilot[None]") -> None:
        for widget in app.query("#whole, #agents, #deliveries"):
            assert widget.region.right <= size[0]
            assert widget.region.height >= 1
            assert widget.region.bottom <= size[1]
        if size[0] >= 80:
            table = app.query_one("#agents", DataTable)
            assert table.virtual_size.width <= size[0]

    play(desk, scene, size)


def test_rows_that_come_in_between_do_not_forget_what_was_asked(
    desk: Desk, commands: list[tuple[tuple[str, ...], str | None]]
) -> None:
    """`d` asks once: a list that is filled anew chooses nothing, as long as the cursor stays on its row."""

    async def scene(app: Top, pilot: "Pilot[None]") -> None:
        await choose(app, pilot, "dead")
        await pilot.press("d")
        table = app.query_one("#deliveries", DataTable)
        fill(table, [("new", (Text("waiting"),)), *((str(key.value), tuple(table.get_row(key))) for key in table.rows)])
        await pilot.pause()
        await pilot.press("d")
        await shown(pilot, lambda: len(commands) == 1)

    play(desk, scene)


def test_of_many_keys_the_first_is_shown() -> None:
    keys = [f"bob/{MS + number}-0" for number in range(50)]
    assert verbs.shown(verbs.of_deliveries("drop", keys[:3], "wake")) == (
        f"bus-watch drop {' '.join(keys[:3])} --transport wake"
    )
    assert verbs.shown(verbs.of_deliveries("drop", keys, "wake")) == (
        f"bus-watch drop {keys[0]} ... 49 more --transport wake"
    )


def test_keys_are_commands(desk: Desk, commands: list[tuple[tuple[str, ...], str | None]]) -> None:
    key = f"bob/{MS}-0"

    async def scene(app: Top, pilot: "Pilot[None]") -> None:
        await choose(app, pilot, "dead")
        await pilot.press("r")
        await shown(pilot, lambda: len(commands) == 1)
        await pilot.press("d")
        assert text(app, "said").startswith("d again: bus-watch drop")
        await pilot.press("d")
        await shown(pilot, lambda: len(commands) == 2)
        await pilot.press("p")
        await shown(pilot, lambda: len(commands) == 3)
        await pilot.press("c")
        app.query_one("#compose", Input).value = "are you there? --help"
        await pilot.press("enter")
        await shown(pilot, lambda: len(commands) == 4)
        await shown(pilot, lambda: text(app, "said").startswith("bus-watch send bob -"))

    play(desk, scene)
    assert commands == [
        (("retry", key, "--transport", "dies"), None),
        (("drop", key, "--transport", "dies"), None),
        (("pause", "dies", "--agent", "bob"), None),
        (("send", "bob", "-", "--as", "bob", "-C", "human"), "are you there? --help"),
    ]


def test_a_command_is_really_run(desk: Desk) -> None:
    done = verbs.run(desk.config, ("retry", f"bob/{MS}-0", "--transport", "dies"))
    assert done.status == 0, done.said
    assert str(done) == f"bus-watch retry bob/{MS}-0 --transport dies: bob/{MS}-0 dies: was dead, waits again"
    assert verbs.run(desk.config, ("retry", "nobody/1-1")).status != 0


def test_enter_tells_the_story_and_what_would_help(desk: Desk) -> None:
    async def scene(app: Top, pilot: "Pilot[None]") -> None:
        await choose(app, pilot, "dead")
        await pilot.press("enter")
        await shown(pilot, lambda: isinstance(app.screen, LinesScreen))
        told = str(app.screen.query_one("#story-text", Static).content)
        assert "dies: attempt 1 begins" in told
        assert f"bus-watch retry bob/{MS}-0 --transport dies" in told
        await pilot.press("escape")
        await shown(pilot, lambda: not isinstance(app.screen, LinesScreen))

    play(desk, scene)


def test_find_and_freeze(desk: Desk) -> None:
    async def scene(app: Top, pilot: "Pilot[None]") -> None:
        everything = rows(app, "deliveries")
        await pilot.press("slash")
        app.query_one("#find", Input).value = f"{MS + 1}-0"
        await pilot.press("enter")
        assert 0 < len(rows(app, "deliveries")) < len(everything)
        await pilot.press("escape")
        assert rows(app, "deliveries") == everything or len(rows(app, "deliveries")) == len(everything)
        await pilot.press("z")
        assert "FROZEN" in text(app, "whole")
        desk.run("retry", f"bob/{MS}-0", "--transport", "dies")
        await pilot.pause(0.1)
        assert "1 dead" in text(app, "whole")
        await pilot.press("z")
        await shown(pilot, lambda: "0 dead" in text(app, "whole"))

    play(desk, scene)


def test_agents_are_sorted_worst_first_and_counted_by_hour(desk: Desk) -> None:
    (bob,) = board(load(desk.config)).agents
    assert bob.rank[0] == 0
    assert bob.delivered_at is None
    assert len(bob.hours) == 24
    assert sparkline((0, 1, 2, 8)) == " ▁▂█"
    assert sparkline(()) == ""


def test_an_agent_without_a_pane_of_ours_says_so(desk: Desk) -> None:
    (agent,) = load(desk.config).agents
    panes = PaneWatch({})
    assert panes.of("bob").word == "?"
    assert panes.look(agent, calm=True).word == "-"


def test_it_needs_a_terminal(desk: Desk) -> None:
    said = desk.run("top")
    assert said.status == 64
    assert "bus-watch queue --watch" in said.err


def test_what_a_transport_printed_moves_no_cursor(desk: Desk) -> None:
    """In what is wrong, and in a story."""
    hostile = "exit 69: \x1b]0;owned\x07\x1b[2J\r\n! forged\u202e"
    with contextlib.closing(sqlite3.connect(load(desk.config).ledger_file)) as ledger, ledger:
        ledger.execute("update lanes set broken_since = 1, broken_reason = ?", (hostile,))
        ledger.execute("update messages set class = ?, source = ?", (hostile, hostile))

    async def scene(app: Top, pilot: "Pilot[None]") -> None:
        assert "owned" in text(app, "problems")
        for name in ("whole", "problems"):
            assert all(c.isprintable() or c == "\n" for c in text(app, name)), text(app, name)
        assert not [line for line in text(app, "problems").split("\n") if line.startswith("! forged")]
        await pilot.press("enter")
        await shown(pilot, lambda: isinstance(app.screen, LinesScreen))
        told = str(app.screen.query_one("#story-text", Static).content)
        assert "owned" in told
        assert all(c.isprintable() or c == "\n" for c in told), told

    play(desk, scene)
