"""Serve an agent's messages as tools of an MCP server on standard input and output.

An agent's program starts it outside of the sandbox of its commands: the way out of one that forbids sockets and
shells. `bus-watch agent setup NAME --mcp` writes the entry. It needs the extra `mcp`.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from worker.cli import options, sending
from worker.errors import BusWatchError, UsageError

if TYPE_CHECKING:
    from worker.ledger.port import Row

EXAMPLES = """examples:
  bus-watch mcp --as bob               what an agent's program is configured to start
  bus-watch agent setup codex --mcp --as bob
"""

LOOK_SECONDS = 0.2
LONGEST_WAIT = 600.0
PAGE = 20

INSTRUCTIONS = """Messages between agents. You are {agent}. A message that comes to you names its key; answer it with
`reply`, and only if its sender needs something: never to thank or to acknowledge. `send` is for something new. What you
send is kept until the bus has it; `queued` is no failure, so never send it again. `inbox` shows what came; pass
`through` with the key of the last message that you have dealt with."""


class MissingExtraError(BusWatchError):
    """What the MCP server needs is not installed."""

    code = "missing-extra"
    exit_status = 69


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    parser.add_argument("--as", dest="sender", metavar="AGENT", help="whose messages (default: the only agent's)")


def run(args: argparse.Namespace) -> int:
    """Serve until standard input ends."""
    try:
        from mcp.server.mcpserver import MCPServer
        from mcp_types import ToolAnnotations
    except ModuleNotFoundError:
        raise MissingExtraError("it needs an extra; install it with: pip install 'bus-watch[mcp]'") from None
    from worker import __version__

    agent = sending.sender(sending.desk_of(args.config), args.sender)
    tools = Tools(args.config, agent)
    server = MCPServer(
        "bus-watch", instructions=INSTRUCTIONS.format(agent=agent), version=__version__, log_level="WARNING"
    )
    for tool in (tools.send, tools.reply, tools.inbox, tools.wait_for_message, tools.peers, tools.status):
        # Nothing is destroyed, and nobody but the agents of the bus is reached: codex (0.171.0) asks for approval of
        # any other tool, and refuses it where nobody can be asked.
        hints = ToolAnnotations(
            read_only_hint=tool not in {tools.send, tools.reply, tools.inbox},
            destructive_hint=False,
            open_world_hint=False,
        )
        server.add_tool(_told(tool), name=tool.__name__, description=tool.__doc__, annotations=hints)
    server.run("stdio")
    return 0


def _told(tool: Callable[..., Any]) -> Callable[..., Any]:
    """The tool as a coroutine whose failures are words for the agent: never a traceback."""
    import functools
    import inspect

    import anyio.to_thread
    from mcp_types import CallToolResult, TextContent

    @functools.wraps(tool)
    async def call(**given: Any) -> Any:
        try:
            if inspect.iscoroutinefunction(tool):
                return await tool(**given)
            return await anyio.to_thread.run_sync(functools.partial(tool, **given), abandon_on_cancel=True)
        except BusWatchError as error:
            from worker.telemetry.redact import redact

            words = {"error": error.code, "words": redact(str(error))}
            content = [TextContent(type="text", text=json.dumps(words, ensure_ascii=False))]
            return CallToolResult(content=content, structured_content=words, is_error=True)

    return call


class Tools:
    """What the agent can do; each result is one JSON object."""

    def __init__(self, config: str | None, agent: str) -> None:
        self._config = config
        self._agent = agent

    def _desk(self) -> sending.Desk:
        return sending.desk_of(self._config)

    def send(self, to: str, text: str, message_class: str | None = None) -> dict[str, Any]:
        """Send a message to another agent.

        message_class: actionable (default), human, reaction, or terminal-log for something that needs nobody.
        """
        from worker.classes import CLASSES

        if message_class is not None and message_class not in CLASSES:
            raise UsageError(f"message_class is one of {', '.join(CLASSES)}")
        to = sending.recipient(to)
        desk = self._desk()
        whole = sending.composed(self._agent, to, message_class, text)
        return self._said(desk, sending.post(desk, self._agent, to, whole, message_class=message_class))

    def reply(self, text: str, key: str | None = None) -> dict[str, Any]:
        """Answer a message: the one with this key, or without a key the last one that came from an agent."""
        from worker.cli.reply import answer
        from worker.ledger import inbox, message_report, operate

        desk = self._desk()
        with desk.opened() as database:
            if key is None:
                row = database.read(lambda db: inbox.newest(db, self._agent))
            else:
                row = database.read(lambda db: message_report.message(db, operate.find_message(db, key)))
        if row is None:
            raise UsageError("no agent has sent you anything yet")
        if row["agent"] != self._agent:
            raise UsageError(f"{key} came to {row['agent']}, and you are {self._agent}")
        return self._said(desk, answer(desk, row, text))

    @staticmethod
    def _said(desk: sending.Desk, row: "Row") -> dict[str, Any]:
        from worker.transports.locks import any_worker_lives

        return sending.as_json(row) | {"words": sending.said(row, listening=any_worker_lives(desk.files_dir))[1]}

    def inbox(self, through: str | None = None, limit: int = PAGE) -> dict[str, Any]:
        """What came to you and you have not read, oldest first.

        through: the key of the last message that you have read; it and all before it are not shown again.
        """
        from worker.ledger import inbox

        with self._desk().opened() as database:
            if through is not None:
                database.write(lambda tx: inbox.read_through(tx, self._agent, through))
            rows = database.read(lambda db: inbox.unread(db, self._agent, max(1, min(limit, 100)) + 1))
        shown = rows[: max(1, min(limit, 100))]
        return {"messages": [_message(row) for row in shown], "more": len(rows) > len(shown)}

    async def wait_for_message(self, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until there is a message that you have not read; what `inbox` shows then, or nothing after so long."""
        import anyio.to_thread  # no thread waits: one would outlive the client, and forty keep all other tools out

        deadline = time.monotonic() + max(0.0, min(seconds, LONGEST_WAIT))
        while True:
            found = await anyio.to_thread.run_sync(self.inbox)
            if found["messages"] or time.monotonic() > deadline:
                return found
            await anyio.sleep(LOOK_SECONDS)

    def peers(self) -> dict[str, Any]:
        """Whom you can write to, as the bus says it."""
        from worker.bus.client import BusClient
        from worker.engine.inboxes import Inboxes

        settings = sending.read_settings(self._config)
        agent = settings.agent(self._agent)
        if agent is None:
            raise UsageError(f"{self._agent} is not in the configuration any more")
        with BusClient(max_connections=1) as bus:
            inboxes = Inboxes(bus, settings.config_path)
            said = inboxes.source(agent).peers(inboxes.endpoint(agent))
        known = {str(one) for one in said.get("agents", [])}
        seen = [one for key in ("registered", "streams") for one in said.get(key, []) if isinstance(one, dict)]
        known |= {str(one.get("name") or one.get("agent")) for one in seen}
        return {"you": self._agent, "agents": sorted(known - {self._agent})}

    def status(self) -> dict[str, Any]:
        """Whether messages come and go, and what is wrong where they do not."""
        from worker.view.overview import overview

        found = overview(lambda: sending.read_settings(self._config))
        return {key: found.get(key) for key in ("running", "problems", "backlog", "outbox")}


def _message(row: "Row") -> dict[str, Any]:
    from worker import times

    return {
        "key": f"{row['agent']}/{row['stream']}/{row['message_id']}",
        "from": row["source"].removeprefix("agent:"),
        "class": row["class"],
        "text": row["text"],
        "state": row["state"],
        "came": times.stamp(row["received_at"]),
    }
