"""The story of `ops/demo`: two agents that write to each other, a pane that is gone, a worker that is killed.

The agents are stand-ins in the panes of a tmux server of their own; without tmux they are scripts. All the rest is
real: the bus, `huey_consumer`, and every command, each of which is shown with what it printed.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from ops.demo_agent import ANSWERS

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[1]
PATIENCE = 90.0
WIDTH = 80

FIRST = "is the build green?"
WHILE_AWAY = ["please deploy it", "to put into the notes:\n- agents answer\n- senders know", "is it out?"]
ASKED = [FIRST, *WHILE_AWAY]
ANSWERED = [ANSWERS[one] for one in ASKED if one in ANSWERS]
"""What alice gets, in this order."""

SCRIPT = """#!/bin/sh
# An agent without a pane: it is handed each message, and answers by the variables that say which one it is.
[ -e "{gone}" ] && {{ echo "nobody there" >&2; exit 69; }}
printf '%s' "$1" | tr '\\n' '|' >> "{log}"; echo >> "{log}"
case "$1" in
{cases}
esac
exit 0
"""


class Scripts:
    """Without tmux: each agent is a program that is run for a message."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def start(self, name: str) -> None:
        """The agent is there."""
        cases = "\n".join(
            f"  {shlex.quote(asked)}) {shlex.quote(str(BIN / 'bus-watch'))} reply {shlex.quote(answer)} ;;"
            for asked, answer in ANSWERS.items()
        )
        path = self.home / f"{name}.sh"
        text = SCRIPT.format(gone=self.home / f"{name}.gone", log=self.home / f"{name}.log", cases=cases)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o700)
        (self.home / f"{name}.gone").unlink(missing_ok=True)

    def wake_by(self, name: str) -> list[str]:
        """What `install` and `agent add` are told."""
        return ["--transport", f"agent={self.home / f'{name}.sh'} {{text}}"]

    def close(self, name: str) -> None:
        """The agent is gone."""
        (self.home / f"{name}.gone").touch()

    def submitted(self, name: str) -> list[str]:
        """What the agent was given, in order."""
        path = self.home / f"{name}.log"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [line.replace("|", "\n") for line in lines]

    def show(self, name: str) -> None:
        """Print what can be seen of the agent."""
        for text in self.submitted(name):
            print(f"  {name} got: {text!r}", flush=True)

    def stop(self) -> None:
        """Nothing is left."""


class Panes(Scripts):
    """Each agent is a program in a tmux session that is called after it."""

    def _tmux(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = ["tmux", "-u", "-f", "/dev/null", *words]
        variables = environment(self.home) | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(argv, env=variables, capture_output=True, text=True, check=False)

    def works(self) -> bool:
        """Whether a tmux server can be started here; it then holds a session that nobody looks at."""
        profiles = self.home / ".config/bus-watch/profiles"
        profiles.mkdir(parents=True)
        text = (ROOT / "tests/fakes/standin.toml").read_text(encoding="utf-8")
        (profiles / "demo_agent.toml").write_text(text.replace('"standin"', '"demo_agent"'), encoding="utf-8")
        (self.home / "record").mkdir()
        return self._tmux("new-session", "-d", "-s", "keep", "sleep", "600").returncode == 0

    def start(self, name: str) -> None:
        """It begins with an empty box."""
        control = self.home / f"{name}.control"
        if not control.exists():
            os.mkfifo(control)
        ready = self._count(name, "ready")
        program = [sys.executable, str(ROOT / "ops/demo_agent.py"), str(self.home / f"{name}.log"), str(control)]
        program.append(str(self.home / "record" / f"{name}.jsonl"))
        started = self._tmux("new-session", "-d", "-s", name, "-x", "200", "-y", "24", "--", *program)
        if started.returncode:
            raise SystemExit(f"tmux starts no session: {started.stderr}")
        wait_until(f"{name}'s pane", lambda: self._count(name, "ready") > ready)

    def wake_by(self, name: str) -> list[str]:
        """Its session."""
        return ["--tmux", name]

    def close(self, name: str) -> None:
        """Its session ends."""
        self._tmux("kill-session", "-t", f"={name}")

    def submitted(self, name: str) -> list[str]:
        """Without preamble and hint, which are for the agent."""
        texts = [one["text"] for one in self._events(name) if one["event"] == "submit"]
        return [re.sub(r"\n\(Only if [^\n]*\)$", "", text).partition("] ")[2] for text in texts]

    def show(self, name: str) -> None:
        """Its screen."""
        screen = self._tmux("capture-pane", "-p", "-t", f"={name}:").stdout.replace(f"{BIN}/", "")
        print(f"  .-- tmux session {name} " + "-" * (WIDTH - 21 - len(name)))
        for line in screen.rstrip().splitlines():
            row = line[: WIDTH - 4] if line.startswith("─") else line
            for part in textwrap.wrap(row, WIDTH - 4, break_on_hyphens=False, drop_whitespace=False) or [""]:
                print(f"  | {part}")
        print("  '" + "-" * (WIDTH - 3), flush=True)

    def stop(self) -> None:
        """No session is left."""
        self._tmux("kill-server")

    def _events(self, name: str) -> list[dict[str, str]]:
        path = self.home / f"{name}.log"
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]

    def _count(self, name: str, event: str) -> int:
        return sum(one["event"] == event for one in self._events(name))


def stage(home: Path) -> Scripts:
    """Where the agents live: in tmux, if it can be had."""
    if shutil.which("tmux") is None:
        say("There is no tmux here, so the agents are scripts: a shorter story.")
        return Scripts(home)
    panes = Panes(home)
    if panes.works():
        return panes
    say("tmux starts no server here, so the agents are scripts: a shorter story.")
    return Scripts(home)


