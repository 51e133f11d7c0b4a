"""`agent setup NAME --mcp --skill`: one entry and one section in files that are the agents' own, and nothing else."""

import json
import tomllib
from pathlib import Path

import pytest

from tests.world.config import Home
from worker.cli.main import main
from worker.install import answering

COMMAND = ["/opt/bus-watch", "mcp", "--as", "bob"]


@pytest.mark.parametrize("agent", [one for one in answering.agents() if one != "codex"])
def test_an_entry_in_json_and_nothing_else(agent: str) -> None:
    key = "mcp" if agent == "opencode" else "mcpServers"
    before = {"theme": "dark", key: {"other": {"command": "x"}}}
    after = json.loads(answering.with_server(agent, json.dumps(before), COMMAND))
    assert after["theme"] == "dark"
    assert after[key]["other"] == {"command": "x"}
    entry = after[key]["bus-watch"]
    assert (entry["command"] if agent == "opencode" else [entry["command"], *entry["args"]]) == COMMAND
    assert json.loads(answering.with_server(agent, json.dumps(after), COMMAND)) == after
    assert json.loads(answering.with_server(agent, json.dumps(after), None)) == before
    assert json.loads(answering.with_server(agent, answering.with_server(agent, "", COMMAND), None)) == {}


@pytest.mark.parametrize(("agent", "key"), [("claude", "alwaysLoad"), ("qwen", "alwaysLoadTools")])
def test_the_tools_are_not_hidden_behind_a_search(agent: str, key: str) -> None:
    assert json.loads(answering.with_server(agent, "", COMMAND))["mcpServers"]["bus-watch"][key] is True


def test_an_entry_in_codexs_toml() -> None:
    before = '# mine\nmodel = "x"\n\n[mcp_servers.other]\ncommand = "y"\n'
    after = answering.with_server("codex", before, COMMAND)
    assert after.startswith(before.rstrip())
    assert tomllib.loads(after)["mcp_servers"]["bus-watch"] == {"command": COMMAND[0], "args": COMMAND[1:]}
    again = answering.with_server("codex", after + "\n[z]\na = 1\n", [*COMMAND, "--config", 'a "b"'])
    assert tomllib.loads(again)["mcp_servers"]["bus-watch"]["args"][-1] == 'a "b"'
    assert tomllib.loads(again)["z"] == {"a": 1}
    assert tomllib.loads(answering.with_server("codex", again, None))["mcp_servers"] == {"other": {"command": "y"}}


def test_a_section_of_instructions() -> None:
    assert answering.with_skill(answering.with_skill("", wanted=True), wanted=False) == ""
    once = answering.with_skill("# mine\n", wanted=True)
    assert once.startswith("# mine\n\n<!-- bus-watch -->\n")
    assert answering.with_skill(once, wanted=True) == once
    assert answering.with_skill(f"{once}\nmore\n", wanted=False) == "# mine\n\nmore\n"
    assert len(answering.SKILL.splitlines()) <= 12


def test_shown_written_and_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path)
    home.configure({"agent": "bob", "token_env": "T", "transports": [home.transport("t")]})
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CODEX_HOME", raising=False)
    monkeypatch.setenv("BUS_WATCH_CONFIG", str(home.config))
    settings = tmp_path / ".codex" / "config.toml"
    settings.parent.mkdir()
    settings.write_text('model = "x"\n')
    assert main(["agent", "setup", "codex", "--mcp", "--skill"]) == 0
    assert "+[mcp_servers.bus-watch]" in capsys.readouterr().out
    assert settings.read_text() == 'model = "x"\n'
    assert main(["agent", "setup", "codex", "--mcp", "--skill", "--write"]) == 0
    entry = tomllib.loads(settings.read_text())["mcp_servers"]["bus-watch"]
    assert entry["args"] == ["mcp", "--as", "bob"]
    assert "bus-watch reply" in (tmp_path / ".codex" / "AGENTS.md").read_text()
    home.config.unlink()  # whoever takes it away may have taken ours away before
    capsys.readouterr()
    assert main(["agent", "setup", "codex", "--mcp", "--skill", "--undo", "--json"]) == 0
    assert [one["state"] for one in json.loads(capsys.readouterr().out)["files"]] == ["missing", "missing"]
    assert settings.read_text() == 'model = "x"\n'
    assert not (tmp_path / ".codex" / "AGENTS.md").exists()
    assert main(["agent", "setup", "coddex", "--mcp"]) == 64
    assert "did you mean codex?" in capsys.readouterr().err


def test_a_file_that_is_no_json_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    home.configure({"agent": "bob", "token_env": "T", "transports": [home.transport("t")]})
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BUS_WATCH_CONFIG", str(home.config))
    (tmp_path / ".claude.json").write_text("{")
    assert main(["agent", "setup", "claude", "--mcp", "--write"]) == 1
    assert (tmp_path / ".claude.json").read_text() == "{"
