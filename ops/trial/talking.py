"""Real agent UIs that answer: a stand-in model that does what a message says, and a bus and a worker of ours."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Self

from ops.trial.dialects import Answer, Dialect, Json
from ops.trial.model import SHELL_TOOLS, StandIn, _filled, _Handler
from ops.trial.sessions import LIVE, Session
from ops.trial.setups import Start, write
from ops.trial.uis import UI, UIS
from worker.install.answering import SKILL

BIN = Path(sys.executable).parent
HINT = re.compile(r"\S*bus-watch reply (?:--config \S+ )?(\S+) 'TEXT'")
COMMAND = re.compile(r"\S*bus-watch reply [^\n]*? 'TEXT'")
ASKS = frozenset({"sandbox_permissions", "justification", "requires_approval"})
"""Arguments of a shell tool by which a person is asked first."""

YOLO = {
    "gemini": ["--approval-mode", "yolo"],
    "qwen": ["--approval-mode", "yolo"],
    "copilot": ["--allow-all-tools", "--allow-all-paths"],
}
"""The arguments with which a UI asks nobody."""


class _Talking(_Handler):
    """Answers by the command, or the tool, that a message's hint names."""

    def _answer(self, dialect: Dialect, body: Json, new: list[str], tag: str) -> Answer:
        server = self.server
        assert isinstance(server, TalkingModel)
        said = "\n".join(new)
        server.note(body)
        text, hints = server.answer(said), COMMAND.findall(said)
        if text is None or not hints:
            return super()._answer(dialect, body, [], tag)
        tools = dialect.tools(body)
        call: tuple[str, Json] | None = None
        if server.by == "mcp":
            spaced = [f"{space}:{tool}" for space, inner in names(body) for tool in inner]
            name = next((one for one in [*tools, *spaced] if "bus" in one and one.endswith("reply")), None)
            call = (name, {"text": text, "key": HINT.findall(said)[-1]}) if name else None
        elif name := next((one for one in tools if one in SHELL_TOOLS), None):
            takes = dialect.takes(body, name)
            given = {key: value for key, value in SHELL_TOOLS[name].items() if key not in ASKS}
            command = hints[-1].replace("TEXT", text)
            call = (name, {k: _filled(v, command) for k, v in given.items() if not takes or k in takes})
        if call is None:
            server.missing.append(str(names(body)))
        return Answer(["ok"], 0.0, call)


def names(body: Json) -> list[tuple[str, list[str]]]:
    """The tools that are offered: Codex (0.171.0) has those of an MCP server in a namespace."""
    return [
        (str(one.get("name")), [str(inner.get("name")) for inner in one.get("tools") or []])
        for one in body.get("tools") or []
    ]


class TalkingModel(StandIn):
    """A stand-in that answers what `answer` has an answer to; it notes whether it was shown skill and tools."""

    def __init__(self, log: Path, by: str, answer: Callable[[str], str | None]) -> None:
        super().__init__(log)
        self.RequestHandlerClass = _Talking
        self.by, self.answer = by, answer
        self.missing: list[str] = []
        self.skilled = False
        self.offered: set[str] = set()

    def note(self, body: Json) -> None:
        """What a request shows of us."""
        whole = json.dumps(body, ensure_ascii=False)
        self.skilled = self.skilled or SKILL.splitlines()[0] in whole
        self.offered |= set(re.findall(r'"name": "([^"]*(?:wait_for_message|bus.watch)[^"]*)"', whole))


class Talker(Session):
    """A UI whose model answers."""

    def __init__(self, ui: UI, by: str, answer: Callable[[str], str | None]) -> None:
        super().__init__(ui)
        self._by, self._answers = by, answer

    def __enter__(self) -> Self:
        self.home.mkdir(parents=True)
        LIVE.add(self)
        self._model = self.model = TalkingModel(self.truth.log, self._by, self._answers)
        threading.Thread(target=self._model.serve_forever, daemon=True).start()
        try:
            self.start()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self


