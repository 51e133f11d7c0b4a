"""The scenario of `ops/demo`: two agents, one bus, two transports of which one fails twice and recovers."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

BIN = Path(sys.executable).parent
MESSAGES = ["build is green", "please review #29", "two lines:\nthis is the second", "deploy at noon?", "thanks!"]
PATIENCE = 60.0

DESK = """#!/bin/sh
# Wakes nobody: writes down what it was given. Exit status 0 means that it did.
printf '%s\\n' "$1" | tr '\\n' ' ' >> "{log}"; echo >> "{log}"
"""
PANE = """#!/bin/sh
# Like a tmux pane that is not there yet: fails twice for the first message, then works.
case "$SOS_MESSAGE_TEXT" in "build is green")
  if [ "$SOS_DELIVERY_ATTEMPT" -lt 3 ]; then echo "can't find pane: codex" >&2; exit 1; fi ;;
esac
printf '%s\\n' "$1" | tr '\\n' ' ' >> "{log}"; echo >> "{log}"
"""


def say(words: str) -> None:
    print(f"\n== {words}", flush=True)


def run(home: Path, *words: str, quiet: bool = False) -> str:
    """One bus-watch command, shown with what it printed."""
    if not quiet:
        print(f"$ bus-watch {' '.join(words)}", flush=True)
    command = [str(BIN / "bus-watch"), *words]
    done = subprocess.run(command, env=environment(home), capture_output=True, text=True, check=False)
    if not quiet:
        print(done.stdout + done.stderr, end="", flush=True)
    return done.stdout


def environment(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8"}


def wait_until(what: str, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit(f"the demo waited {PATIENCE:.0f} s in vain for: {what}")
        time.sleep(0.05)


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def write_transport(home: Path, name: str, script: str) -> dict[str, object]:
    path = home / f"{name}.sh"
    path.write_text(script.format(log=home / f"{name}.log"), encoding="utf-8")
    path.chmod(0o700)
    return {"name": name, "command": [str(path), "{text}"], "retry_delay": 1.5}


def configure(home: Path, url: str) -> None:
    transports = [write_transport(home, "desk", DESK), write_transport(home, "pane", PANE)]
    for agent, wakes in (("bob", transports), ("alice", [])):
        path = home / ".sos" / ("bus-watch.json" if agent == "bob" else f"{agent}.json")
        config = {
            "agent": agent,
            "token_file": f"~/.sos/{agent}.token",
            "bridge_url": url,
            "state_path": f"~/.sos/{agent}-state.json",
            "allowlist": [str(home / f"{t['name']}.sh") for t in transports],
            "transports": wakes,
        }
        path.write_text(json.dumps(config, indent=2), encoding="utf-8")
        path.chmod(0o600)


def start_bus(home: Path) -> tuple[subprocess.Popen[str], str]:
    for agent in ("alice", "bob"):
        run(home, "bus", "--add-agent", agent, "--token-file", str(home / ".sos" / f"{agent}.token"))
    bus = subprocess.Popen(
        [BIN / "bus-watch", "bus", "--port", "0"],
        env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert bus.stdout is not None
    found = re.search(r"http://\S+", bus.stdout.readline())
    if found is None:
        raise SystemExit("the embedded bus did not start")
    print(f"the bus listens on {found[0]}")
    return bus, found[0]


def start_worker(home: Path) -> subprocess.Popen[bytes]:
    consumer = next(BIN / name for name in ("huey_consumer", "huey_consumer.py") if (BIN / name).exists())
    print(f"$ {consumer.name} worker.app.huey -w 4")
    with (home / "worker.log").open("wb") as log:
        return subprocess.Popen([consumer, "worker.app.huey", "-w", "4"], env=environment(home), cwd=home, stderr=log)


def main() -> int:
    home = Path(tempfile.mkdtemp(prefix="bus-watch-demo-"))
    (home / ".sos").mkdir(mode=0o700)
    started: list[subprocess.Popen[bytes] | subprocess.Popen[str]] = []
    try:
        say("an embedded bus with two agents")
        bus, url = start_bus(home)
        started.append(bus)
        configure(home, url)
        say("is the configuration good?")
        run(home, "doctor")
        say("alice sends five messages while the worker is off")
        for text in MESSAGES:
            alice = str(home / ".sos" / "alice.json")
            run(home, "test-send", "--config", alice, "--to", "bob", "--text", text, quiet=True)
            print(f"alice -> bob: {text!r}")
        say("the worker starts: the real huey_consumer")
        worker = start_worker(home)
        started.append(worker)
        wait_until("the first transport to finish", lambda: len(lines_of(home / "desk.log")) == len(MESSAGES))
        say("'desk' has them all; 'pane' fails, and keeps the rest in order behind its first message")
        run(home, "queue")
        wait_until("the second transport to recover", lambda: len(lines_of(home / "pane.log")) == len(MESSAGES))
        wait_until("the ledger", lambda: json.loads(run(home, "status", "--json", quiet=True)).get("backlog") == 0)
        say("it recovered by itself; everything is delivered")
        run(home, "queue")
        run(home, "history")
        run(home, "show", json.loads(run(home, "history", "--json", quiet=True))[-1]["key"])
        run(home, "status")
        expected = [text.replace("\n", " ") + " " for text in MESSAGES]
        for name in ("desk", "pane"):
            got = lines_of(home / f"{name}.log")
            verdict = "in order, each once" if got == expected else f"not as sent: {got!r}"
            print(f"{name}: {len(got)} messages, {verdict}")
            if got != expected:
                return 1
        say("all five messages were delivered by both transports, in order, each exactly once")
        return 0
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(timeout=20)
        shutil.rmtree(home, ignore_errors=True)
        print("cleaned up")


if __name__ == "__main__":
    sys.exit(main())
