"""What an agent's program needs to answer: an entry for our MCP server, and ten lines that say how.

Files of the agents' own are changed by one entry or one marked section, and nothing else in them. Where each agent
looks is by its documentation.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from worker.install.errors import InstallError
from worker.install.owners_files import parsed

NAME = "bus-watch"
BEGIN, END = "<!-- bus-watch -->", "<!-- end of bus-watch -->"

_MCP = {
    "codex": ".codex/config.toml",
    "claude": ".claude.json",
    "opencode": ".config/opencode/opencode.json",
    "gemini": ".gemini/settings.json",
    "qwen": ".qwen/settings.json",
    "copilot": ".copilot/mcp-config.json",
}
_SKILLS = {
    "codex": ".codex/AGENTS.md",
    "claude": ".claude/CLAUDE.md",
    "opencode": ".config/opencode/AGENTS.md",
    "gemini": ".gemini/GEMINI.md",
    "qwen": ".qwen/QWEN.md",
    "copilot": ".copilot/copilot-instructions.md",
}
# Claude Code (2.1.332) and Qwen Code (0.24.4) hide the tools of MCP servers behind a search of their own, where a model
# that has a message to answer would have to think of looking.
_ALSO: dict[str, dict[str, Any]] = {
    "claude": {"type": "stdio", "alwaysLoad": True},
    "qwen": {"alwaysLoadTools": True},
    "copilot": {"type": "local", "tools": ["*"]},
}
_TABLE = re.compile(r"^\[mcp_servers\.(?:bus-watch|\"bus-watch\")\][^\n]*\n(?:(?!\[).*(?:\n|\Z))*", re.MULTILINE)

SKILL = """## Messages from other agents (bus-watch)

- A line `[agent:alice -> you] ...` is a message from the agent alice. Do what it asks.
- Answer only if its sender needs something from you: a result, a decision, a question back. Never thank or acknowledge.
- To answer: `bus-watch reply KEY 'TEXT'`; the message ends with the exact command. Without KEY it is the last message.
- To write to somebody: `bus-watch send NAME 'TEXT'`; long texts with `-f FILE` or on standard input (`-`).
- For the record, waking nobody: `bus-watch send NAME --fyi 'TEXT'`.
- `queued` is no failure: it will be sent. Never send it again.
- If the command says that a sandbox stops it, use the tools `send` and `reply` of the MCP server bus-watch.
- A line `[host:session -> you] ...` came from a terminal: `bus-watch reply 'TEXT'` goes back there.
- What you write into your own session is read by nobody else.
"""


def agents() -> tuple[str, ...]:
    """The programs for which this is known."""
    return tuple(_MCP)


def mcp_file(agent: str, environment: Mapping[str, str]) -> Path:
    """Where the program looks for MCP servers."""
    return _place(agent, _MCP[agent], environment)


def skill_file(agent: str, environment: Mapping[str, str]) -> Path:
    """Where it looks for what it should always know."""
    return _place(agent, _SKILLS[agent], environment)


def _place(agent: str, below_home: str, environment: Mapping[str, str]) -> Path:
    home = Path(environment.get("HOME") or "~").expanduser()
    if agent == "codex" and environment.get("CODEX_HOME"):
        return Path(environment["CODEX_HOME"]) / Path(below_home).name
    config = environment.get("XDG_CONFIG_HOME", "")
    if agent == "opencode" and config.startswith("/"):
        return Path(config) / Path(below_home).relative_to(".config")
    return home / below_home


def with_server(agent: str, text: str, command: Sequence[str] | None) -> str:
    """The file's text with the entry for `command`, or without one. InstallError: it is no file of that kind."""
    if agent == "codex":
        rest = _TABLE.sub("", text)
        if command is None:
            return f"{rest.rstrip()}\n" if rest.strip() else ""
        words = ", ".join(json.dumps(word) for word in command[1:])
        entry = f"[mcp_servers.{NAME}]\ncommand = {json.dumps(command[0])}\nargs = [{words}]\n"
        return f"{rest.rstrip()}\n\n{entry}".lstrip()
    data = parsed(text)
    key = "mcp" if agent == "opencode" else "mcpServers"
    servers = data.setdefault(key, {})
    if not isinstance(servers, dict):
        raise InstallError(f"{key} in it is no object, so nothing was changed")
    servers.pop(NAME, None)
    if command is not None:
        servers[NAME] = _entry(agent, command)
    elif not servers:
        del data[key]
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _entry(agent: str, command: Sequence[str]) -> dict[str, Any]:
    if agent == "opencode":
        return {"type": "local", "command": list(command), "enabled": True}
    return {"command": command[0], "args": list(command[1:])} | _ALSO.get(agent, {})


def with_skill(text: str, *, wanted: bool) -> str:
    """The file's text with our section, or without it."""
    before, mark, rest = text.partition(BEGIN)
    after = rest.partition(END)[2].lstrip("\n") if mark else ""
    kept = "\n\n".join(filter(None, [before.rstrip(), after.rstrip()]))
    section = f"{BEGIN}\n{SKILL}{END}\n"
    if not wanted:
        return f"{kept}\n" if kept else ""
    return f"{kept}\n\n{section}" if kept else section
