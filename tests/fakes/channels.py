"""For each channel, its stand-in with the agent's terminal UI in a pane: one face for the tests that all share."""

import contextlib
import os
import shutil
from abc import ABC, abstractmethod
from pathlib import Path

from tests.fakes.codex_daemon import CodexDaemon
from tests.fakes.terminals import FAKES, Agent, Terminal


class World(ABC):
    """The UI and whatever serves its channel.

    Modes: `busy`, `silent` (what is handed over is taken without an answer), and ways in which it is not sure to
    arrive: `gone` (nobody serves it), `refuses`, `drifted` (another version's shape), `exposed` (others could have made
    it), `stranger` (it serves another session).
    """

    name = ""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        program = terminal.home / f"{self.name}.py"
        shutil.copy(FAKES / "standin.py", program)
        profile = (FAKES / "standin.toml").read_text().replace('"standin"', f'"{self.name}"')
        (terminal.home / ".config/bus-watch/profiles" / f"{self.name}.toml").write_text(profile)
        self.program = program

    def pane(self, name: str) -> Agent:
        return self.terminal.agent(name, program=self.program)

    @abstractmethod
    def open(self, name: str, *, alike: bool = False) -> Agent:
        """A UI in a session of that name; `alike`: no channel can tell it from the one before."""

    @abstractmethod
    def mode(self, word: str) -> None:
        """Change how the channel is served."""

    @abstractmethod
    def end_turn(self) -> None:
        """What runs ends."""

    @abstractmethod
    def turns(self) -> list[str]:
        """What has reached the model by the channel."""

    @abstractmethod
    def close(self) -> None:
        """End what serves it."""


class Codex(World):
    name = "codex"

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(terminal)
        self.daemon = CodexDaemon(terminal.home / ".codex")

    def open(self, name: str, *, alike: bool = False) -> Agent:
        del alike  # two in one directory always are
        self.daemon.open(str(Path.cwd()))
        return self.pane(name)

    def mode(self, word: str) -> None:
        if word == "gone":
            self.daemon.close()
        elif word == "exposed":
            self.daemon.socket.parent.chmod(0o777)
        elif word == "stranger":
            self.daemon.threads[0]["cwd"] = os.path.realpath(self.terminal.home)
        else:
            self.daemon.mode = word

    def end_turn(self) -> None:
        self.daemon.end_turn()

    def turns(self) -> list[str]:
        return list(self.daemon.turns)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.daemon.close()


WORLDS: tuple[type[World], ...] = (Codex,)
