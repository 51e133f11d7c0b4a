"""The outbox under `kill -9` and without a bus: what agents sent, against what the bus took."""

import contextlib
import functools
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.fakes.bridges import FakeBridge
from tests.world.config import QUICK
from tests.world.waiting import until
from tests.world.world import World
from worker.ledger import outbox, outbox_bell
from worker.ledger.sqlite import SqliteLedger
from worker.outgoing import Kind

RECIPIENTS = ("carol", "dave", "erin", "frank")  # one for each of COMMAND_POINTS: none waits behind another


class Point(NamedTuple):
    """Where a process that sends is killed.

    `lost`: the bus had the message then, and the ledger did not know. `known`: the ledger knew all of it.
    """

    name: str
    lost: bool = False
    known: bool = False


_CLAIMED, _ANSWERED, _SETTLED = (
    Point("worker.outbox_claimed"),
    Point("worker.outbox_answered", lost=True),
    Point("worker.outbox_settled", known=True),
)
COMMAND_POINTS = (Point("worker.outbox_written", known=True), _CLAIMED, _ANSWERED, _SETTLED)
"""Of the command that sends by itself."""

WORKER_POINTS = tuple(
    point._replace(name=f"{point.name}:{nth}") for point in (_CLAIMED, _ANSWERED, _SETTLED) for nth in (1, 2)
)
"""Of the worker that sends what is kept."""

DOWN = ("refused", "hang", "status", "close", "lost")
"""How a bus can be down: nobody listens, not a byte, 503, no answer, no answer though it has the message."""


class Outage(NamedTuple):
    """What was sent while the bus was down, in all, and when after it was up the first and all were there."""

    meanwhile: int
    sent: int
    first: float
    all: float
    lost_answers: int
    doubled: int
    held: int
    wrong: str

    def words(self) -> str:
        """In one line."""
        return (
            f"{self.sent} sent, {self.meanwhile} of them while it was down; the first arrived {self.first:.1f} s after "
            f"it was up, all in {self.all:.1f} s; {self.lost_answers} answers lost, {self.doubled} doubled, "
            f"{self.held} held: {self.wrong or '0 lost, in order'}"
        )


@dataclass
class Sent:
    """What was put into the outbox, in order, for each recipient; and which of it may be on the bus twice."""

    owed: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in RECIPIENTS})
    lost_answers: int = 0


