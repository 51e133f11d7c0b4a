"""The outbox under `kill -9`: what agents sent, against what the bus took."""

import contextlib
import functools
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.fakes.bridges import FakeBridge
from tests.world.config import QUICK
from tests.world.waiting import until
from tests.world.world import World
from worker.ledger import outbox
from worker.ledger.sqlite import SqliteLedger
from worker.outgoing import Kind

RECIPIENTS = ("carol", "dave", "erin", "frank")  # one for each of COMMAND_POINTS: none waits behind another

WORKER_POINTS = tuple(
    (f"worker.outbox_{name}:{nth}", name == "answered") for name in ("claimed", "answered", "settled") for nth in (1, 2)
)
"""Where the worker dies, and whether the bus had the message then and the ledger did not know."""

COMMAND_POINTS = (
    ("worker.outbox_written", False),
    ("worker.outbox_claimed", False),
    ("worker.outbox_answered", True),
    ("worker.outbox_settled", False),
)
"""The same of the command that sends by itself."""


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
        self.configure(self.agent(self.bridge, "bob", on_unknown=self._on_unknown), **QUICK)
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

    def kill_worker_at(self, point: str) -> None:
        """Keep messages for it, let a worker send them, and die at this point."""
        self._keep(3)
        process = self.start("bus-watch", "run", BUS_WATCH_FAULT_STEP=point)
        until(lambda: process.poll() is not None, f"the death at {point}", 90.0)
        assert process.returncode == -signal.SIGKILL, self.log()

    def _keep(self, count: int) -> None:
        """Put messages into the outbox, which nobody sends yet: as the command does, without its start."""
        with contextlib.closing(SqliteLedger(self.ledger)) as ledger:
            for _ in range(count):
                recipient, text = self._next()
                put = functools.partial(
                    outbox.put, agent="bob", recipient=recipient, text=text, kind=Kind.MESSAGE, now=time.time()
                )
                ledger.write(put)
                self.sent.owed[recipient].append(text)

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

    def judge(self, *, held: int = 0) -> str:
        """Empty, or what is wrong: lost ones, ones out of order, more doubled ones than answers that were lost."""
        faults: list[str] = []
        doubled = lost = 0
        for name, owed in self.sent.owed.items():
            came = self.on_bus()[name]
            count = Counter(came)
            doubled += sum(number - 1 for number in count.values())
            lost += sum(text not in count for text in owed)
            firsts = list(dict.fromkeys(came))
            if held == 0 and firsts != [text for text in owed if text in count]:
                faults.append(f"out of order for {name}: {firsts}")
        if lost > held:
            faults.append(f"{lost} lost")
        if doubled > self.sent.lost_answers:
            faults.append(f"{doubled} doubled, {self.sent.lost_answers} answers were lost")
        return "; ".join(faults)


def _place(item: dict[str, object]) -> tuple[int, int]:
    ms, _, seq = str(item["id"]).partition("-")
    return int(ms), int(seq)
