"""Bands of tasks, each with workers of its own that are woken instead of polling; whatever keeps the deliveries.

Only deliveries are stored, and what is scheduled. Sweeps and finalizers are this process's own: they come again
by themselves, so their tasks wait in memory, and one that brings nothing writes nothing.
"""

import math
import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from datetime import datetime
from enum import IntEnum
from typing import cast

from worker.fault_steps import step

SCHEDULE_SECONDS = 1.0  # how often the schedule is looked into where nothing of ours is due: others may fill it


class Band(IntEnum):
    """Task priorities, each with workers of its own."""

    DELIVER = 0
    UPKEEP = 200
    ALERT = 300


def _band_of(priority: float | None) -> Band:
    return Band(min(int(priority or 0) // 100 * 100, max(Band)))


class BandSignal:
    """Wakes those who wait for one band's tasks: one for each task, since each that wakes costs a look and a switch."""

    def __init__(self) -> None:
        self.rings = 0
        self.waiting = 0
        self._condition = threading.Condition()

    def ring(self, waiting: int | None = None) -> None:
        """Wake so many of those who wait; None: all of them."""
        with self._condition:
            self.rings += 1
            if waiting is None:
                self._condition.notify_all()
            else:
                self._condition.notify(waiting)

    def wait(self, seen: int, seconds: float) -> bool:
        """Until it has rung since `rings` was `seen`; False when it has not within so many seconds."""
        if seconds <= 0:
            return False
        with self._condition:
            self.waiting += 1
            try:
                return self._condition.wait_for(lambda: self.rings != seen, seconds)
            finally:
                self.waiting -= 1


class BandedStorage:
    """One of huey's storages whose `dequeue` waits until there is something, for the calling thread's band of tasks."""

    blocking = True

    def __init__(self) -> None:
        self.signals = {band: BandSignal() for band in Band}
        self.stopping = False
        self.on_loss: Callable[[], None] = lambda: None  # called when wake-ups were lost
        self.on_nudge: Callable[[], None] = lambda: None  # called when somebody wants all workers to look at the ledger
        self.patience = 5.0  # seconds a dequeue waits at most before it lets its worker look at the stop flag
        self._in_memory: dict[Band, deque[bytes]] = {band: deque() for band in Band if band is not Band.DELIVER}
        self._thread = threading.local()
        self._look_at = 0.0  # when to look into the schedule again (epoch seconds)

    @abstractmethod
    def _store(self, data: bytes, priority: float | None) -> None:
        """Store a delivery."""

    @abstractmethod
    def _take_stored(self) -> bytes | None:
        """Take a delivery."""

    @abstractmethod
    def _first_scheduled(self) -> float | None:
        """When the first of what is scheduled is due (epoch seconds)."""

    def serve(self, band: Band) -> None:
        """From now on the calling thread takes tasks of this band."""
        self._thread.band = band

    def enqueue(self, data: bytes, priority: float | None = None) -> None:
        """Huey's."""
        band = _band_of(priority)
        if band in self._in_memory:
            self._in_memory[band].append(data)
        else:
            self._store(data, priority)
        self.signals[band].ring(1)

    def add_to_schedule(self, data: bytes, ts: datetime) -> None:
        """Huey's."""
        super().add_to_schedule(data, ts)  # type: ignore[misc]  # that of the storage beside us
        self._look_at = min(self._look_at, ts.timestamp())

    def read_schedule(self, ts: datetime) -> list[bytes]:
        """huey's, who asks four times a second: what is due is taken, and nobody looked for while nothing can be."""
        now = ts.timestamp()
        if now < self._look_at <= now + SCHEDULE_SECONDS:
            return []
        first = self._first_scheduled()
        if first is None or first > now:
            self._look_at = min(first or math.inf, now + SCHEDULE_SECONDS)
            return []
        taken = cast("list[bytes]", super().read_schedule(ts))  # type: ignore[misc]  # as above
        step("schedule_taken")
        return taken

    def wake(self) -> None:
        """Let every waiting worker look again."""
        for signal in self.signals.values():
            signal.ring()

    def somebody_idles(self, band: Band) -> bool:
        """Whether a worker of this band waits for a task: then no task waits for a worker."""
        return self.signals[band].waiting > 0 and not self.stopping

    def stop(self) -> None:
        """Let every waiting worker go home."""
        self.stopping = True
        self.wake()

    def dequeue(self) -> bytes | None:
        """huey's; None where there is nothing after `patience`."""
        band = getattr(self._thread, "band", Band.DELIVER)
        signal = self.signals[band]
        deadline = time.monotonic() + self.patience
        while True:
            seen = signal.rings
            data = self._take(band)
            if data is not None:
                return data
            if self.stopping or not signal.wait(seen, deadline - time.monotonic()):
                return None

    def _take(self, band: Band) -> bytes | None:
        if band not in self._in_memory:
            return self._take_stored()
        try:
            return self._in_memory[band].popleft()
        except IndexError:
            return None
