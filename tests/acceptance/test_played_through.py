"""Three agents in tmux panes, and what goes wrong in a week: `status` alone says what it is, in 80 columns."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.bridges import FakeBridge
from tests.fakes.streams import Generation
from tests.fakes.terminals import Terminal, private_terminal
from tests.world.config import QUICK
from tests.world.processes import program
from tests.world.waiting import until
from tests.world.world import World

NAMES = ("ann", "bob", "cid")
STUCK_SECONDS = 3


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with private_terminal() as made:
        yield made


class Week:
    """A worker for three agents, each with a pane and a token of its own."""

    def __init__(self, world: World, bridge: FakeBridge, terminal: Terminal, programs: Path) -> None:
        self.world, self.bridge, self.terminal, self.programs = world, bridge, terminal, programs
        self.agents = {name: terminal.agent(name) for name in NAMES}
        self.configure(*NAMES)

    def configure(self, *names: str) -> None:
        self.world.configure(*(self._agent(name) for name in names), **QUICK)

    def _agent(self, name: str) -> dict[str, Any]:
        token = self.world.config.with_name(f"{name}.token")
        if not token.exists():
            self.world.write_private(token, self.bridge.add_token(name))
        command = [
            program("send-message", self.programs),
            "--socket-path",
            self.terminal.socket,
            "-t",
            name,
            "-m",
            "{text}",
        ]
        wake = {
            "name": "wake",
            "command": command,
            "stuck_after": STUCK_SECONDS,
            "retry_delay": 1,
            "retry_max_delay": 1,
        }
        wake["env"] = {"HOME": str(self.terminal.home)}
        return {
            "agent": name,
            "bridge_url": self.bridge.url,
            "token_file": str(token),
            "transports": [wake],
        }

    def send(self, name: str, text: str) -> None:
        self.bridge.streams.add(name, text)

    def status(self) -> str:
        done = self.world.bus_watch("status")
        assert done.returncode == (1 if "\n! " in done.stdout else 0)
        assert all(len(line) <= 80 for line in done.stdout.splitlines() if line.startswith(("! ", "  ")))
        return done.stdout

    def says(self, *parts: str) -> None:
        until(lambda: all(part in " ".join(self.status().split()) for part in parts), f"status says {parts}")

    def is_well(self) -> None:
        until(lambda: "\n! " not in self.status(), "a healthy status")


@pytest.fixture
def week(
    world: World, bridge_of: Callable[[Generation], FakeBridge], terminal: Terminal, programs: Path
) -> Iterator[Week]:
    made = Week(world, bridge_of("C"), terminal, programs)
    with world.consumer():
        for name in NAMES:
            made.send(name, f"hello {name}")
            until(lambda name=name: f"hello {name}" in made.agents[name].submitted(), f"{name} was woken")  # type: ignore[misc]
        made.is_well()
        yield made


def test_a_pane_that_was_closed(week: Week) -> None:
    week.terminal.tmux("kill-session", "-t", "=ann")
    week.send("ann", "are you there?")
    week.says("! ann wake: nobody there since", "messages wait")
    (week.terminal.home / "ann.control").unlink()
    week.agents["ann"] = week.terminal.agent("ann")
    until(lambda: "are you there?" in week.agents["ann"].submitted(), "the message, once the pane is back")
    week.is_well()


def test_a_dialog_that_nobody_answers(week: Week) -> None:
    week.agents["bob"].tell("dialog")
    week.send("bob", "go on")
    week.says("! bob wake: stuck for", "dialog", "bus-watch show bob/")
    week.agents["bob"].tell("idle")
    until(lambda: "go on" in week.agents["bob"].submitted(), "the message, once the dialog is answered")
    week.is_well()


def test_a_token_that_was_rotated(week: Week) -> None:
    old = week.world.config.with_name("cid.token").read_text()
    week.bridge.tokens.pop(old)
    week.says("! cid: no mail for", "does not know this token", "token file")
    week.world.write_private(week.world.config.with_name("cid.token"), week.bridge.add_token("cid"))
    week.send("cid", "back again")
    until(lambda: "back again" in week.agents["cid"].submitted(), "the message, once the token is good")
    week.is_well()


def test_a_bus_that_is_down(week: Week) -> None:
    bridge = week.bridge
    port = bridge.server_address[1]
    bridge.stopping.set()
    bridge.drop_watchers()
    bridge.shutdown()
    bridge.server_close()
    week.says(*(f"! {name}: no mail for" for name in NAMES), "Nobody answers at bridge_url; is the bridge running?")
    with FakeBridge("C", port=port, streams=bridge.streams) as again:
        again.tokens.update(bridge.tokens)
        week.send("bob", "back again")
        until(lambda: "back again" in week.agents["bob"].submitted(), "the message, once the bus is back")
        week.is_well()


def test_an_agent_that_is_renamed(week: Week) -> None:
    week.agents["ann"].tell("dialog")
    week.send("ann", "for the old name")
    week.says("oldest: ann/")
    week.agents["eve"] = week.terminal.agent("eve")
    week.configure("eve", "bob", "cid")
    week.says("! ann wake: not configured any more, and messages wait for it", "bus-watch queue")
    week.send("eve", "for the new name")
    until(lambda: "for the new name" in week.agents["eve"].submitted(), "the new name was woken")
    (waiting,) = [one for one in week.world.json("queue")["deliveries"] if one["agent"] == "ann"]
    assert week.world.bus_watch("drop", waiting["key"]).returncode == 0
    week.is_well()


def test_an_agent_that_is_added_and_a_configuration_with_a_typo(week: Week) -> None:
    week.agents["dee"] = week.terminal.agent("dee")
    week.send("dee", "welcome")
    week.configure(*NAMES, "dee")
    until(lambda: "welcome" in week.agents["dee"].submitted(), "the new agent was woken")
    week.is_well()
    good = week.world.config.read_text()
    week.world.write_config(good.replace('"retry_delay"', '"retry_delai"', 1))
    until(lambda: week.world.bus_watch("status").returncode != 0, "status is not content")
    assert "did you mean 'retry_delay'" in " ".join(week.world.bus_watch("status").stdout.split())
    week.send("ann", "still there?")
    until(lambda: "still there?" in week.agents["ann"].submitted(), "the old configuration is in force")
    week.world.write_config(good)
    week.is_well()
