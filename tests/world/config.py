"""A folder to be $HOME, with a configuration, transports that keep a record, and the ledger to look into."""

import contextlib
import json
import os
import shlex
import sqlite3
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.fakes.measuring import measuring
from tests.fakes.serving import FakeBus
from worker.process_table import NO_PROC_VARIABLE

TOKEN = "canary-token-7c1e90d4"

QUICK = {"poll_interval": 0.5, "requests_per_minute": 600, "announce": False, "watch": False}
"""Settings for tests of other things than pace and presence."""


class Home:
    """Everything lies below `home`; nothing of the person who runs the tests is seen or touched.

    `env` is what commands get. `state` is the folder of the ledger, by default that of the configuration.
    """

    def __init__(self, home: Path, *, state: Path | None = None) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        self.config = home / ".sos" / "bus-watch.json"
        self.state = state or self.config.parent
        self.env = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            **measuring(),
            **{name: os.environ[name] for name in (NO_PROC_VARIABLE,) if name in os.environ},
        }

    @cached_property
    def token_file(self) -> Path:
        """A file with TOKEN in it; it is there as soon as somebody names it."""
        path = self.config.with_name("token")
        self.write_private(path, TOKEN + "\n")
        return path

    # -- configuration -------------------------------------------------------------------------------------------------

    def configure(self, *agents: dict[str, Any], **fields: Any) -> None:
        """Write the file: one agent as the old watcher had it, several as a list; what they run is allowlisted."""
        commands = {transport["command"][0] for agent in agents for transport in agent.get("transports", [])}
        whole: dict[str, Any] = {"state_path": str(self.state / "state.json"), "allowlist": sorted(commands)}
        whole |= agents[0] if len(agents) == 1 else {"agents": agents}
        self.write_config(json.dumps(whole | fields))

    def write_config(self, text: str) -> None:
        """Write the file as it is given."""
        self.write_private(self.config, text)

    def change_config(self, **fields: Any) -> None:
        """Set some keys of it; None: take them away."""
        changed = json.loads(self.config.read_text()) | fields
        self.write_config(json.dumps({key: value for key, value in changed.items() if value is not None}))

    def agent(self, bridge: FakeBus, agent: str = "bob", *transports: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """An agent at this bridge, which knows its token from now on."""
        bridge.add_token(agent, token=TOKEN)
        return {
            "agent": agent,
            "bridge_url": bridge.url,
            **({} if bridge.kind == "sos" else {"bus_kind": bridge.kind}),
            "token_file": str(self.token_file),
            "transports": list(transports) or [self.transport(f"{agent}-wake")],
            **fields,
        }

    @staticmethod
    def write_private(path: Path, text: str) -> None:
        """A file that only its owner can read, in a folder of the same kind."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)

    # -- transports ----------------------------------------------------------------------------------------------------

    def script(self, name: str, text: str) -> str:
        """An executable shell script; its path."""
        path = self.home / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    def transport(
        self, name: str, *, before: str = "", command: Sequence[str] = ("{text}",), **fields: Any
    ) -> dict[str, Any]:
        """A transport that runs `before` (sh) and then writes its first argument as a line into its record."""
        record = shlex.quote(str(self.record(name)))
        script = self.script(f"{name}.sh", f"{before}\nprintf '%s\\n' \"$1\" >> {record}")
        return {"name": name, "command": [script, *command], **fields}

    def gated(self, name: str, **fields: Any) -> dict[str, Any]:
        """A transport that hangs until `gate` exists."""
        gate, home = shlex.quote(str(self.gate)), shlex.quote(str(self.home))
        mark = shlex.quote(str(self.home / f"{name}.started"))
        return self.transport(
            name, before=f": > {mark}; while [ -d {home} ] && [ ! -e {gate} ]; do sleep 0.05; done", **fields
        )

    @property
    def gate(self) -> Path:
        return self.home / "gate"

    def record(self, name: str) -> Path:
        return self.home / f"{name}.seen"

    def seen(self, name: str) -> list[str]:
        """What the transport was given, in the order in which it finished."""
        try:
            return self.record(name).read_text("utf-8").splitlines()
        except FileNotFoundError:
            return []

    # -- the ledger ----------------------------------------------------------------------------------------------------

    @property
    def ledger(self) -> Path:
        return self.state / "state.db"

    @property
    def queue(self) -> Path:
        return self.state / "state-queue.db"

    @property
    def files(self) -> Path:
        return self.state / "state.d"

    @contextlib.contextmanager
    def look(self) -> Iterator[sqlite3.Connection]:
        """The ledger, for looking only."""
        with contextlib.closing(sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True, timeout=30)) as connection:
            connection.row_factory = sqlite3.Row
            yield connection

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """What the ledger says; nothing while there is no ledger yet."""
        try:
            with self.look() as connection:
                return connection.execute(query, values).fetchall()
        except sqlite3.OperationalError:
            return []

    def is_done(self) -> bool:
        """Whether nothing waits, runs or is retried: to ask a command now and then would cost its start each time."""
        return not self.count("select count(*) from deliveries where state in ('waiting', 'retrying', 'running')")

    def state_of(self, key: str) -> str:
        """A message's state, by the ledger; empty while it is not there."""
        rows = self.rows("select state from messages where agent || '/' || message_id = ?", key)
        return str(rows[0]["state"]) if rows else ""

    def count(self, query: str, *values: object) -> int:
        """One number from the ledger."""
        found = self.rows(query, *values)
        return int(found[0][0]) if found else 0
