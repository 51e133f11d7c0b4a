"""What `top` and `web` cost beside a worker of 40 agents, in CPU and in statements, and what the worker feels of them.

The worker is the real consumer on the embedded bus; `top` runs in a terminal of 80 columns by 24, `web` with one
browser's stream open, each as the process that a person starts. In turn: the worker alone, beside `top`, beside `web`.
"""

import contextlib
import fcntl
import http.client
import json
import os
import pty
import statistics
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from ops.benchmarks.quiet import quiet_world
from ops.benchmarks.statements import counted_statements
from ops.benchmarks.table import Row, in_turn, median_row, percentile, ratios, rounds_of
from ops.benchmarks.world import World, cpu_of
from worker.bus.embedded.server import EmbeddedBus
from worker.configuration import load
from worker.view.agents import board

EVERY_SECONDS = 0.5  # a message
NAME = "views"


def run(*, quick: bool) -> list[Row]:
    """The rows of this part."""
    agents, messages, seconds, rounds = (4, 4, 1.0, 1) if quick else (40, 60, 30.0, rounds_of(3))
    with contextlib.ExitStack() as stack:
        world, bus = stack.enter_context(quiet_world(agents))
        world.fill(0, finished=20 if quick else 1000)  # one agent has a past
        process = stack.enter_context(world.worker("-w", "4"))
        world.wait(
            lambda: world.read("select count(*) from inboxes where polled_at is not null")[0][0] == agents, process
        )
        costs = {"top": Cost(), "web": Cost()}

        def alone() -> float:
            return _delays(world, bus, agents, messages)

        def beside(name: str) -> float:
            with (_top if name == "top" else _web)(world) as pid:
                costs[name].quiet.append(_spent(pid, lambda: time.sleep(seconds)))
                found: list[float] = []
                costs[name].busy.append(_spent(pid, lambda: found.append(_delays(world, bus, agents, messages))))
                return found[0]

        delays = in_turn(rounds, alone, lambda: beside("top"), lambda: beside("web"))
        statements, milliseconds = _reading(world)
    what, goal = f"{agents} agents", "" if quick else "<= 1.1"
    rows = [
        Row(NAME, f"{what}: statements of the ledger in one reading", statements),
        Row(NAME, f"{what}: CPU of one reading", milliseconds, "ms"),
    ]
    for name, beside_it in zip(costs, delays[1:], strict=True):
        cost = costs[name]
        rows += [
            median_row(NAME, f"{what}: {name}, quiet: CPU", [100 * one for one in cost.quiet], "% core"),
            median_row(NAME, f"{what}: {name}, 2 messages a second: CPU", [100 * one for one in cost.busy], "% core"),
            median_row(NAME, f"{what}: /send to start, beside {name} : alone", ratios(beside_it, delays[0]), "", goal),
        ]  # fmt: skip
    return [*rows, median_row(NAME, f"{what}: /send to start, alone, p50", [1000 * one for one in delays[0]], "ms")]


class Cost:
    """Seconds of CPU in a second, round by round."""

    def __init__(self) -> None:
        self.quiet: list[float] = []
        self.busy: list[float] = []


def _spent(pid: int, work: object) -> float:
    """CPU seconds a second of a process while something else is done."""
    before, begin = cpu_of(pid), time.monotonic()
    work()  # type: ignore[operator]
    return (cpu_of(pid) - before).own / (time.monotonic() - begin)


def _delays(world: World, bus: EmbeddedBus, agents: int, messages: int) -> float:
    """Median seconds from a message's arrival on the bus to the start of its transport."""
    sent = {}
    for number in range(messages):
        stored = bus.store.append(source="agent:bench", to=f"agent{number % agents}", text="hello", project=None)
        sent[stored.entry_id] = time.time()
        time.sleep(EVERY_SECONDS)
    query = (
        "select m.message_id, min(a.started_at) from attempts a join deliveries d on d.id = a.delivery"
        " join messages m on m.id = d.message group by m.id"
    )
    started: dict[object, float] = {}
    end = time.monotonic() + 120
    while not sent.keys() <= started.keys():
        if time.monotonic() > end:
            raise SystemExit(f"{len(sent.keys() - started.keys())} of {messages} messages woke nobody")
        started = {row[0]: row[1] for row in world.read(query)}
        time.sleep(0.1)
    return percentile([started[key] - at for key, at in sent.items()], 50)


@contextlib.contextmanager
def _top(world: World) -> Iterator[int]:
    """`bus-watch top` in a terminal, when it shows the agents; its pid."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    argv = [sys.executable, "-m", "worker.cli.main", "top"]
    env = world.env | {"TERM": "xterm-256color"}
    process = subprocess.Popen(argv, env=env, cwd=world.home, stdin=its, stdout=its, stderr=its, start_new_session=True)
    os.close(its)
    shown = threading.Event()

    def read() -> None:
        seen = b""
        with contextlib.suppress(OSError):  # it has ended
            while part := os.read(ours, 65536):
                seen = (seen + part)[-65536:]
                if b"agent0" in seen:
                    shown.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        if not shown.wait(120):
            raise SystemExit("top showed nothing")
        yield process.pid
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@contextlib.contextmanager
def _web(world: World) -> Iterator[int]:
    """`bus-watch web`, when a browser's stream has its first snapshot; its pid."""
    argv = [sys.executable, "-m", "worker.cli.main", "web", "--port", "0", "--json"]
    process = subprocess.Popen(argv, env=world.env, cwd=world.home, stdout=subprocess.PIPE)
    assert process.stdout is not None
    link = urlsplit(json.loads(process.stdout.readline())["link"])
    shown = threading.Event()

    def look() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):  # it has ended
            entering = http.client.HTTPConnection(str(link.hostname), link.port, timeout=60)
            entering.request("GET", f"{link.path}?{link.query}")
            cookie = {"Cookie": str(entering.getresponse().headers["Set-Cookie"]).partition(";")[0]}
            stream = http.client.HTTPConnection(str(link.hostname), link.port, timeout=60)
            stream.request("GET", "/events", headers=cookie)
            answer = stream.getresponse()
            asking = http.client.HTTPConnection(str(link.hostname), link.port, timeout=60)
            while line := answer.readline():
                if line.startswith(b"event: board"):
                    asking.request("GET", "/agents/agent0", headers=cookie)  # as the page does
                    asking.getresponse().read()
                    shown.set()

    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    try:
        if not shown.wait(120):
            raise SystemExit("web showed nothing")
        yield process.pid
    finally:
        process.terminate()
        process.wait()
        looker.join(10)
        process.stdout.close()


def _reading(world: World) -> tuple[int, float]:
    """How many statements one reading of all agents is, and its milliseconds of CPU."""
    settings = load(world.config)
    board(settings)
    with counted_statements() as found:
        board(settings)
    times = []
    for _ in range(10):
        begin = time.process_time()
        board(settings)
        times.append(time.process_time() - begin)
    return found.count, 1000 * statistics.median(times)
