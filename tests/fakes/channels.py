"""For each channel, its stand-in with the agent's terminal UI in a pane: one face for the tests that all share."""

import contextlib
import os
import re
import shutil
from abc import ABC, abstractmethod
from pathlib import Path

from tests.fakes.agent_plugin import AgentPlugin
from tests.fakes.claude_inbox import ClaudeInbox
from tests.fakes.codex_daemon import CodexDaemon
from tests.fakes.qwen_inbox import QwenInbox
from tests.fakes.terminals import FAKES, Agent, Terminal
from worker.terminal.channels.chain import deliver
from worker.terminal.submit import Options, Outcome

TAG = re.compile(r"\n\n\(message [0-9a-f]{16}\)$")
"""What the claude channel puts behind each text."""


class World(ABC):
    """The UI and whatever serves its channel.

    Modes: `busy`, `silent` (what is handed over is taken without an answer), `garbles` (the same, and from then on its
    answers are another version's), `dies` (the same, and from then on nobody serves it), `halves` (half of an answer
    comes), `deaf` (it ends, and has not read what was handed over; Codex: the rest of something long); and ways in
    which it is not sure to arrive: `gone` (nobody serves it), `refuses`, `drifted` (another version's shape), `exposed`
    (others could have made it), `stranger` (it serves another session).
    """

    name = ""
    tells_apart = False
    """Whether each pane's session is known for certain."""
    proves = frozenset({"gone", "drifted", "exposed", "stranger"})
    """The ways in which nothing can be sent, and what a turn took is known all the same."""

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

    def leave(self) -> None:  # noqa: B027 - pi's and Copilot's extension finds a message whichever conversation has it
        """A person begins a new conversation, where the channel is asked for one conversation's messages."""

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

    def leave(self) -> None:
        self.daemon.leave()

    def turns(self) -> list[str]:
        return list(self.daemon.turns)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.daemon.close()


class Claude(World):
    name = "claude"
    tells_apart = True
    inbox = ClaudeInbox

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(terminal)
        self.inboxes: list[ClaudeInbox] = []

    def open(self, name: str, *, alike: bool = False) -> Agent:
        del alike  # each process names its session
        agent = self.pane(name)
        pid = int(self.terminal.tmux("display-message", "-p", "-t", agent.pane, "#{pane_pid}"))
        self.inboxes.append(self.inbox(self.terminal.home, pid, str(Path.cwd())))
        return agent

    def mode(self, word: str) -> None:
        for one in self.inboxes:
            if word == "gone":
                one.close()
            elif word == "exposed":
                one.folder.chmod(0o777)
            else:
                one.mode(word)

    def leave(self) -> None:
        for one in self.inboxes:
            one.leave()

    def end_turn(self) -> None:
        self.mode("")

    def turns(self) -> list[str]:
        found = [text for one in self.inboxes for text in one.turns]
        assert all(TAG.search(one) for one in found)
        return [TAG.sub("", one) for one in found]

    def close(self) -> None:
        for one in self.inboxes:
            one.close()


class Qwen(Claude):
    name = "qwen"
    inbox = QwenInbox

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(terminal)
        self.program.write_text(self.program.read_text().replace("esc to interrupt", "esc to cancel"))
        self.agents: list[Agent] = []

    def open(self, name: str, *, alike: bool = False) -> Agent:
        self.agents.append(super().open(name, alike=alike))
        return self.agents[-1]

    def mode(self, word: str) -> None:
        super().mode(word)
        for one in self.agents:  # its screen alone says that a turn runs
            one.tell("busy" if word == "busy" else "idle")


class Opencode(World):
    name = "opencode"
    tells_apart = True
    proves = frozenset({"stranger"})

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(terminal)
        self.plugins: list[AgentPlugin] = []
        self.agents: list[Agent] = []

    def open(self, name: str, *, alike: bool = False) -> Agent:
        del alike  # each process has a plugin of its own
        agent = self.pane(name)
        agent.tell(f"title OC | work of {name}")
        pid = int(self.terminal.tmux("display-message", "-p", "-t", agent.pane, "#{pane_pid}"))
        self.plugins.append(AgentPlugin(self.terminal.home, pid, "opencode", f"work of {name}"))
        self.agents.append(agent)
        return agent

    def mode(self, word: str) -> None:
        for plugin, agent in zip(self.plugins, self.agents, strict=True):
            if word == "gone":
                plugin.close()
            elif word == "exposed":
                plugin.folder.chmod(0o777)
            elif word == "stranger":
                agent.tell("title OpenCode")  # the home screen, or a session without a title
            else:
                plugin.mode(word)

    def leave(self) -> None:
        for one in self.plugins:
            one.session = "ses_2"

    def end_turn(self) -> None:
        self.mode("")

    def turns(self) -> list[str]:
        return [text for one in self.plugins for text in one.turns]

    def close(self) -> None:
        for one in self.plugins:
            one.close()


class Pi(World):
    name = "pi"
    tells_apart = True
    proves = frozenset({"stranger"})

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(terminal)
        self.plugins: list[AgentPlugin] = []

    def open(self, name: str, *, alike: bool = False) -> Agent:
        del alike  # each process has a plugin of its own
        agent = self.pane(name)
        pid = int(self.terminal.tmux("display-message", "-p", "-t", agent.pane, "#{pane_pid}"))
        self.plugins.append(AgentPlugin(self.terminal.home, pid, self.name))
        return agent

    def mode(self, word: str) -> None:
        for plugin in self.plugins:
            if word == "gone":
                plugin.close()
            elif word == "exposed":
                plugin.folder.chmod(0o777)
            else:
                plugin.mode(word)

    def end_turn(self) -> None:
        self.mode("")

    def turns(self) -> list[str]:
        return [text for one in self.plugins for text in one.turns]

    def close(self) -> None:
        for one in self.plugins:
            one.close()


class Copilot(Pi):
    name = "copilot"


WORLDS: tuple[type[World], ...] = (Codex, Claude, Opencode, Pi, Copilot, Qwen)


def wake(world: World, text: str, *, place: str = "a", via: str = "auto", **options: object) -> Outcome:
    """Wake the agent of a pane, by its channel first."""
    chosen = Options(**{"timeout": 8.0, **options})  # type: ignore[arg-type]  # tests name them
    return deliver(world.terminal.server, place, text, chosen, world.terminal.profiles(), via, "peer")


def handed_over(world: World) -> list[Path]:
    """The notes of what was handed over."""
    return list((world.terminal.home / ".local/state/bus-watch/handed").glob("*"))


def transcript_of(world: World) -> Path:
    """The record of the first session that was opened."""
    assert isinstance(world, Claude)
    return world.inboxes[0].transcript
