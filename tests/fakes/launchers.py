"""A launcher whose caller waits for one outcome at a time."""

import math
import queue
from collections.abc import Callable
from pathlib import Path

from worker.transports.client import LauncherClient, Request, RunEnded
from worker.transports.command import Prepared
from worker.transports.receipts import RunResult


class WaitingLauncher(LauncherClient):
    """The real one; `run` may be called from any number of threads."""

    def __init__(self, directory: Path, worker_id: str, *, on_death: Callable[[], None] | None = None) -> None:
        super().__init__(directory, worker_id, self._deal_out, on_death=on_death)
        self._waiting: dict[str, queue.SimpleQueue[RunResult | None]] = {}

    def _deal_out(self, ended: list[RunEnded]) -> None:
        for one in ended:
            self._waiting.pop(one.attempt_id).put(one.outcome)

    def run(
        self,
        attempt_id: str,
        prepared: Prepared,
        timeout: float,
        tail_bytes: int = 4096,
        start_by: float = math.inf,
    ) -> RunResult:
        """Run one transport to its end; LauncherGone when the launcher dies first."""
        self._waiting[attempt_id] = mailbox = queue.SimpleQueue[RunResult | None]()
        self.ask([Request(attempt_id, prepared, timeout, start_by, tail_bytes)])
        outcome = mailbox.get()
        if outcome is None:
            raise self.gone()
        return outcome
