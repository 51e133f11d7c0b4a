"""The postman: a thread of the worker that sends what is in the outbox, one thread an agent while it has something.

A bus that hangs keeps nobody waiting but its own agents.
"""

import logging
import os
import threading
from collections.abc import Callable

from worker.engine.outbox import Outbox
from worker.errors import BusWatchError, level_of
from worker.ledger.outbox_bell import OutboxBell

logger = logging.getLogger("bus_watch.outbox")

IDLE_SECONDS = 60.0  # between two looks while nobody rings
MOST_THREADS = 32


class Postman:
    """Started and stopped with the worker."""

    def __init__(self, outbox: Outbox, bell: OutboxBell, clock: Callable[[], float]) -> None:
        self._outbox = outbox
        self._bell = bell
        self._clock = clock
        self._busy: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()
        self._nudged = self._nudge = -1
        self._thread = threading.Thread(target=self._run, name="Postman", daemon=True)

    def start(self) -> None:
        """Listen, and look once."""
        self._bell.open()
        self._nudged, self._nudge = os.pipe()  # open for as long as the process lives: threads may nudge late
        os.set_blocking(self._nudged, False)
        os.set_blocking(self._nudge, False)
        self._thread.start()

    def nudge(self) -> None:
        """Look again: something may be due."""
        try:
            os.write(self._nudge, b"!")
        except OSError:  # it is full, or nobody listens
            return

    def stop(self, seconds: float) -> None:
        """`outbox.stopping` is set: let a try that is under way end, for so long; then it counts as interrupted."""
        self.nudge()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        with self._lock:
            busy = list(self._busy.values())
        for thread in busy:
            thread.join(seconds)
        self._bell.close()

    def _run(self) -> None:
        while not self._outbox.stopping.is_set():
            seconds = IDLE_SECONDS
            try:
                seconds = self._look()
            except BusWatchError as error:
                logger.log(level_of(error), "the outbox cannot be looked at: %s", error)
                seconds = 5.0
            except Exception:  # a bad moment must not end the thread
                logger.exception("the outbox could not be looked at")
                seconds = 5.0
            if self._bell.is_lost():
                self._bell.renew()
            self._bell.wait(seconds, self._nudged)

    def _look(self) -> float:
        """Have sent what is due. In how many seconds something will be."""
        self._outbox.recover()
        now = self._clock()
        seconds = IDLE_SECONDS
        for head in self._outbox.heads():
            if head.next_at is not None and head.next_at > now:
                seconds = min(seconds, head.next_at - now)
                continue
            with self._lock:
                if head.agent in self._busy or len(self._busy) >= MOST_THREADS:
                    continue
                thread = threading.Thread(target=self._send_all, args=(head.agent,), name=f"Outbox-{head.agent}")
                thread.daemon = True
                self._busy[head.agent] = thread
            thread.start()
        return max(0.05, seconds)

    def _send_all(self, agent: str) -> None:
        """Send what is due of one agent, until nothing is."""
        try:
            while not self._outbox.stopping.is_set():
                now = self._clock()
                due = [one for one in self._outbox.heads() if one.agent == agent and (one.next_at or 0.0) <= now]
                tried = [self._outbox.send(one) for one in due]  # each, also where the first did not go
                if not any(tried):
                    return
        except BusWatchError as error:
            logger.log(level_of(error), "%s: its outbox cannot be sent now: %s", agent, error)
            self._outbox.stopping.wait(1.0)
        except Exception:
            logger.exception("%s: its outbox could not be sent", agent)
            self._outbox.stopping.wait(5.0)
        finally:
            with self._lock:
                del self._busy[agent]
            self.nudge()
