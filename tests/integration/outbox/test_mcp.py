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
        self.say({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def say(self, what: dict[str, Any] | str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write((what if isinstance(what, str) else json.dumps(what)) + "\n")
        self.process.stdin.flush()

    def call(self, method: str, params: dict[str, Any]) -> Any:
        assert self.process.stdout is not None
        self._id += 1
        self.say({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params})
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
        if self.process.stdin.closed:
            return
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


def test_waiting_keeps_nobody_out_and_nobody_alive(client: Client) -> None:
    """More waits than a pool has threads; then the client goes away in the middle of them."""
    for number in range(60):
        call = {"name": "wait_for_message", "arguments": {"seconds": 600}}
        client.say({"jsonrpc": "2.0", "id": f"wait-{number}", "method": "tools/call", "params": call})
    client.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "wait-7"}})
    assert client.tool("inbox") == {"messages": [], "more": False}
    client.close()  # within a minute, and not after ten


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("send", {"to": "", "text": "hi"}, "no agent's name"),
        ("send", {"to": "al ice", "text": "hi"}, "no agent's name"),
        ("send", {"to": "alice"}, "text"),
        ("send", {"to": 5, "text": "hi"}, "valid string"),
        ("send", {"to": "alice", "text": "hi", "message_class": "boss"}, "message_class is one of"),
        ("inbox", {"limit": "many"}, "valid integer"),
        ("inbox", {"through": ""}, "no message key"),
        ("reply", {"text": "x", "key": "out-1"}, "no message key"),
        ("nope", {}, "Unknown tool"),
    ],
)
def test_what_makes_no_sense_is_an_error(client: Client, tool: str, arguments: dict[str, Any], says: str) -> None:
    found = client.call("tools/call", {"name": tool, "arguments": arguments})
    assert found["isError"] is True
    assert says in found["content"][0]["text"]
    assert "Traceback" not in found["content"][0]["text"]


def test_what_is_no_request_ends_nothing(client: Client) -> None:
    for line in ("garbage", "[]", '{"jsonrpc": "2.0"}', "x" * 1_000_000):
        client.say(line)
    client.say({"jsonrpc": "2.0", "id": 0, "method": "no/such"})
    assert client.tool("inbox") == {"messages": [], "more": False}


def test_an_agent_may_be_named_as_in_a_preamble(client: Client) -> None:
    assert client.tool("send", to="agent:alice", text="hi")["to"] == "alice"


def test_without_the_extra_it_says_so(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mcp.server.mcpserver", None)
    assert main(["mcp"]) == 69
    assert "pip install 'bus-watch[mcp]'" in capsys.readouterr().err