def prepared(name: str, by: str, config: Path, agent: str) -> UI:
    """The UI, set up so that it may answer as `agent`: by its commands (shell, skill), or the MCP server."""
    ui = UIS[name]

    def set_up(home: Path, cwd: Path, base: str) -> Start:
        start = ui.set_up(home, cwd, base)
        start.env["PATH"] = f"{BIN}:/usr/bin:/bin"
        start.env["BUS_WATCH_CONFIG"] = str(config)
        if name in YOLO:
            start.args[:] = YOLO[name]
        _let(name, by, home)
        if by != "shell":
            options = ["--mcp", "--as", agent] if by == "mcp" else ["--skill"]
            done = subprocess.run(
                [str(BIN / "bus-watch"), "agent", "setup", name, *options, "--write"],
                env={"HOME": str(home), "BUS_WATCH_CONFIG": str(config), "PATH": "/usr/bin:/bin"},
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            print(done.stdout.strip(), flush=True)
        return start

    loaded = ui.loaded.replace("^>", "^[>*]") if name in YOLO else ui.loaded  # which Qwen shows so in front of its box
    return replace(ui, set_up=set_up, loaded=loaded)


def _let(name: str, by: str, home: Path) -> None:
    """Let it run our command without asking; with MCP codex's commands are in its sandbox."""
    if name == "codex":
        settings = home / ".codex" / "config.toml"
        text = settings.read_text().replace('"on-request"', '"never"')
        write(settings, text if by == "mcp" else text.replace('"read-only"', '"danger-full-access"'))
    elif name == "claude":
        allowed = [f"Bash({BIN}/bus-watch reply:*)", "mcp__bus-watch", "mcp__bus-watch__reply"]
        write(home / ".claude" / "settings.json", {"permissions": {"allow": allowed}})
    elif name == "opencode":
        settings = home / ".config" / "opencode" / "opencode.json"
        write(settings, settings.read_text().replace('"ask"', '"allow"'))


class Place:
    """A bus, a configuration of two agents, and a worker that can be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "bus-watch.json"
        self._bus = subprocess.Popen(
            [*self.argv("bus"), "--db", str(folder / "bus.db"), "--port", "0", "--json"],
            stdout=subprocess.PIPE, text=True, env=self.env,
        )  # fmt: skip
        assert self._bus.stdout is not None
        self.url = json.loads(self._bus.stdout.readline())["listening"]
        self._worker: subprocess.Popen[bytes] | None = None

    @property
    def env(self) -> dict[str, str]:
        """What our commands get."""
        return {"HOME": str(self.folder), "BUS_WATCH_CONFIG": str(self.config), "PATH": f"{BIN}:/usr/bin:/bin"}

    @staticmethod
    def argv(*words: str) -> list[str]:
        """Our command."""
        return [str(BIN / "bus-watch"), *words]

    def ask(self, *words: str) -> str:
        """What a command says, however it ends."""
        return subprocess.run(self.argv(*words), env=self.env, text=True, capture_output=True, check=False).stdout

    def run(self, *words: str) -> str:
        """What a command says that must succeed."""
        return subprocess.run(self.argv(*words), env=self.env, text=True, capture_output=True, check=True).stdout

    def register(self, agents: Collection[str]) -> None:
        """Make the agents known to the bus."""
        for agent in agents:
            token = str(self.folder / f"{agent}.token")
            self.run("bus", "--db", str(self.folder / "bus.db"), "--add-agent", agent, "--token-file", token)

    def configure(self, servers: dict[str, str]) -> None:
        """The agents, each woken in its pane, by the name of its tmux server; one without a server by nothing."""
        agents = []
        for agent, server in servers.items():
            token = self.folder / f"{agent}.token"
            wake = {
                "name": "tmux", "command": [str(BIN / "wake"), "-L", server, "-t", "agent"], "stdin": True,
                "on_unknown": "hold", "reply_hint": True,
            }  # fmt: skip
            if not server:  # nobody is there: it is only recorded
                wake = {"name": "nobody", "command": ["/bin/true"]}
            agents.append({"agent": agent, "token_file": str(token), "bridge_url": self.url, "transports": [wake]})
        whole = {
            "agents": agents,
            "allowlist": [str(BIN / "wake"), "/bin/true"],
            "state_path": str(self.folder / "state.db"),
        }
        write(self.config, whole)
        self.config.chmod(0o600)

    def start(self) -> None:
        """A worker."""
        with (self.folder / "worker.log").open("ab") as log:
            self._worker = subprocess.Popen(self.argv("run"), env=self.env, stdout=log, stderr=log)

    def kill(self) -> None:
        """`kill -9`, and another worker."""
        assert self._worker is not None
        self._worker.kill()
        self._worker.wait()
        self.start()

    def stop(self) -> None:
        """All of it."""
        for process in (self._worker, self._bus):
            if process is not None:
                process.terminate()
                process.wait(30)