def say(words: str) -> None:
    print("\n" + textwrap.fill(f"== {words}", WIDTH, subsequent_indent="   "), flush=True)


def run(home: Path, *words: str, quiet: bool = False, until: str = "") -> str:
    """One bus-watch command, shown with what it printed; again and again, and then shown, until it prints `until`."""
    done = subprocess.CompletedProcess[str]([], 0)

    def says_it() -> bool:
        nonlocal done
        command = [str(BIN / "bus-watch"), *words]
        done = subprocess.run(command, env=environment(home), capture_output=True, text=True, check=False)
        return until in done.stdout

    wait_until(f"{until!r} of {words[0]}", says_it)
    if not quiet:
        show(home, f"$ {shlex.join(['bus-watch', *words])}\n{done.stdout}{done.stderr}")
    return done.stdout


def show(home: Path, text: str) -> None:
    """Print it in 80 columns, with the demo's own folder as `~`."""
    for line in text.replace(str(home), "~").replace(f"{BIN}/", "").splitlines():
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        for part in textwrap.wrap(line, WIDTH, subsequent_indent=indent, break_on_hyphens=False) or [""]:
            print(part)
    sys.stdout.flush()


def environment(home: Path) -> dict[str, str]:
    path = os.environ.get("PATH", "/usr/bin:/bin")
    return {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8", "TERM": "xterm-256color", "TMUX_TMPDIR": str(home)}


def wait_until(what: str, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit(f"the demo waited {PATIENCE:.0f} s in vain for: {what}")
        time.sleep(0.05)


def start_bus(home: Path) -> tuple[subprocess.Popen[str], str]:
    for agent in ("alice", "bob"):
        run(home, "bus", "--add-agent", agent, "--token-file", str(home / ".sos" / f"{agent}.token"), quiet=True)
    bus = subprocess.Popen(
        [BIN / "bus-watch", "bus", "--port", "0"],
        env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert bus.stdout is not None
    found = re.search(r"http://\S+", bus.stdout.readline())
    if found is None:
        raise SystemExit("the embedded bus did not start")
    return bus, found[0]


def start_worker(home: Path) -> subprocess.Popen[bytes]:
    consumer = next(BIN / name for name in ("huey_consumer", "huey_consumer.py") if (BIN / name).exists())
    print(f"$ {consumer.name} worker.app.huey -w 4 &", flush=True)
    with (home / "worker.log").open("ab") as log:
        return subprocess.Popen([consumer, "worker.app.huey", "-w", "4"], env=environment(home), cwd=home, stderr=log)


def tell(home: Path, agents: Scripts, started: list[subprocess.Popen[bytes] | subprocess.Popen[str]]) -> bool:
    """Tell the story. Whether it came out as it should."""
    bus, url = start_bus(home)
    started.append(bus)
    say(f"Two agents, alice and bob, and a bus at {url}")
    for name in ("alice", "bob"):
        agents.start(name)
    token = "~/.sos/{}.token"
    run(home, "install", "--agent", "alice", "--token-file", token.format("alice"), "--bridge-url", url,
        *agents.wake_by("alice"), quiet=True)  # fmt: skip
    run(home, "agent", "add", "bob", "--token-file", token.format("bob"), *agents.wake_by("bob"), quiet=True)
    run(home, "agent", "list")
    worker = start_worker(home)
    started.append(worker)

    say("alice asks bob. The message wakes bob:")
    run(home, "send", "bob", FIRST, "--as", "alice")
    wait_until("bob's answer", lambda: agents.submitted("alice") == ANSWERED[:1])
    agents.show("bob")
    say("bob has answered by `bus-watch reply`, and the answer has woken alice:")
    agents.show("alice")

    say("Now bob is gone, and alice writes on:")
    agents.close("bob")
    for text in WHILE_AWAY:
        run(home, "send", "bob", text, "--as", "alice")
    run(home, "queue", until="nobody there since")
    say("Nothing is lost while it waits; not by kill -9 of the worker either:")
    print(f"$ kill -9 {worker.pid}", flush=True)
    worker.kill()
    worker.wait()
    started.append(start_worker(home))

    say("bob is back:")
    agents.start("bob")
    wait_until("all that was asked", lambda: agents.submitted("bob") == ASKED)
    wait_until("all that was answered", lambda: agents.submitted("alice") == ANSWERED)
    wait_until("the ledger", lambda: json.loads(run(home, "status", "--json", quiet=True)).get("backlog") == 0)
    agents.show("bob")
    run(home, "history")
    run(home, "status")
    good = agents.submitted("bob") == ASKED and agents.submitted("alice") == ANSWERED
    verdict = "in order, each exactly once" if good else "NOT as they were sent"
    say(f"bob got {len(ASKED)} messages, alice {len(ANSWERED)} answers: {verdict}")
    return good


def main() -> int:
    home = Path(tempfile.mkdtemp(prefix="bw-demo-"))  # short: a socket's path has at most 107 characters
    (home / ".sos").mkdir(mode=0o700)
    started: list[subprocess.Popen[bytes] | subprocess.Popen[str]] = []
    agents = Scripts(home)
    try:
        agents = stage(home)
        return 0 if tell(home, agents, started) else 1
    finally:
        agents.stop()
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(timeout=20)
        shutil.rmtree(home, ignore_errors=True)
        print("cleaned up")


if __name__ == "__main__":
    sys.exit(main())
