"""A home directory with a configuration, and the real commands as processes in it."""

import atexit
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.measuring import measuring

ROOT = Path(__file__).resolve().parents[2]


def wait_until(true: Callable[[], object], what: str, timeout: float = 30.0) -> None:
    """Look until it is so; for what no event tells."""
    end = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < end, f"not within {timeout} s: {what}"
        time.sleep(0.05)


@dataclass
class Process:
    """A running command and what it has written to standard error so far."""

    popen: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        atexit.register(self.popen.kill)  # a test that failed before it stopped this leaves nothing running
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def wait_for_line(self, part: str, timeout: float = 30.0) -> str:
        """The first line that has this in it."""
        with self._changed:
            found = self._changed.wait_for(lambda: [line for line in self.lines if part in line], timeout)
            assert found, f"no line with {part!r} in:\n{''.join(self.lines)}"
            return found[0]

    @property
    def output(self) -> str:
        with self._changed:
            return "".join(self.lines)

    def stop(self, number: int = signal.SIGTERM, timeout: float = 30.0) -> int:
        """Send a signal if it still runs; wait for its end; its exit status."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        status = self.popen.wait(timeout)
        self._reader.join(timeout)
        if self.popen.stderr is not None:
            self.popen.stderr.close()
        return status


@dataclass
class Home:
    """A directory to be $HOME; `config` is written by `configure`."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.path / ".sos" / "bus-watch.json"

    @property
    def ledger(self) -> Path:
        return self.path / ".sos" / "state.db"

    def configure(self, agents: list[dict[str, Any]], **more: Any) -> None:
        """Write the configuration; every command of a transport is allowlisted."""
        commands = {t["command"][0] for a in agents for t in a.get("transports", [])}
        self.config.parent.mkdir(mode=0o700, exist_ok=True)
        self.config.write_text(
            json.dumps(
                {
                    "agents": agents,
                    "state_path": str(self.path / ".sos" / "state.json"),
                    "allowlist": sorted(commands),
                    "poll_interval": 0.5,
                    "requests_per_minute": 600,
                    "announce": False,
                    "watch": False,
                }
                | more
            )
        )
        self.config.chmod(0o600)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the ledger answers; nothing as long as the worker has not made it."""
        if not self.ledger.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True, timeout=30)) as db:
            if db.execute("pragma user_version").fetchone()[0] == 0:
                return []
            return db.execute(query).fetchall()

    def script(self, name: str, text: str) -> str:
        """An executable shell script; its path."""
        path = self.path / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    @property
    def env(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.path),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "BUS_WATCH_CONFIG": str(self.config),
            **measuring(),
            **self.environment,
        }

    def start(self, *argv: str) -> Process:
        """Start a command of this Python, for example `-m`, `worker.cli.main`, `run`."""
        return Process(
            subprocess.Popen(
                [sys.executable, *argv],
                env=self.env,
                cwd=self.path,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="surrogateescape",
            )
        )

    def consumer(self, *flags: str) -> Process:
        """`huey_consumer worker.app.huey`."""
        return self.start("-m", "huey.bin.huey_consumer", "worker.app.huey", *flags)

    def run(self, *argv: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """`bus-watch ARGV`, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "worker.cli.main", *argv],
            env=self.env,
            cwd=self.path,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
