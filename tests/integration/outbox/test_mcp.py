"""`bus-watch mcp` spoken to as an agent's program does: its tools send, answer and read, and never show a traceback."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.bridges import FakeBridge
from tests.fakes.streams import Generation
from tests.world.config import QUICK, Home
from tests.world.processes import ROOT
from worker.cli.main import main


class Client:
    """One JSON object a line, as MCP's stdio transport has it."""

    def __init__(self, config: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "worker.cli.main", "mcp", "--as", "bob", "--config", str(config)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ},
        )  # fmt: skip
        self._id = 0
        client = {"name": "test", "version": "1"}
        asked = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
        self.greeting = self.call("initialize", asked)
        self._say({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def _say(self, what: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()

    def call(self, method: str, params: dict[str, Any]) -> Any:
        assert self.process.stdout is not None
        self._id += 1
        self._say({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params})
        while line := self.process.stdout.readline():
            answer = json.loads(line)
            if answer.get("id") == self._id:
                return answer["result"]
        raise AssertionError("it ended")

    def tool(self, name: str, **arguments: Any) -> Any:
        """What a tool says."""
        found = self.call("tools/call", {"name": name, "arguments": arguments})
        return json.loads(found["content"][0]["text"])

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def home(tmp_path: Path, bridge_of: Callable[[Generation], FakeBridge], monkeypatch: pytest.MonkeyPatch) -> Home:
    made = Home(tmp_path)
    made.configure(made.agent(bridge_of("C"), "bob"), **QUICK)
    monkeypatch.setenv("BUS_WATCH_CONFIG", str(made.config))
    return made


@pytest.fixture
def client(home: Home) -> Iterator[Client]:
    made = Client(home.config)
    yield made
    made.close()


def test_the_tools(client: Client) -> None:
    tools = {tool["name"] for tool in client.call("tools/list", {})["tools"]}
    assert tools == {"send", "reply", "inbox", "wait_for_message", "peers", "status"}
    assert "You are bob" in client.greeting["instructions"]
    assert client.tool("inbox") == {"messages": [], "more": False}
    assert client.tool("reply", text="hm")["error"] == "usage"
    sent = client.tool("send", to="alice", text="are you there?")
    assert sent["state"] == "sent"
    assert sent["words"].startswith("sent out-1 to alice")
    assert client.tool("peers")["agents"] == ["alice"]


def test_the_inbox_is_read_through_a_key(home: Home, client: Client) -> None:
    url = json.loads(home.config.read_text())["bridge_url"]
    for number in range(3):
        added = {"agent": "bob", "text": f"m{number}", "source": "agent:alice"}
        httpx.post(f"{url}/_control/add", json=added, trust_env=False)
    assert main(["run", "--once"]) == 0
    first = client.tool("wait_for_message", seconds=5)["messages"]
    assert [(one["from"], one["text"]) for one in first] == [("alice", f"m{n}") for n in range(3)]
    second = client.tool("inbox", through=first[1]["key"])
    assert [one["text"] for one in second["messages"]] == ["m2"]
    assert [one["text"] for one in client.tool("inbox", through=first[0]["key"])["messages"]] == ["m2"]
    answered = client.tool("reply", text="to the first", key=first[0]["key"])
    assert (answered["to"], answered["answers"]) == ("alice", first[0]["key"])
    assert client.tool("reply", text="to the last")["answers"] == first[2]["key"]
    assert client.tool("send", to="alice", text="")["error"] == "usage"
    assert client.tool("inbox", through="bob/1-1")["error"] == "no_such_message"
    assert client.tool("status")["running"] is False


def test_without_the_extra_it_says_so(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mcp.server.mcpserver", None)
    assert main(["mcp"]) == 69
    assert "pip install 'bus-watch[mcp]'" in capsys.readouterr().err
