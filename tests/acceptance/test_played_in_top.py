"""The same week, seen from `top` alone, 80 columns by 24: each cause is named, with the key that mends it.

Run with -s, it prints how long each took to be named.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from tests.acceptance.test_played_through import NAMES, Week, terminal, week
from tests.fakes.bridges import FakeBridge
from tests.world.waiting import PATIENCE
from worker.configuration import load
from worker.ui.story import LinesScreen
from worker.ui.top import Top

__all__ = ["terminal", "week"]


class Watched:
    """`top`, and whoever looks at it."""

    def __init__(self, app: Top, pilot: "Pilot[None]") -> None:
        self.app, self.pilot = app, pilot
        self.began = time.monotonic()

    def problems(self) -> str:
        """What of the problems can be seen: what is below the edge is not."""
        shown = self.app.screen_stack[0].query_one("#problems", Static)
        return " ".join(" ".join(shown.render_line(y).text for y in range(shown.size.height)).split())

    async def wait(self, what: str, there: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not there():
            assert self.app._exception is None
            assert time.monotonic() < end, f"{what}: {self.problems()}"
            await self.pilot.pause(0.05)

    async def names(self, *parts: str) -> None:
        """Until all of it is to be seen; says how long that took."""
        self.began = time.monotonic()
        await self.wait(f"named: {parts}", lambda: all(part in self.problems() for part in parts))
        print(f"{time.monotonic() - self.began:5.1f} s  {' ... '.join(parts)}")

    async def is_well(self) -> None:
        await self.wait("all is well", lambda: not self.problems())

    def agents(self) -> list[str]:
        table = self.app.query_one("#agents", DataTable)
        return [str(table.get_row(key)[0]) for key in table.rows]

    async def choose(self, name: str) -> None:
        self.app.query_one("#agents", DataTable).move_cursor(row=self.agents().index(name))
        await self.wait(f"the deliveries of {name}", lambda: self.app._agent_name() == name)

    async def said(self, part: str) -> None:
        await self.wait(f"said: {part}", lambda: part in str(self.app.query_one("#said", Static).content))

    async def done(self, verb: str) -> None:
        """Until a command has ended, and what it said is shown."""

        def shown() -> bool:
            said = str(self.app.query_one("#said", Static).content)
            return said.startswith(f"bus-watch {verb}") and not said.endswith(": running")

        await self.wait(f"{verb} to end", shown)


Scene = Callable[[Watched], Awaitable[None]]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would take the terminal for itself."""
    found: list[list[str]] = []
    monkeypatch.setattr(Top, "_in_terminal", lambda _, command: found.append(command))
    return found


@pytest.fixture
def play(week: Week, monkeypatch: pytest.MonkeyPatch) -> Callable[[Scene], None]:
    monkeypatch.setenv("HOME", str(week.terminal.home))  # where the stand-in's profile lies
    monkeypatch.setenv("EDITOR", "edit-it")
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.delenv("TMUX", raising=False)

    async def run(scene: Scene) -> None:
        app = Top(load(week.world.config))
        async with app.run_test(size=(80, 24)) as pilot:
            watched = Watched(app, pilot)
            await watched.wait("the agents", lambda: sorted(watched.agents()) == sorted(NAMES))
            await scene(watched)

    return lambda scene: asyncio.run(run(scene))


def test_a_pane_that_was_closed(week: Week, play: Callable[[Scene], None], typed: list[list[str]]) -> None:
    async def scene(top: Watched) -> None:
        week.terminal.tmux("kill-session", "-t", "=ann")
        week.send("ann", "are you there?")
        await top.names("[a attach] ann: pane gone", "[a attach, r retry, o doctor] ann wake: nobody there since")
        await top.choose("ann")
        await top.pilot.press("a")
        assert typed == [["tmux", "-S", week.terminal.socket, "new-session", "-s", "ann"]]
        (week.terminal.home / "ann.control").unlink()
        week.agents["ann"] = week.terminal.agent("ann")
        await top.wait("the row", lambda: top.app._delivery() is not None)
        await top.pilot.press("r")
        await top.wait("it is delivered", lambda: "are you there?" in week.agents["ann"].submitted())
        await top.is_well()

    play(scene)


