"""Measure latency and idle cost of the real consumer; `ops/latency` is the command.

The bus is the tests' bridge, a process of its own that speaks HTTP/1.0 as the public ones do and lists every request it
got: generation C with /watch, generation A without. The transport is a shell script that writes down when it started.
Messages are sent at random intervals of 1.5 to 6 s, so that polls, doorbell and the request budget meet as in life.
"""

import argparse
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from worker import process_table

ROOT = Path(__file__).resolve().parents[1]
BURST, QUIET = 8, 20.0  # messages of one burst; seconds without any, after which activity is over
LOST_AFTER = 30.0
TICKS = os.sysconf("SC_CLK_TCK")
TRANSPORT = """#!/bin/sh
echo "$1 $(date +%s%N)" >> "$HOME/starts"
"""


@dataclass
class Found:
    """What one run found; seconds, and percent of one core."""

    name: str
    goal: str
    met: bool
    messages: int = 0
    lost: int = 0
    p50: float | None = None
    p95: float | None = None
    longest: float | None = None
    first_p50: float | None = None
    requests_in_a_minute: int | None = None
    cpu_percent: float | None = None
    cpu_of: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    load: float = 0.0


class Bed:
    """A home, a bridge and a worker in it."""

    def __init__(
        self, home: Path, generation: str, *, transports: Sequence[dict[str, Any]] = (), checkout: Path = ROOT
    ) -> None:
        """Start both, from `checkout`; without `transports` there is one, which writes down when it started."""
        self.home, self._transports = home, transports
        self._environment = {
            "PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "PYTHONPATH": str(checkout)
        }  # fmt: skip
        tokens = ["--token", "bob=bob-secret", "--token", "alice=alice-secret"]
        self._bridge = self._start("-m", "tests.fakes.bridges", "--generation", generation, "--port", "0", *tokens)
        assert self._bridge.stdout is not None
        select.select([self._bridge.stdout], [], [], 30.0)
        self.url = self._bridge.stdout.readline().split()[-1]
        self._configure()
        self.worker = self._start("-m", "huey.bin.huey_consumer", "worker.app.huey")

    def _start(self, *argv: str) -> "subprocess.Popen[str]":
        with (self.home / "output").open("a") as output:
            command = [sys.executable, *argv]
            piped = subprocess.PIPE
            return subprocess.Popen(
                command, env=self._environment, cwd=self.home, stdout=piped, stderr=output, text=True
            )

    def _configure(self) -> None:
        script = self.home / "transport"
        script.write_text(TRANSPORT)
        script.chmod(0o755)
        directory = self.home / ".sos"
        directory.mkdir(mode=0o700)
        (directory / "token").write_text("bob-secret\n")
        (directory / "token").chmod(0o600)
        transports = self._transports or [{"name": "note", "command": [str(script), "{text}"]}]
        config = {
            "agent": "bob",
            "project": "sos",
            "token_file": str(directory / "token"),
            "bridge_url": self.url,
            "state_path": str(directory / "state.json"),
            "allowlist": sorted({str(one["command"][0]) for one in transports}),
            "transports": transports,
        }
        (directory / "bus-watch.json").write_text(json.dumps(config))
        (directory / "bus-watch.json").chmod(0o600)

    def request(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask the bridge."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": "Bearer alice-secret", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def send(self, text: str) -> float:
        """Send one message; when that began, in seconds since the epoch."""
        at = time.time()
        self.request("/send", {"from": "alice", "to": "bob", "text": text, "project": "sos"})
        return at

    def starts(self) -> dict[str, float]:
        """Each message's text, and when its transport started."""
        try:
            lines = (self.home / "starts").read_text().splitlines()
        except FileNotFoundError:
            return {}
        return {name: int(at) / 1e9 for name, at in (line.split() for line in lines if len(line.split()) == 2)}

    def await_start(self, text: str, timeout: float = LOST_AFTER) -> bool:
        """Wait until it has started."""
        end = time.monotonic() + timeout
        while text not in self.starts():
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True

    def requests_in_a_minute(self) -> int:
        """The most requests with the worker's token in any 60 s; what the doorbell opened counts too."""
        asked = self.request("/_control/requests")
        times = sorted(r["at"] for r in asked if r["authorization"] == "Bearer bob-secret")
        return max((sum(at <= other < at + 60.0 for other in times) for at in times), default=0)

    def close(self) -> None:
        """Stop both."""
        for process in (self.worker, self._bridge):
            process.send_signal(signal.SIGINT if process is self.worker else signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


@contextmanager
def bed(generation: str) -> Iterator[Bed]:
    """A bed with a worker that has delivered something already."""
    with tempfile.TemporaryDirectory(prefix="bus-watch-latency-") as home:
        made = Bed(Path(home), generation)
        try:
            made.send("warm")
            if not made.await_start("warm", 60.0):
                raise SystemExit("the worker delivers nothing:\n" + (Path(home) / "output").read_text())
            yield made
        finally:
            made.close()


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value below which so many of them lie."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 4) if ordered else None


def latency(name: str, generation: str, seconds: float, p50: float | None, p95: float) -> Found:
    """Send for so many seconds, in bursts with quiet between them where there is no /watch."""
    sent: dict[str, float] = {}
    first: set[str] = set()
    with bed(generation) as here:
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            number = len(sent)
            if generation == "A" and number % BURST == 0 and number:
                time.sleep(QUIET)
                first.add(f"m{number}")
            text = f"m{number}"
            sent[text] = here.send(text)
            time.sleep(random.uniform(1.5, 6.0))
        here.await_start(f"m{len(sent) - 1}")
        started, minute = here.starts(), here.requests_in_a_minute()
    took = {text: started[text] - at for text, at in sent.items() if text in started}
    active = [value for text, value in took.items() if text not in first]
    lost = len(sent) - len(took)
    middle, high = quantile(active, 0.5), quantile(active, 0.95)
    goal = f"p95 < {p95} s" + (f", p50 < {p50} s" if p50 else "") + ", <= 60 requests in any minute"
    met = lost == 0 and minute <= 60 and (high or 0.0) < p95 and (p50 is None or (middle or 0.0) < p50)
    return Found(
        name,
        goal,
        met,
        messages=len(sent),
        lost=lost,
        p50=middle,
        p95=high,
        longest=quantile(active, 1.0),
        first_p50=quantile([took[text] for text in first if text in took], 0.5),
        requests_in_a_minute=minute,
        seconds=round(time.monotonic() - began, 1),
        load=os.getloadavg()[0],
    )


def idle(seconds: float) -> Found:
    """CPU time of the worker and its launcher while nothing comes, as a share of one core."""
    with bed("C") as here:
        time.sleep(QUIET)  # until the activity of the start is over
        before, began = cpu_seconds(here.worker.pid), time.monotonic()
        time.sleep(seconds)
        after, took = cpu_seconds(here.worker.pid), time.monotonic() - began
        minute = here.requests_in_a_minute()
    spent = {who: round(100 * (after[who] - before[who]) / took, 3) for who in before}
    total = round(sum(spent.values()), 3)
    return Found(
        "idle",
        "< 0.5 % of one core",
        total < 0.5,
        requests_in_a_minute=minute,
        cpu_percent=total,
        cpu_of=spent,
        seconds=round(took, 1),
        load=os.getloadavg()[0],
    )


def cpu_seconds(worker: int) -> dict[str, float]:
    """User and system time of a process and of its launcher, with what they reaped."""
    children = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
    named = {"worker": worker} | {f"launcher {n}": int(pid) for n, pid in enumerate(children, 1)}
    for who, pid in list(named.items())[1:]:  # what a launcher keeps for its next starts is not reaped yet
        kept = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        named |= {f"{who}, its child {n}": int(child) for n, child in enumerate(kept, 1)}
    return {who: sum(process_table.cpu_ticks(pid)) / TICKS for who, pid in named.items()}


def table(all_found: Sequence[Found]) -> str:
    """What was found, a line each."""
    lines = [f"{'':10}{'p50':>8}{'p95':>8}{'longest':>9}{'requests/min':>14}{'CPU %':>8}  goal"]
    for found in all_found:
        cells = [found.p50, found.p95, found.longest, found.requests_in_a_minute, found.cpu_percent]
        widths = (8, 8, 9, 14, 8)
        row = "".join(f"{'-' if cell is None else cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        verdict = "met" if found.met else "NOT MET"
        lines.append(f"{found.name:10}{row}  {verdict}: {found.goal}; load {found.load:.1f}")
    return "\n".join(lines)


def main() -> int:
    """Measure what was asked for; exit status 1 if a goal was not met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=200.0, help="of each latency run (default: %(default)s)")
    parser.add_argument("--idle", type=float, default=600.0, help="seconds of the idle run (default: %(default)s)")
    parser.add_argument("--only", choices=("watch", "poll", "idle"), help="one of the three")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there too")
    options = parser.parse_args()
    runs: dict[str, Callable[[], Found]] = {
        "watch": lambda: latency("/watch", "C", options.seconds, 0.06, 0.15),
        "poll": lambda: latency("no /watch", "A", options.seconds, None, 1.2),
        "idle": lambda: idle(options.idle),
    }
    all_found = [run() for name, run in runs.items() if options.only in (None, name)]
    print(table(all_found))
    if options.json:
        options.json.write_text(json.dumps([asdict(found) for found in all_found], indent=2) + "\n")
    return 0 if all(found.met for found in all_found) else 1


if __name__ == "__main__":
    sys.exit(main())
