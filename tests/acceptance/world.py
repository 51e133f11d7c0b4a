"""A home directory with a configuration, transports that keep a record, and the real commands run in it."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.fakes.bridges import FakeBridge
from tests.fakes.measuring import measuring

PATIENCE = 60.0
TOKEN = "canary-token-7c1e90d4"


def until(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"waited {patience:g} s in vain for: {what}"
        time.sleep(0.02)


def console_script(name: str) -> str:
    """The installed command: in BUS_WATCH_TEST_BIN, where ops/test put the wheel, else beside this Python."""
    path = Path(os.environ.get("BUS_WATCH_TEST_BIN") or Path(sys.executable).parent) / name
    assert path.exists(), f"{path} is missing: install the project, as ops/setup does"
    return str(path)


class Consumer:
    """A worker process: the real consumer, with its output in files."""

    def __init__(self, argv: Sequence[str], env: dict[str, str], logs: Path) -> None:
        logs.mkdir(exist_ok=True)
        number = len(list(logs.iterdir()))
        self.log_path = logs / f"consumer-{number}.log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(argv, env=env, cwd=logs, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace")

    def peak_memory(self) -> int:
        """Bytes: the most that was ever resident."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.send(number)
        return self.process.wait(PATIENCE)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)


class World:
    """Everything lies below `home`; nothing of the person who runs the tests is seen or touched."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.config = home / ".sos" / "bus-watch.json"
        self.config.parent.mkdir(mode=0o700, parents=True)
        self.token_file = home / ".sos" / "token"
        self.token_file.write_text(TOKEN + "\n")
        self.token_file.chmod(0o600)
        self.gate = home / "gate"
        self.env = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            **measuring(),
        }

    def transport(
        self, name: str, *, before: str = "", command: Sequence[str] = ("{text}",), **fields: Any
    ) -> dict[str, Any]:
        """A transport that runs `before` (sh) and then writes its first argument as a line into its record."""
        script = self.home / f"{name}.sh"
        record = shlex.quote(str(self.record(name)))
        script.write_text(f"#!/bin/sh\n{before}\nprintf '%s\\n' \"$1\" >> {record}\n")
        script.chmod(0o755)
        return {"name": name, "command": [str(script), *command], **fields}

    def gated(self, name: str, **fields: Any) -> dict[str, Any]:
        """A transport that hangs until `gate` exists."""
        gate, home = shlex.quote(str(self.gate)), shlex.quote(str(self.home))
        mark = shlex.quote(str(self.home / f"{name}.started"))
        return self.transport(
            name, before=f": > {mark}; while [ -d {home} ] && [ ! -e {gate} ]; do sleep 0.05; done", **fields
        )

    def record(self, name: str) -> Path:
        return self.home / f"{name}.seen"

    def seen(self, name: str) -> list[str]:
        """What the transport was given, in the order in which it finished."""
        try:
            return self.record(name).read_text("utf-8").splitlines()
        except FileNotFoundError:
            return []

    def agent(
        self, bridge: FakeBridge, agent: str = "bob", *transports: dict[str, Any], **fields: Any
    ) -> dict[str, Any]:
        """An agent at this bridge, which knows its token from now on."""
        bridge.add_token(agent, token=TOKEN)
        return {
            "agent": agent,
            "bridge_url": bridge.url,
            "token_file": str(self.token_file),
            "transports": list(transports) or [self.transport(f"{agent}-wake")],
            **fields,
        }

    def configure(self, *agents: dict[str, Any], **fields: Any) -> None:
        """Write the file: one agent as the old watcher had it, several as a list."""
        scripts = [transport["command"][0] for agent in agents for transport in agent["transports"]]
        whole: dict[str, Any] = {"state_path": str(self.home / ".sos" / "state.json"), "allowlist": scripts}
        whole |= agents[0] if len(agents) == 1 else {"agents": agents}
        self.config.write_text(json.dumps(whole | fields))
        self.config.chmod(0o600)

    @property
    def ledger(self) -> Path:
        return self.home / ".sos" / "state.db"

    def bus_watch(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the real `bus-watch`; never with a traceback."""
        done = subprocess.run(
            [console_script("bus-watch"), *arguments],
            env=self.env | options.pop("env", {}),
            cwd=self.home,
            text=True,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            **options,
        )
        assert "Traceback" not in done.stderr + done.stdout, done.stderr
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.bus_watch(*arguments, "--json").stdout)

    @contextlib.contextmanager
    def consumer(self, *flags: str, **env: str) -> Iterator[Consumer]:
        """The real `huey_consumer worker.app.huey`."""
        with self.process(console_script("huey_consumer"), "worker.app.huey", *flags, **env) as consumer:
            yield consumer

    @contextlib.contextmanager
    def process(self, *argv: str, **env: str) -> Iterator[Consumer]:
        consumer = Consumer(argv, self.env | env, self.home / "logs")
        try:
            yield consumer
            assert "Traceback" not in consumer.log(), consumer.log()
        finally:
            consumer.end()
            self.gate.touch()  # whatever still hangs at it goes home