def test_a_dialog_that_nobody_answers(week: Week, play: Callable[[Scene], None], typed: list[list[str]]) -> None:
    async def scene(top: Watched) -> None:
        week.agents["bob"].tell("dialog")
        week.send("bob", "go on")
        await top.names("[a attach] bob: pane dialog", "Esc to cancel")
        await top.choose("bob")
        await top.pilot.press("a")
        assert typed == [["tmux", "-S", week.terminal.socket, "attach-session", "-t", "bob"]]
        week.agents["bob"].tell("idle")
        await top.wait("it is delivered", lambda: "go on" in week.agents["bob"].submitted())
        await top.is_well()

    play(scene)


def test_a_token_that_was_rotated(week: Week, play: Callable[[Scene], None], typed: list[list[str]]) -> None:
    token = week.world.config.with_name("cid.token")

    async def scene(top: Watched) -> None:
        week.bridge.tokens.pop(token.read_text())
        await top.names("[e edit, o doctor] cid: no mail for", "does not know this token")
        await top.pilot.press("e")
        assert typed == [["edit-it", str(token)]]
        week.world.write_private(token, week.bridge.add_token("cid"))
        await top.is_well()

    play(scene)


def test_a_bus_that_is_down(week: Week, play: Callable[[Scene], None]) -> None:
    bridge = week.bridge

    async def scene(top: Watched) -> None:
        bridge.stopping.set()
        bridge.drop_watchers()
        await asyncio.to_thread(bridge.shutdown)
        bridge.server_close()
        await top.names("[o doctor] ann: no mail for", "Nobody answers at bridge_url")
        await top.pilot.press("o")
        # The screen is there before what is in it.
        await top.wait("what doctor found", lambda: bool(top.app.screen.query("#story-text")))
        assert isinstance(top.app.screen, LinesScreen)
        assert "Nobody answers" in str(top.app.screen.query_one("#story-text", Static).content)
        await top.pilot.press("escape")
        with FakeBridge("C", port=bridge.server_address[1], streams=bridge.streams) as again:
            again.tokens.update(bridge.tokens)
            await top.is_well()

    play(scene)


def test_a_flood(week: Week, play: Callable[[Scene], None]) -> None:
    async def scene(top: Watched) -> None:
        def is_paused() -> bool:
            agent = top.app._agent_view()
            return agent is not None and bool(agent.paused)

        week.agents["bob"].tell("dialog")  # else it might be over before anybody looks
        for number in range(60):
            week.bridge.streams.add("bob", f"flood {number}", source="agent:mallory")
        await top.names("[p pause, d drop] bob wake: 60 wait, 60 of them from agent:mallory")
        await top.choose("bob")
        await top.wait("the rows", lambda: top.app._delivery() is not None)
        await top.pilot.press("p")
        await top.done("pause")
        await top.wait("top knows", is_paused)
        for left in (10, 0):
            await top.wait("the rows", lambda: top.app._delivery() is not None)
            await top.pilot.press("D")
            await top.said("D again")
            await top.pilot.press("D")
            await top.done("drop")
            await top.wait(f"{left} are left", lambda left=left: len(top.app._deliveries) == left)  # type: ignore[misc]
        await top.pilot.press("p")
        await top.wait("it goes on", lambda: not is_paused())
        week.agents["bob"].tell("idle")
        await top.is_well()

    play(scene)


def test_an_agent_that_is_added_and_a_typo(week: Week, play: Callable[[Scene], None], typed: list[list[str]]) -> None:
    async def scene(top: Watched) -> None:
        week.agents["dee"] = week.terminal.agent("dee")
        week.configure(*NAMES, "dee")
        await top.wait("the new agent", lambda: "dee" in top.agents())
        good = week.world.config.read_text()
        week.world.write_config(good.replace('"retry_delay"', '"retry_delai"', 1))
        await top.names("[e edit, l reload] the configuration is refused", "did you mean 'retry_delay'")
        await top.pilot.press("e")
        assert typed == [["edit-it", str(week.world.config)]]
        week.world.write_config(good)
        await top.pilot.press("l")
        await top.done("reload")
        await top.is_well()
        assert "dee" in top.agents()

    play(scene)
