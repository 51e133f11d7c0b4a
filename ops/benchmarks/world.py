"""A worker to measure: a home with a configuration, a ledger filled in advance, and the real huey_consumer in it."""

import contextlib
import http.server
import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from worker import process_table
from worker.bus.wire import InboxMessage
from worker.ledger import intake
from worker.ledger.port import Ledger, Tx
from worker.ledger.sqlite import SqliteLedger

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0
TICK = os.sysconf("SC_CLK_TCK")


class _Inbox(http.server.BaseHTTPRequestHandler):
    """A bus whose every page holds so many new messages; none by default: polls that cost, and bring nothing."""

    page = 0
    numbers = itertools.count(int(time.time() * 1000))

    def do_GET(self) -> None:
        found = [
            {"id": f"{next(self.numbers)}-0", "source": "agent:bench", "type": "send", "text": "hello", "project": ""}
            for _ in range(self.page)
        ]
        self._answer(json.dumps({"agent": "a", "project": None, "messages": found}).encode())

    def do_POST(self) -> None:
        self._answer(b'{"status": "ok"}')

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
        """Say nothing."""


@contextlib.contextmanager
def paging_bus(page: int) -> Iterator[str]:
    """The URL of a bus on loopback that gives `page` new messages each time it is asked."""
    handler = type("Paging", (_Inbox,), {"page": page})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class Cpu:
    """CPU seconds of a process: its own, and of the children that it has waited for."""

    own: float
    children: float

    def __sub__(self, other: "Cpu") -> "Cpu":
        return Cpu(self.own - other.own, self.children - other.children)


def cpu_of(pid: int) -> Cpu:
    """What the kernel has counted for a process so far (Linux)."""
    user, system, child_user, child_system = (ticks / TICK for ticks in process_table.cpu_ticks(pid))
    return Cpu(user + system, child_user + child_system)


