"""Receipts on their way to the disk: written at once, fsynced if they are still wanted then.

The launcher imports this, so it imports next to nothing.

A receipt outlives a crash of worker and launcher as soon as it is written. Fsync adds power loss, costs
more than the start of the transport itself, and is superfluous once the worker has settled the attempt (a
commit that is synced, and removes the receipt). So it happens SYNC_AFTER later, and only for a receipt that
is still there; at once when no worker is left. The files of the others are used again.
"""

import collections
import contextlib
import os
import signal
import time

from worker import durable
from worker.transports import receipt_format
from worker.transports.locks import boot_id
from worker.transports.receipt_pool import ReceiptFile, ReceiptPool

SYNC_AFTER = 0.1  # seconds
SYNC_TOGETHER = 0.05  # and so much later at most, so that under load not each receipt wakes this process once more
WRITE_AGAIN = 1.0  # seconds between two tries to write a receipt that the disk refuses
WRITE_TRIES = 60


class Faults:
    """Steps at which a fault harness kills this process: `launcher.NAME:kill[:PASS]`."""

    def __init__(self, wanted: str) -> None:
        head, _, passes = wanted.partition(":kill")
        self._name = head.removeprefix("launcher.")
        self._passes = int(passes.lstrip(":") or 1)

    def step(self, name: str) -> None:
        """Die here, if this is the step and the pass that was asked for."""
        if name == self._name:
            self._passes -= 1
            if self._passes == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Child:
    """One transport from its start to its receipt; descriptors are NONE once they are closed."""

    NONE = -1
    __slots__ = (
        "attempt", "deadline", "ended_at", "file", "leftovers_until", "output", "pid", "spawn_error", "spawned",
        "start_by", "started_at", "status", "tail", "tail_bytes", "timed_out", "too_late", "tries",
    )  # fmt: skip

    def __init__(
        self, attempt: str, file: ReceiptFile, output: int, timeout: float, tail_bytes: int, start_by: float
    ) -> None:
        self.attempt = attempt
        self.start_by = start_by
        self.too_late = False
        self.file = file
        self.output = output
        self.tail_bytes = tail_bytes
        self.tail = b""
        self.pid = 0
        self.started_at = time.time()
        self.ended_at = 0.0
        self.deadline = time.monotonic() + timeout
        self.leftovers_until = 0.0
        self.status: int | None = None
        self.spawn_error = 0
        self.spawned = (0, -1)  # between which ticks of the start clock
        self.timed_out = False
        self.tries = 0

    def keep(self, data: bytes) -> None:
        """Remember the last `tail_bytes` of what the transport prints."""
        self.tail = (self.tail + data)[-self.tail_bytes :] if self.tail_bytes else b""

    def outcome(self) -> tuple[str, int]:
        """`(kind, code)` by the real wait status: an exit that raced the kill is the exit it is."""
        if self.too_late:
            return "too_late", 0
        if self.spawn_error:
            return "spawn_error", self.spawn_error
        status = self.status or 0
        if os.WIFEXITED(status):
            return "exit", os.WEXITSTATUS(status)
        return ("timeout" if self.timed_out else "signal"), os.WTERMSIG(status)


class Writer:
    """Completes receipts. What the disk refuses is tried again; what is written waits for its fsync."""

    def __init__(self, pool: ReceiptPool, faults: Faults) -> None:
        self._boot = boot_id()
        self._pool = pool
        self._faults = faults
        self._unwritten: list[Child] = []
        self._unsynced: collections.deque[tuple[float, ReceiptFile]] = collections.deque()  # when, and what

    @property
    def busy(self) -> bool:
        """Whether a receipt still waits for something."""
        return bool(self._unwritten or self._unsynced)

    def alarms(self, now: float) -> list[float]:
        """When `keep_time` wants to be called next."""
        again = [now + WRITE_AGAIN] if self._unwritten else []
        return [*again, max(self._unsynced[0][0], now + SYNC_TOGETHER)] if self._unsynced else again

    def keep_time(self, now: float) -> None:
        """Write again what the disk refused, and fsync what is due; `inf` for all that is left."""
        if self._unwritten:
            again, self._unwritten = self._unwritten, []
            for child in again:
                self.complete(child)
        while self._unsynced and self._unsynced[0][0] <= now:
            file = self._unsynced.popleft()[1]
            names = file.names
            if names == 1:
                self._pool.put_back(file)
            else:
                if names:
                    with contextlib.suppress(OSError):  # the line stands in the page cache: only a power cut takes it
                        durable.sync(file.descriptor)
                file.give_up()
            self._faults.step("after_receipt_fsync")

    def complete(self, child: Child) -> None:
        """Write the tail first, then the line that makes the receipt count."""
        self._faults.step("before_receipt_write")
        kind, code = child.outcome()
        line = receipt_format.receipt_line(
            attempt=child.attempt, boot=self._boot, kind=kind, code=code, started_at=child.started_at,
            ended_at=child.ended_at, pid=child.pid, tail_length=len(child.tail),
        )  # fmt: skip
        try:
            if child.tail:
                receipt_format.write_all(child.file.descriptor, child.tail, receipt_format.TAIL_AT)
            receipt_format.write_all(child.file.descriptor, line, 0)
        except OSError:
            child.tries += 1
            if child.tries < WRITE_TRIES:
                self._unwritten.append(child)
            else:
                child.file.give_up()
            return
        self._unsynced.append((time.monotonic() + SYNC_AFTER, child.file))
        self._faults.step("after_receipt_write")
