"""The story of `ops/demo --fleet`: two hosts, one ledger; an agent moves while messages come; a host is killed.

The hosts are two homes on this machine. The agent is a script that both could run, and that writes down where it was
run. All the rest is real: PostgreSQL, the bus, `huey_consumer`, and every command, each shown with what it printed.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from ops.demo_scenario import run, say, start_bus, start_worker, wait_until
from tests.world.postgres import Server, running_server

NORTH, SOUTH = "north", "south"
WHILE_IT_MOVES = 12
SCRIPT = """#!/bin/sh
# The agent: it writes down what it was told, and on which host that was.
printf '%s %s\\n' "$(basename "$HOME")" "$1" >> "{log}"
"""


class Host:
    """A home that stands for a host."""

    def __init__(self, base: Path, name: str) -> None:
        self.name = name
        self.home = base / name
        (self.home / ".sos").mkdir(parents=True, mode=0o700)
        self.worker: subprocess.Popen[bytes] | None = None

    def configure(self, script: Path, bus: str, **more: object) -> None:
        """The same on both, but for what is each host's own."""
        agents = [
            {
                "agent": agent,
                "token_file": f"~/.sos/{agent}.token",
                "bridge_url": bus,
                "transports": [{"name": "script", "command": [str(script), "{text}"]}],
            }
            for agent in ("alice", "bob")
        ]
        config = self.home / ".sos" / "bus-watch.json"
        config.write_text(json.dumps({"agents": agents, "allowlist": [str(script)], "host": self.name} | more))
        config.chmod(0o600)

    def join(self, url: str) -> str:
        """Keep the URL in a file of this host's own; its name as the configuration has it."""
        path = self.home / ".sos" / "ledger-url"
        path.write_text(url)
        path.chmod(0o600)
        return "~/.sos/ledger-url"

    def start(self) -> None:
        """Its worker."""
        print(f"[{self.name}] ", end="")
        self.worker = start_worker(self.home)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Its worker; with SIGKILL everything that it has started, too."""
        if self.worker is None:
            return
        children = Path(f"/proc/{self.worker.pid}/task/{self.worker.pid}/children")
        launchers = children.read_text(encoding="ascii").split() if children.exists() else []
        self.worker.send_signal(how)
        if how is signal.SIGKILL:
            for pid in launchers:
                os.kill(int(pid), how)
        self.worker.wait(timeout=60)
        self.worker = None


class Agent:
    """What bob was told, in order, and on which host."""

    def __init__(self, base: Path) -> None:
        self._log = base / "told.log"
        self.script = base / "agent.sh"
        self.script.write_text(SCRIPT.format(log=self._log))
        self.script.chmod(0o700)

    def told(self) -> list[tuple[str, str]]:
        """(host, text) of each message."""
        lines = self._log.read_text(encoding="utf-8").splitlines() if self._log.exists() else []
        return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]

    def texts(self) -> list[str]:
        """Without the hosts."""
        return [text for _, text in self.told()]


def tell(base: Path, server: Server, hosts: list[Host], started: list[subprocess.Popen[str]]) -> bool:
    """Tell the story. Whether it came out as it should."""
    north, south = hosts
    agent = Agent(base)
    bus, url = start_bus(north.home)
    started.append(bus)
    for name in ("alice", "bob"):
        shutil.copy(north.home / ".sos" / f"{name}.token", south.home / ".sos")
    for host in hosts:
        host.configure(agent.script, url)

    say("north alone: its ledger is a file.")
    north.start()
    run(north.home, "send", "bob", "is the build green?", "--as", "alice")
    wait_until("the first message", lambda: len(agent.told()) == 1)
    north.stop()
    say("The ledger moves into PostgreSQL, where south can use it, too. A file holds the URL, for it has a password:")
    where = north.join(server.fresh("demo"))
    run(north.home, "ledger", "move", "--to-file", str(north.home / ".sos" / "ledger-url"))
    for host in hosts:
        host.join((north.home / ".sos" / "ledger-url").read_text())
        host.configure(agent.script, url, ledger_url_file=where)
        host.start()
    wait_until("both hosts", lambda: len(_alive(north)) == len(hosts))
    run(north.home, "hosts")

    say("alice writes and writes; meanwhile bob moves to south:")
    sent = [f"message {number}" for number in range(1, WHILE_IT_MOVES + 1)]
    for number, text in enumerate(sent, 1):
        run(north.home, "send", "bob", text, "--as", "alice", quiet=True)
        if number == WHILE_IT_MOVES // 2:
            run(north.home, "move", "bob", "--to", SOUTH)
    expected = ["is the build green?", *sent]
    wait_until("all messages", lambda: len(agent.told()) >= len(expected))
    by = [host for host, _ in agent.told()]
    print(f"  {by.count(NORTH)} were delivered on north, then {by.count(SOUTH)} on south")

    say("south is killed, worker and launcher, and alice writes on:")
    south.stop(signal.SIGKILL)
    print("$ kill -9 (everything on south)", flush=True)
    late = ["are you there?", "hello?"]
    for text in late:
        run(north.home, "send", "bob", text, "--as", "alice", quiet=True)
    expected += late
    say("bob is bound to south, so his messages wait for it. North says so, half a minute later:")
    wait_until("the silence", lambda: _alive(north) == [NORTH])
    run(north.home, "queue")
    say("south never comes back; a person says so, and north takes over what was bound to it:")
    run(north.home, "hosts", "forget", SOUTH, "--wait")
    wait_until("the rest", lambda: len(agent.told()) >= len(expected))
    run(north.home, "history", "-n", "4")
    run(north.home, "status")
    good = agent.texts() == expected and by == sorted(by)
    say(f"bob was told {len(expected)} messages: {'in order, each once' if good else 'NOT as they were sent'}")
    return good


def _alive(host: Host) -> list[str]:
    said = run(host.home, "hosts", "--json", quiet=True)
    found = json.loads(said) if said.startswith("[") else []
    return [one["host"] for one in found if one["state"] == "alive"]


def main() -> int:
    """Tell it in a folder of its own, and clean up."""
    base = Path(tempfile.mkdtemp(prefix="bw-fleet-"))
    hosts = [Host(base, name) for name in (NORTH, SOUTH)]
    started: list[subprocess.Popen[str]] = []
    try:
        with running_server(durable=True) as server:
            try:
                return 0 if tell(base, server, hosts, started) else 1
            finally:
                for host in hosts:
                    host.stop()
    finally:
        for process in started:
            process.terminate()
            process.wait(timeout=20)
        shutil.rmtree(base, ignore_errors=True)
        print("cleaned up")


if __name__ == "__main__":
    sys.exit(main())