class World:
    """A home of its own; a context manager that takes it away again."""

    def __init__(self, agents: Sequence[dict[str, Any]], *, url: str, **more: Any) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="bus-watch-bench-"))
        sos = self.home / ".sos"
        sos.mkdir(mode=0o700)
        (sos / "token").write_text("a-token-for-loopback-only", encoding="ascii")
        (sos / "token").chmod(0o600)
        self.config = sos / "bus-watch.json"
        self.ledger = sos / "state.db"
        self.agents = agents
        self.configure(url=url, **more)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "BUS_WATCH_CONFIG": str(self.config),
        }

    def configure(self, *, url: str, **more: Any) -> None:
        """Write the configuration: what a person would have, but for polls that are rare unless `more` says so."""
        commands = {t["command"][0] for a in self.agents for t in a["transports"]}
        settings = {
            "agents": [{"token_file": str(self.home / ".sos" / "token")} | agent for agent in self.agents],
            "bridge_url": url,
            "state_path": str(self.home / ".sos" / "state.json"),
            "allowlist": sorted(commands),
            "announce": False,
            "watch": False,
            "poll_interval": 3600,
            "start_from": "all",
            "log_level": "WARNING",
        }
        self.config.write_text(json.dumps(settings | more), encoding="utf-8")
        self.config.chmod(0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.home, ignore_errors=True)

    def fill(self, each: int, *, finished: int = 0, skip: int = 0) -> None:
        """Give every agent but the first `skip` `each` messages, and the first agent `finished` ones that are over."""
        database = self.open()
        now = time.time()
        begin = int(now * 1000) - 3_000_000

        def operation(tx: Tx) -> None:
            for agent in self.agents[skip:]:
                intake.ensure_inbox(tx, agent["agent"], 0)
                names = [t["name"] for t in agent["transports"]]
                messages = [message(agent["agent"], begin + n) for n in range(each)]
                intake.take_in(tx, agent["agent"], messages, lambda _, names=names: (None, names), now)  # type: ignore[misc]
            if finished:
                _fill_finished(tx, self.agents[0], finished, begin, now)

        database.write(operation)
        database.close()

    def open(self) -> Ledger:
        """The ledger, to write into."""
        return SqliteLedger(self.ledger)

    @contextlib.contextmanager
    def worker(
        self, *flags: str, module: str = "huey.bin.huey_consumer", before: Sequence[str] = ()
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """The real consumer; ended with SIGTERM, and with SIGKILL if it does not go."""
        argv = [sys.executable, "-m", module, *before, "worker.app.huey", "-q", "-g", "TERM", *flags]
        with (self.home / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                argv, env=self.env, cwd=self.home, stdin=subprocess.DEVNULL, stderr=log, start_new_session=True
            )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise

    def read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the ledger, without being in the worker's way for longer than the question takes."""
        connection = sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(query, values).fetchall()
        finally:
            connection.close()

    def change(self, statement: str) -> None:
        """Change the ledger by hand, before there is a worker."""
        with contextlib.closing(sqlite3.connect(self.ledger)) as connection:
            connection.execute("pragma foreign_keys = on")
            connection.execute(statement)
            connection.commit()

    def wait_until_done(self, process: "subprocess.Popen[bytes]") -> None:
        """Until no message is open."""

        def over() -> bool:
            return not self.read("select 1 from messages where state = 'open' limit 1")

        self.wait(over, process)

    def wait(self, is_so: Callable[[], object], process: "subprocess.Popen[bytes]", every: float = 0.05) -> None:
        """Until it is so; an error that quotes the worker's log if it ends, or after PATIENCE seconds."""
        deadline = time.monotonic() + PATIENCE
        while not is_so():
            if process.poll() is not None or time.monotonic() > deadline:
                log = (self.home / "worker.log").read_text(encoding="utf-8", errors="replace")
                raise SystemExit(f"the worker came to nothing (status {process.returncode}):\n{log[-4000:]}")
            time.sleep(every)

    def launcher_pid(self, process: "subprocess.Popen[bytes]") -> int:
        """The worker's launcher: its only child that lasts."""
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
        return int(children[0])

    def proof(self, expected: int, finished: int = 0) -> tuple[float, float]:
        """First start and last end of the attempts; an error unless each delivery succeeded, once, in order."""
        counts = dict(self.read("select state, count(*) from deliveries group by state"))
        ours = "from attempts where worker <> 'old'"
        attempts, begin, end = self.read(f"select count(*), min(started_at), max(ended_at) {ours}")[0]
        disorder = self.read(_DISORDER)[0][0]
        if counts != {"succeeded": expected + finished} or attempts != expected or disorder:
            raise SystemExit(f"wrong: {counts}, {attempts} attempts, {disorder} out of order; wanted {expected}")
        return begin, end


# Attempts of a lane that began before an older delivery's attempt of it.
_DISORDER = """
select count(*) from (
  select d.ms - lag(d.ms) over (partition by d.lane order by a.started_at, d.ms) as step
  from attempts a join deliveries d on d.id = a.delivery where a.worker <> 'old'
) steps where step < 0
"""


def true_agents(count: int, **transport: Any) -> list[dict[str, Any]]:
    """Agents with one transport each, /bin/true unless told otherwise: `count` lanes."""
    wake = {"name": "true", "command": ["/bin/true"]} | transport
    return [{"agent": f"agent{n}", "transports": [wake]} for n in range(count)]


def message(agent: str, ms: int) -> InboxMessage:
    """A message as the bus client gives it."""
    return InboxMessage(
        stream=f"sos:stream:global:agent:{agent}",
        message_id=f"{ms}-0",
        ms=ms,
        seq=0,
        source="agent:bench",
        text="please look at the build",
        message_class=None,
        project=None,
        timestamp=None,
    )


def _fill_finished(tx: Tx, agent: dict[str, Any], count: int, before: int, now: float) -> None:
    """Old messages that were delivered, each with its delivery and its attempt."""
    name = agent["agent"]
    lane = intake.ensure_lane(tx, name, agent["transports"][0]["name"])
    first = before - count
    base = tx.execute("select coalesce(max(id), 0) from messages").fetchone()[0]
    for n in range(count):
        old = message(name, first + n)
        row = base + 1 + n
        tx.execute(
            "insert into messages (id, agent, stream, ms, seq, message_id, source, text, received_at, state,"
            " finished_at) values (?, ?, ?, ?, 0, ?, ?, ?, ?, 'delivered', ?)",
            (row, name, old.stream, old.ms, old.message_id, old.source, old.text, now, now),
        )
        delivery = tx.execute(
            "insert into deliveries (message, lane, ms, seq, state, starts, ended_at)"
            " values (?, ?, ?, 0, 'succeeded', 1, ?) returning id",
            (row, lane, old.ms, now),
        ).fetchone()[0]
        tx.execute(
            "insert into attempts (id, delivery, lane, starts, worker, boot_id, source, started_at, timeout, ended_at,"
            " result) values (?, ?, ?, 1, 'old', 'old', ?, ?, 30, ?, 'exit 0')",
            (f"{n:012x}{'0' * 20}", delivery, lane, old.source, now - 3600, now - 3600),
        )
