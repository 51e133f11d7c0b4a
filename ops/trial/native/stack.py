"""Bus and worker around real UIs: what is sent to the bus goes the whole way."""

import contextlib
import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ops.trial.sending import ROOT
from worker.atomic_files import write_atomically

BIN = Path(sys.executable).parent
Transports = Mapping[str, Sequence[str]]
"""Of each bus identity, the arguments of its `wake`."""


class Stack:
    """A bus, and a worker in a home of its own; use it as a context manager."""

    def __init__(self, transports: Transports) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="trial-stack-")
        self.home = Path(self._folder.name)
        self._environment = {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
        }
        self._tokens = {name: f"{name}-secret" for name in (*transports, "sender")}
        self._guard = threading.Lock()
        self.worker: subprocess.Popen[bytes] | None = None
        arguments = [word for name, token in self._tokens.items() for word in ("--token", f"{name}={token}")]
        bridge = ["-m", "tests.fakes.bridges", "--generation", "C", "--port", "0", *arguments]
        self._bridge = subprocess.Popen(
            [sys.executable, *bridge], env=self._environment, cwd=self.home, stdout=subprocess.PIPE, text=True
        )
        assert self._bridge.stdout is not None
        select.select([self._bridge.stdout], [], [], 60.0)
        self.url = self._bridge.stdout.readline().split()[-1]
        self.configure(transports)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._bridge.terminate()
        self._bridge.wait(30)
        with contextlib.suppress(OSError):
            self._folder.cleanup()

    def configure(self, transports: Transports) -> None:
        """Write the configuration; a worker that runs reads it with `bus-watch reload`."""
        folder = self.home / ".sos"
        folder.mkdir(mode=0o700, exist_ok=True)
        agents = []
        for name, words in transports.items():
            token = folder / f"{name}.token"
            token.write_text(self._tokens[name] + "\n")
            token.chmod(0o600)
            command = [str(BIN / "wake"), *words]
            agents.append(
                {
                    "agent": name,
                    "token_file": str(token),
                    "transports": [{"name": "wake", "command": command, "stdin": True, "on_unknown": "hold"}],
                }
            )
        config = {
            "agents": agents,
            "project": "sos",
            "bridge_url": self.url,
            "state_path": str(folder / "state.json"),
            "allowlist": [str(BIN / "wake")],
            "workers": 4,
        }
        write_atomically(folder / "bus-watch.json", json.dumps(config).encode(), mode=0o600)

    def start(self) -> None:
        """Start a worker."""
        with self._guard:
            self._start()

    def _start(self) -> None:
        with (self.home / "output").open("ab") as output:
            self.worker = subprocess.Popen(
                [sys.executable, "-m", "huey.bin.huey_consumer", "worker.app.huey"],
                env=self._environment, cwd=self.home, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def kill(self) -> None:
        """`kill -9` of the worker; a new one."""
        with self._guard:
            assert self.worker is not None
            self.worker.kill()
            self.worker.wait()
            self._start()

    def look_after(self) -> None:
        """Start a worker that has ended by itself anew, as a service manager does."""
        with self._guard:
            if self.worker is not None and (status := self.worker.poll()) is not None:
                print(f"the worker ended by itself, with {status}; see {self.home / 'output'}", file=sys.stderr)
                self._start()

    def stop(self) -> None:
        """Let the worker end."""
        if self.worker is None:
            return
        self.worker.send_signal(signal.SIGINT)
        try:
            self.worker.wait(40)
        except subprocess.TimeoutExpired:
            self.worker.kill()
            self.worker.wait()
        self.worker = None

    def send(self, to: str, text: str) -> float:
        """Send one message; when that began, in seconds since the epoch."""
        body = {"from": "sender", "to": to, "text": text, "project": "sos"}
        headers = {"Authorization": f"Bearer {self._tokens['sender']}", "Content-Type": "application/json"}
        began = time.time()
        request = urllib.request.Request(self.url + "/send", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()
        return began

    def json(self, *arguments: str) -> Any:
        """What a command of bus-watch says with `--json`."""
        done = subprocess.run(
            [str(BIN / "bus-watch"), *arguments, "--json"],
            env=self._environment, cwd=self.home, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        return json.loads(done.stdout)

    def printed(self, agent: str) -> list[str]:
        """What each attempt for the agent that ended has printed, from the ledger itself: a command asks for one."""
        with contextlib.closing(sqlite3.connect(f"file:{self.home}/.sos/state.db?mode=ro", uri=True)) as db:
            rows = db.execute(
                "select a.output from attempts a join lanes l on l.id = a.lane where l.agent = ? and a.output > ''",
                [agent],
            )
            return [str(row[0]) for row in rows]

    def words(self, *arguments: str) -> str:
        """What a command of bus-watch prints."""
        done = subprocess.run(
            [str(BIN / "bus-watch"), *arguments],
            env=self._environment, cwd=self.home, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        return done.stdout + done.stderr
