"""Two real agent UIs hold a conversation over the embedded bus, while the worker is killed.

    python -m ops.trial.conversation [--turns 20] [--kills 3] [--by shell|mcp]

Codex and Claude Code run against the stand-in model, which does what a message and its hint say: it calls the command,
or with `--by mcp` the tool, that answers with the next number. `mcp` is with codex's commands in its sandbox. Judged by
what the models were asked: each number once, in order.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from ops.trial.dialects import Answer, Dialect, Json
from ops.trial.model import StandIn, _Handler
from ops.trial.sessions import LIVE, Session
from ops.trial.setups import Start, write
from ops.trial.uis import UI, UIS

BIN = Path(sys.executable).parent
TURN = re.compile(r"\[agent:(\w+) -> (\w+)[^\]]*\] turn (\d+)\b")
HINT = re.compile(r"\S*bus-watch reply (?:--config \S+ )?(\S+) 'TEXT'")
COMMAND = re.compile(r"\S*bus-watch reply [^\n]*? 'TEXT'")
NAMES = {"codex": "codie", "claude": "claudia"}
PATIENCE = 120.0


class _Talking(_Handler):
    """Answers a message that names its turn by the command, or the tool, that its hint names."""

    def _answer(self, dialect: Dialect, body: Json, new: list[str], tag: str) -> Answer:
        said = "\n".join(new)
        turns, hints = TURN.findall(said), COMMAND.findall(said)
        server = self.server
        assert isinstance(server, TalkingModel)
        if not turns or not hints or int(turns[-1][2]) >= server.turns:
            return super()._answer(dialect, body, [], tag)
        text = f"turn {int(turns[-1][2]) + 1}"
        tools = dialect.tools(body)
        call: tuple[str, Json] | None = None
        if server.by == "mcp":
            spaced = [f"{space}:{tool}" for space, inner in _names(body) for tool in inner]
            name = next((one for one in [*tools, *spaced] if "bus" in one and one.endswith("reply")), None)
            key = HINT.findall(said)[-1]
            call = (name, {"text": text, "key": key}) if name else None
        else:
            command = hints[-1].replace("TEXT", text)
            shells = {"exec_command": "cmd", "shell_command": "command", "Bash": "command"}
            name = next((one for one in tools if one in shells), None)
            call = (name, {shells[name]: command}) if name else None
        if call is None:
            server.missing.append(str(_names(body)))
        return Answer(["ok"], 0.0, call)


def _names(body: Json) -> list[tuple[str, list[str]]]:
    """The tools that are offered: Codex (0.171.0) has those of an MCP server in a namespace."""
    return [
        (str(one.get("name")), [str(inner.get("name")) for inner in one.get("tools") or []])
        for one in body.get("tools") or []
    ]


class TalkingModel(StandIn):
    """A stand-in that converses."""

    def __init__(self, log: Path, turns: int, by: str) -> None:
        super().__init__(log)
        self.RequestHandlerClass = _Talking
        self.turns, self.by = turns, by
        self.missing: list[str] = []


class Talker(Session):
    """A UI whose model converses."""

    def __init__(self, ui: UI, turns: int, by: str) -> None:
        super().__init__(ui)
        self._turns, self._by = turns, by

    def __enter__(self) -> Self:
        self.home.mkdir(parents=True)
        LIVE.add(self)
        self._model = self.model = TalkingModel(self.truth.log, self._turns, self._by)
        threading.Thread(target=self._model.serve_forever, daemon=True).start()
        try:
            self.start()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def heard(self) -> list[int]:
        """The turns that the model was told, in order, each as often as it was new."""
        found: list[int] = []
        if self.truth.log.exists():
            for line in self.truth.log.read_text("utf-8").splitlines():
                record = json.loads(line)
                if record["main"] and not record["tool_result"]:
                    found += [int(turn) for _, _, turn in TURN.findall("\n".join(record["new"]))]
        return found


def _prepared(name: str, by: str, config: Path) -> UI:
    """The UI, set up so that it may answer: its commands, or the MCP server."""
    ui = UIS[name]

    def set_up(home: Path, cwd: Path, base: str) -> Start:
        start = ui.set_up(home, cwd, base)
        start.env["PATH"] = f"{BIN}:/usr/bin:/bin"
        start.env["BUS_WATCH_CONFIG"] = str(config)
        if name == "codex":
            settings = home / ".codex" / "config.toml"
            text = settings.read_text().replace('"on-request"', '"never"')
            if by == "shell":
                text = text.replace('"read-only"', '"danger-full-access"')
            write(settings, text)
        else:
            allowed = [f"Bash({BIN}/bus-watch reply:*)", "mcp__bus-watch", "mcp__bus-watch__reply"]
            write(home / ".claude" / "settings.json", {"permissions": {"allow": allowed}})
        if by == "mcp":
            start.env["ENABLE_TOOL_SEARCH"] = "false"  # Claude Code 2.1.332 hides an MCP server's tools behind a search
            done = subprocess.run(
                [str(BIN / "bus-watch"), "agent", "setup", name, "--mcp", "--write", "--as", NAMES[name]],
                env={"HOME": str(home), "BUS_WATCH_CONFIG": str(config), "PATH": "/usr/bin:/bin"},
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            print(done.stdout.strip())
        return start

    return replace(ui, set_up=set_up)


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

    def run(self, *words: str) -> str:
        """What a command says."""
        return subprocess.run(self.argv(*words), env=self.env, text=True, capture_output=True, check=True).stdout

    def register(self, agents: Collection[str]) -> None:
        """Make the agents known to the bus."""
        for agent in agents:
            token = str(self.folder / f"{agent}.token")
            self.run("bus", "--db", str(self.folder / "bus.db"), "--add-agent", agent, "--token-file", token)

    def configure(self, servers: dict[str, str]) -> None:
        """Both agents, each woken in its pane, by the name of its tmux server."""
        agents = []
        for agent, server in servers.items():
            token = self.folder / f"{agent}.token"
            wake = {
                "name": "tmux", "command": [str(BIN / "wake"), "-L", server, "-t", "agent"], "stdin": True,
                "on_unknown": "hold", "reply_hint": True,
            }  # fmt: skip
            agents.append({"agent": agent, "token_file": str(token), "bridge_url": self.url, "transports": [wake]})
        whole = {"agents": agents, "allowlist": [str(BIN / "wake")], "state_path": str(self.folder / "state.db")}
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


def _until(look: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if look():
            return True
        time.sleep(0.2)
    return False


def converse(turns: int, kills: int, by: str) -> dict[str, Any]:
    """One conversation; what came of it."""
    with tempfile.TemporaryDirectory(prefix="trial-talk-") as folder:
        place = Place(Path(folder))
        try:
            place.register(NAMES.values())
            place.configure(dict.fromkeys(NAMES.values(), "not-yet"))
            with (
                Talker(_prepared("codex", by, place.config), turns, by) as codex,
                Talker(_prepared("claude", by, place.config), turns, by) as claude,
            ):
                place.configure({NAMES["codex"]: codex.server.name, NAMES["claude"]: claude.server.name})
                codex.ready()
                claude.ready()
                return _talk(place, codex, claude, turns, kills)
        finally:
            place.stop()


def _talk(place: Place, codex: Talker, claude: Talker, turns: int, kills: int) -> dict[str, Any]:
    place.start()
    began = time.monotonic()
    place.run("send", "codie", "turn 1", "--as", "claudia")

    def heard() -> int:
        return max([0, *codex.heard(), *claude.heard()])

    killed = 0
    for number in range(1, kills + 1):
        if not _until(lambda n=number: heard() >= turns * n // (kills + 1), PATIENCE):  # type: ignore[misc]
            break
        place.kill()
        killed += 1
    whole = _until(lambda: heard() >= turns, PATIENCE)
    time.sleep(3.0)  # for one that comes a second time
    sent = json.loads(place.run("history", "--sent", "--json"))
    return {
        "whole": whole,
        "kills": killed,
        "seconds": round(time.monotonic() - began, 1),
        "codex": codex.heard(),
        "claude": claude.heard(),
        "good": codex.heard() == list(range(1, turns + 1, 2)) and claude.heard() == list(range(2, turns + 1, 2)),
        "sent": [(one["from"], one["state"]) for one in sent if one["state"] != "sent"],
        "missing": (codex.model.missing + claude.model.missing)[:1],
        "shows": "" if whole else f"{codex.shows()}\n=====\n{claude.shows()}",
        "history": [] if whole else place.run("history"),
    }


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--by", choices=("shell", "mcp"), default="shell")
    args = parser.parse_args()
    found = converse(args.turns, args.kills, args.by)
    for key, value in found.items():
        print(f"{key}: {value}")
    return 0 if found["good"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