class Outboxes(World):
    """One agent that sends, and a bridge."""

    def __init__(self, home: Path, *, on_unknown: str = "redeliver", state: Path | None = None) -> None:
        super().__init__(home, state=state)
        self.bridge = FakeBridge("C")
        self.sent = Sent()
        self._number = 0
        self._on_unknown = on_unknown

    def __enter__(self) -> Self:
        self.bridge.__enter__()
        many = {"brake_after": None}  # of a fault run are no conversation
        self.configure(self.agent(self.bridge, "bob", on_unknown=self._on_unknown, **many), **QUICK)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self.bridge.__exit__(kind, error, trace)

    def _next(self, to: str | None = None) -> tuple[str, str]:
        """The next message: who gets it, and its text."""
        self._number += 1
        return to or RECIPIENTS[self._number % len(RECIPIENTS)], f"m{self._number}"

    def send(self, *, step: str = "", to: str | None = None) -> int:
        """Send the next message; its exit status."""
        recipient, text = self._next(to)
        done = self.bus_watch("send", recipient, text, env={"BUS_WATCH_FAULT_STEP": step} if step else None)
        if self.count("select count(*) from outbox where text = ?", text):
            self.sent.owed[recipient].append(text)
        else:
            assert done.returncode not in {0, 75}, "it was said to be kept, and is not"
        return done.returncode

    def kill_command_at(self, point: Point) -> None:
        """Let a command that sends by itself die at this point."""
        assert self.send(step=point.name) == -signal.SIGKILL
        self.sent.lost_answers += point.lost

    def kill_worker_at(self, point: Point) -> None:
        """Keep messages for it, let a worker send them, and die at this point."""
        self.keep(3)
        process = self.start("bus-watch", "run", BUS_WATCH_FAULT_STEP=point.name)
        until(lambda: process.poll() is not None, f"the death at {point.name}", 90.0)
        assert process.returncode == -signal.SIGKILL, self.log()
        self.sent.lost_answers += point.lost

    def kill_at_each(self, times: int = 1) -> int:
        """Let a process die at each point, so many times. How many messages nobody knows the fate of."""
        for _ in range(times):
            for point in COMMAND_POINTS:
                self.kill_command_at(point)
            for point in WORKER_POINTS:
                self.kill_worker_at(point)
        return times * sum(not point.known for point in (*COMMAND_POINTS, *WORKER_POINTS))

    def go_down(self, how: str) -> None:
        """The bus is down from now on."""
        if how == "refused":
            self.bridge.__exit__(None, None, None)
        else:
            self.bridge.fault(how, path="/send" if how == "lost" else "/", value=503)

    def come_up(self, how: str) -> None:
        """It is back, and has what it had."""
        if how != "refused":
            self.bridge.clear_faults()
            return
        old = self.bridge
        self.bridge = FakeBridge("C", port=old.server_address[1], streams=old.streams)
        self.bridge.tokens.update(old.tokens)
        self.bridge.__enter__()

    def outage(self, seconds: float, *, how: str = "refused", each: float = 0.5) -> Outage:
        """Send all the time, while the bus is there, is down for so long, and is there again; the worker dies once."""
        process = self.start("bus-watch", "run")
        until(lambda: self.bridge.seen("/inbox"), "the first poll")
        self.keep(2 * len(RECIPIENTS))
        self.go_down(how)
        begun, before = time.monotonic(), self._number
        while time.monotonic() < begun + seconds / 2:
            self.keep(1)
            time.sleep(each)
        assert process.poll() is None, f"the worker has ended by itself: {self.log()}"
        process.kill()
        process.wait()
        if how != "hang":  # it would wait as long as a request may take
            assert self.send() in {75, 76}, "without a worker it is kept, or nobody knows"
        again = self.start("bus-watch", "run")
        while time.monotonic() < begun + seconds:
            self.keep(1)
            time.sleep(each)
        meanwhile = self._number - before
        self.come_up(how)
        up, had = time.monotonic(), sum(map(len, self.on_bus().values()))
        self.keep(len(RECIPIENTS))
        first = until(lambda: sum(map(len, self.on_bus().values())) > had and time.monotonic() - up, "the first", 120.0)
        until(self.drained, "all of them", 300.0)
        last = time.monotonic() - up
        assert again.poll() is None, self.log()
        again.end()
        self.sent.lost_answers += self.count("select sum(unknown) from outbox")
        held = self.count("select count(*) from outbox where state = 'held'")
        return Outage(
            meanwhile, self._number, float(first), last, self.sent.lost_answers, self.doubled(), held, self.judge()
        )

    def keep(self, count: int) -> None:
        """Put messages into the outbox and ring: as the command does, without its start."""
        with contextlib.closing(SqliteLedger(self.ledger)) as ledger:
            for _ in range(count):
                recipient, text = self._next()
                put = functools.partial(
                    outbox.put, agent="bob", recipient=recipient, text=text, kind=Kind.MESSAGE, now=time.time()
                )
                ledger.write(put)
                self.sent.owed[recipient].append(text)
        outbox_bell.ring(self.files)

    def drained(self) -> bool:
        """Whether nothing is pending."""
        return not self.count("select count(*) from outbox where state in ('waiting', 'sending', 'retrying')")

    def on_bus(self) -> dict[str, list[str]]:
        """What the bus took for each recipient, in order."""
        taken: dict[str, list[str]] = {name: [] for name in RECIPIENTS}
        for name in RECIPIENTS:
            page = self.bridge.streams.page("C", name, None, 100_000, (0, 1))
            items = sorted((entry.item("C", name) for entry in page), key=_place)
            taken[name] = [str(item["text"]) for item in items]
        return taken

    def doubled(self) -> int:
        """How many came once more than they should."""
        return sum(len(came) - len(set(came)) for came in self.on_bus().values())

    def judge(self) -> str:
        """Empty, or what is wrong: lost ones, ones out of order, more doubled ones than answers that were lost.

        What is held for a person is not lost; it has given its place away, and it must not be doubled.
        """
        faults: list[str] = []
        held = {str(row["text"]) for row in self.rows("select text from outbox where state = 'held'")}
        lost = 0
        for name, owed in self.sent.owed.items():
            came = list(dict.fromkeys(self.on_bus()[name]))
            lost += len(set(owed) - set(came) - held)
            order = [text for text in came if text not in held]
            if order != [text for text in owed if text in order]:
                faults.append(f"out of order for {name}: {order}")
        if lost:
            faults.append(f"{lost} lost")
        may_be = self.sent.lost_answers if self._on_unknown == "redeliver" else 0
        if self.doubled() > may_be:
            faults.append(f"{self.doubled()} doubled, {may_be} may be")
        return "; ".join(faults)


def _place(item: dict[str, object]) -> tuple[int, int]:
    ms, _, seq = str(item["id"]).partition("-")
    return int(ms), int(seq)
