"""Real tmux servers of the tests' own, a stand-in agent in them, and a real sshd on loopback."""

import contextlib
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.fakes.measuring import measuring
from tests.world.waiting import until
from worker import process_table
from worker.process_table import NO_PROC_VARIABLE
from worker.terminal.catalogue import Catalogue
from worker.terminal.runner import LocalRunner
from worker.terminal.submit import Options, Outcome, submit
from worker.terminal.tmux import Server

FAKES = Path(__file__).parent
ROOT = Path(__file__).parents[2]
LIMIT = 20.0
T = TypeVar("T")


@dataclass
class Terminal:
    """A tmux server of the test's own, with a home of its own."""

    home: Path
    socket: str
    environment: dict[str, str]
    server: Server
    agents: list["Agent"] = field(default_factory=list)

    def tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-u", "-S", self.socket, *words], env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def session(self, name: str, *argv: str, width: int = 100, height: int = 30) -> str:
        """Start a session that runs argv; its pane's id."""
        size = ("-x", str(width), "-y", str(height))
        return self.tmux("new-session", "-d", "-s", name, *size, "-P", "-F", "#{pane_id}", "--", *argv).strip()

    def screen(self, pane: str) -> str:
        return self.tmux("capture-pane", "-p", "-t", pane)

    def agent(self, name: str, *, record: bool = True, program: Path = FAKES / "standin.py") -> "Agent":
        """Start a stand-in agent in a session of that name; `program`: a copy of it that is called after another."""
        log, control = self.home / f"{name}.log", self.home / f"{name}.control"
        os.mkfifo(control)
        argv = [sys.executable, str(program), str(log), str(control)]
        if record:
            (self.home / "record").mkdir(exist_ok=True)
            argv.append(str(self.home / "record" / f"{name}.jsonl"))
        pane = self.session(name, *argv)
        agent = Agent(self, name, pane, log, control)
        agent.wait("ready")
        self.agents.append(agent)
        return agent

    def run(self, command: str, *argv: str, text: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        """Run `send_message` or `agent_send` as a process of its own against this server."""
        return subprocess.run(
            [sys.executable, "-m", f"worker.terminal.{command}", "--socket-path", self.socket, *argv],
            input=text,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=ROOT,
        )

    def profiles(self) -> Catalogue:
        return Catalogue.of(self.environment)

    def submit(self, target: str, text: str, **options: object) -> Outcome:
        """Submit in this process."""
        return submit(self.server, target, text, Options(**options), self.profiles())  # type: ignore[arg-type]  # tests name them


@dataclass
class Agent:
    """A stand-in agent in a pane."""

    terminal: Terminal
    name: str
    pane: str
    log: Path
    control: Path

    def events(self, *kinds: str) -> list[tuple[str, str]]:
        if not self.log.exists():
            return []
        lines = [json.loads(line) for line in self.log.read_text().split("\n")[:-1]]
        return [(one["event"], one["text"]) for one in lines if one["event"] in kinds]

    def times(self, kind: str) -> list[tuple[str, float]]:
        """What happened, and when, in seconds since 1970."""
        lines = [json.loads(line) for line in self.log.read_text().split("\n")[:-1]]
        return [(one["text"], one["at"]) for one in lines if one["event"] == kind]

    def submitted(self) -> list[str]:
        return [text for _, text in self.events("submit")]

    def wait(self, kind: str, count: int = 1) -> None:
        until(lambda: len(self.events(kind)) >= count, f"{self.name}: {count} x {kind}")

    def tell(self, *commands: str) -> None:
        """Change the agent's state, and wait until it shows."""
        before = len(self.events("obeyed"))
        with self.control.open("w") as control:
            control.write("".join(f"{one}\n" for one in commands))
        self.wait("obeyed", before + len(commands))


@contextlib.contextmanager
def private_terminal() -> Iterator[Terminal]:
    # Not under tmp_path: a socket's path has at most 107 characters.
    home = Path(tempfile.mkdtemp(prefix="bw-tmux-"))
    profile = home / ".config/bus-watch/profiles/standin.toml"
    profile.parent.mkdir(parents=True)
    shutil.copy(FAKES / "standin.toml", profile)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8", "TERM": "xterm-256color", "SHELL": "/bin/sh"}
    environment |= measuring() | {name: "1" for name in (NO_PROC_VARIABLE,) if name in os.environ}
    socket_path = str(home / "tmux.sock")
    # A session of its own that stays, so that the server outlives what a test ends.
    start = ["tmux", "-S", socket_path, "-f", "/dev/null", "new-session", "-d", "-s", "keep", "sleep", "3600"]
    subprocess.run(start, env=environment, check=True)
    server = Server(LocalRunner(environment), socket_path=socket_path)
    try:
        yield Terminal(home, socket_path, environment, server)
    finally:
        subprocess.run(["tmux", "-S", socket_path, "kill-server"], env=environment, check=False, capture_output=True)
        shutil.rmtree(home, ignore_errors=True)


@dataclass
class Sshd:
    """A real sshd on loopback; `config` is the ssh configuration in which it is called `far`."""

    process: subprocess.Popen[bytes]
    config: Path

    def connections(self) -> list[int]:
        """The pids of the processes that serve connections now."""
        known = ((pid, process_table.stat(pid)) for pid in process_table.pids())
        return [pid for pid, fields in known if fields and int(fields[process_table.PARENT]) == self.process.pid]

    def cut(self) -> None:
        """Cut every connection, as a cable would."""
        for pid in self.connections():
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def loopback_sshd() -> Iterator[Sshd]:
    program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    assert program, "these tests need OpenSSH's sshd (apt-get install openssh-server)"
    home = Path(tempfile.mkdtemp(prefix="bw-sshd-"))
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / name], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd as root shuts its children in
    (home / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {home}/host\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"AuthorizedKeysFile {home}/user.pub\nPasswordAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n"
    )
    (home / "known_hosts").write_text(f"[127.0.0.1]:{port} {(home / 'host.pub').read_text()}")
    config = home / "ssh_config"
    config.write_text(
        f"Host far\n HostName 127.0.0.1\n Port {port}\n User {getpass.getuser()}\n IdentityFile {home}/user\n"
        f" IdentitiesOnly yes\n UserKnownHostsFile {home}/known_hosts\n GlobalKnownHostsFile none\n"
    )
    log = (home / "sshd.log").open("wb")
    process = subprocess.Popen([program, "-D", "-e", "-f", home / "sshd_config"], stderr=log)

    def listening() -> bool:
        with socket.socket() as trial:
            return trial.connect_ex(("127.0.0.1", port)) == 0

    until(listening, f"sshd listens: {(home / 'sshd.log').read_text()}")
    try:
        yield Sshd(process, config)
    finally:
        process.terminate()
        process.wait(10)
        log.close()
        shutil.rmtree(home, ignore_errors=True)
