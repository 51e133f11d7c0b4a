"""What became of attempts of ours that another host had called unknown while nobody could ask us.

A part of the sweep. A late receipt is believed: docs/protocol.md#a-fleet. Until it has been looked for, the files of
such an attempt stay.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from worker.delivery import describe
from worker.engine.dispatch import ending_of
from worker.engine.identity import Identity
from worker.engine.wake_ups import WakeUps
from worker.ledger import late
from worker.ledger.lanes import Wake
from worker.ledger.late import Believed
from worker.ledger.port import Ledger, Tx
from worker.ledger.upkeep import RunningAttempt
from worker.transports import recovery

logger = logging.getLogger("bus_watch.fleet")

UNKNOWN = "nobody knows: its host has no receipt either"
NEVER = "never started"


@dataclass(slots=True, kw_only=True)
class LateReceipts:
    """Looks at them for one worker."""

    db: Ledger
    clock: Callable[[], float]
    identity: Identity
    wake_ups: WakeUps
    inspect: Callable[[RunningAttempt], recovery.AttemptStatus]
    is_answered_for: Callable[[RunningAttempt], bool]

    def round(self) -> int:
        """Tell how those ended that have. How many."""
        if self.identity.host is None:
            return 0
        told = 0
        for attempt in self.db.read(lambda db: late.awaited(db, self.identity.host_name)):
            if self.is_answered_for(attempt):
                continue
            try:
                status = self.inspect(attempt)
            except OSError as error:  # a full disk: look again at the next sweep
                logger.warning("attempt %s cannot be looked at yet: %s", attempt.attempt_id, error)
                continue
            match status:
                case recovery.StillRunning():
                    continue
                case recovery.Void():
                    words, succeeded = NEVER, False
                case recovery.Unknown():
                    words, succeeded = UNKNOWN, False
                case recovery.Finished(outcome):
                    ending = ending_of(outcome)
                    words, succeeded = describe(ending), ending.kind == "exit" and ending.code == 0
            self._tell(attempt, words, succeeded=succeeded)
            told += 1
        return told

    def _tell(self, attempt: RunningAttempt, words: str, *, succeeded: bool) -> None:
        def operation(tx: Tx) -> tuple[Believed, list[Wake]]:
            believed = late.tell(tx, attempt.attempt_id, words, succeeded=succeeded, now=self.clock())
            return believed, self.wake_ups.mark(tx, [believed.lane] if believed.succeeded else [])

        believed, wakes = self.db.write(operation)
        self.wake_ups.send(wakes)
        for message in believed.finished:
            self.wake_ups.finalize(message)
        logger.warning(
            "attempt %s, which another host had called unknown: %s%s",
            attempt.attempt_id, words, f"; it ran again: {believed.doubled} doubled" if believed.doubled else "",
        )  # fmt: skip
