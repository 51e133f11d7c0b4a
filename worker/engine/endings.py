"""The end of an attempt: written down, then who is next is woken, then its files are removed, in this order."""

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from worker.delivery import Ending, State, describe, meaning
from worker.engine.drift import Unexplained, unexplained
from worker.engine.hand_off import HandOff, HandOffs, Report
from worker.engine.wake_ups import WakeUps
from worker.fault_steps import step
from worker.ledger import claims, drift, settling
from worker.ledger.claims import Claim, NotClaimed
from worker.ledger.lanes import Wake
from worker.ledger.port import Ledger, Tx
from worker.ledger.settling import Settled
from worker.telemetry.observer import Ended, Observer
from worker.transports.receipt_format import RECEIPT_SUFFIX
from worker.transports.receipts import MESSAGE_SUFFIX, remove_files

logger = logging.getLogger("bus_watch.deliver")

OUTPUT_SHOWN = 200  # characters of a transport's output that go into a reason


class Written(NamedTuple):
    """What the transaction did that wrote an ending down. `settled` is None where somebody else had settled it."""

    settled: Settled | None
    wakes: list[Wake]
    following: Claim | NotClaimed | None = None
    unknown: Sequence[Unexplained] = ()


@dataclass(slots=True, kw_only=True)
class Endings:
    """Writes endings down, for dispatch and sweep."""

    db: Ledger
    clock: Callable[[], float]
    rng: random.Random
    files: Path
    hand_offs: HandOffs
    wake_ups: WakeUps
    observer: Observer

    def end(
        self,
        report: Report,
        *,
        only_if: Callable[[Tx], bool] = lambda _tx: True,
        also: Callable[[Tx], object] = lambda _tx: None,
    ) -> Settled | None:
        """End an attempt, and wake its lane: all of the below. `also` is done in the same transaction."""

        def operation(tx: Tx) -> Written:
            if not only_if(tx):
                return Written(None, [])
            written = self.write(tx, report)
            if written.settled is not None:
                also(tx)
            return written

        written = self.db.write(operation)
        self.announce(report, written)
        self.follow_up(report, written)
        return written.settled

    def write(self, tx: Tx, report: Report, hand_off: HandOff | None = None) -> Written:
        """Settle an attempt; and where its hand-off may go on, claim the lane's next head at once.

        That saves the wake-up its trip through the queue, and the claim its own commit.
        """
        (written,) = self.write_all(tx, [(report, hand_off)])
        return written

    def write_all(self, tx: Tx, reports: Sequence[tuple[Report, HandOff | None]]) -> list[Written]:
        """The same for several attempts, each of another lane; where one cannot be written, none is."""
        settled = settling.settle_all(
            tx,
            [
                settling.Over(
                    report.delivery,
                    report.attempt_id,
                    _with_output(report.ending, report.output),
                    report.transport.retry_policy,
                    report.output,
                    hand_off.claim.lane if hand_off is not None and hand_off.claim is not None else None,
                )
                for report, hand_off in reports
            ],
            now=self.clock(),
            rng=self.rng,
        )
        may_claim_next, now = self.wake_ups.queue.may_claim_next, time.monotonic()
        going_on = [
            one is not None and hand_off is not None and may_claim_next(now - hand_off.began, one)
            for one, (_, hand_off) in zip(settled, reports, strict=True)
        ]
        heads = claims.heads_of(tx, [one.lane for one, on in zip(settled, going_on, strict=True) if one and on])
        return [
            self._written(tx, report, one, hand_off if on else None, heads)
            for one, on, (report, hand_off) in zip(settled, going_on, reports, strict=True)
        ]

    def _written(
        self, tx: Tx, report: Report, settled: Settled | None, hand_off: HandOff | None, heads: dict[int, claims.Which]
    ) -> Written:
        """What else goes into the transaction of a settle; `hand_off` if it goes on with the lane."""
        if settled is None:
            return Written(None, [])
        unknown = unexplained(report.output)
        for one in unknown:
            drift.note(tx, one.ui, one.version, self.clock(), channel=one.channel)
        if hand_off is not None:
            head = heads.get(settled.lane)
            following = self.hand_offs.claim(tx, hand_off, head or claims.head_of(settled.lane))
            if isinstance(following, Claim) or following.wake:
                return Written(settled, [], following, unknown)
        return Written(settled, self.wake_ups.mark(tx, [settled.lane]), None, unknown)

    def announce(self, report: Report, written: Written) -> None:
        """Say how it ended, to the log and to whoever observes."""
        step("settled")
        settled = written.settled
        if settled is None:
            return
        for drifted in written.unknown:
            tell = self.observer.unknown_channel if drifted.channel else self.observer.unknown_screen
            tell(drifted.ui, drifted.version)
        wanted = self.observer.wants_ends
        for one in (settled, *settled.others):
            _log(one, report)
            if not wanted:
                continue
            self.observer.ended(
                Ended(
                    agent=one.agent,
                    transport=report.transport.name,
                    message_id=one.message_id,
                    delivery=one.delivery,
                    attempt=one.attempt,
                    meaning=meaning(report.ending, report.transport.retry_policy),
                    cause=describe(report.ending),
                    state=one.state,
                    reason=one.reason,
                    began_failing=one.began_failing,
                    is_companion=one is not settled,
                    output=report.output,
                    received_at=one.received_at,
                    started_at=one.started_at,
                    ended_at=one.ended_at,
                )
            )

    def follow_up(self, report: Report, written: Written) -> None:
        """Wake-ups, the finalizer, the attempt's files. What fails here the sweep does."""
        self.wake_ups.send(written.wakes)
        if written.settled is None:
            return
        for one in (written.settled, *written.settled.others):
            if one.finished:
                self.wake_ups.finalize(one.message)
        step("before_unlink")
        # A void note must outlive the launcher that may still come to it: see the sweep.
        if report.ending.kind != "void":
            left = (MESSAGE_SUFFIX, RECEIPT_SUFFIX) if report.transport.wants_message_file else (RECEIPT_SUFFIX,)
            try:
                remove_files(self.files, report.attempt_id, left)
            except OSError as error:
                logger.warning("the files of attempt %s stay for now: %s", report.attempt_id, error)
        step("unlinked")


def _with_output(ending: Ending, output: str) -> Ending:
    """A failure's reason says what the transport said last: `exit 1: can't find pane`."""
    if not output or ending.detail or (ending.kind == "exit" and ending.code == 0):
        return ending
    last = next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "")
    return Ending(ending.kind, ending.code, "".join(c if c.isprintable() else "?" for c in last)[:OUTPUT_SHOWN])


_LEVELS = {State.SUCCEEDED: logging.INFO, State.DEAD: logging.ERROR}


def _log(settled: Settled, report: Report) -> None:
    """How it ended; what the transport said about it may quote the message, and is told at DEBUG only."""
    level = _LEVELS.get(settled.state, logging.WARNING)
    if not logger.isEnabledFor(level):
        return
    fields = {
        "agent": settled.agent,
        "message_id": settled.message_id,
        "transport": report.transport.name,
        "delivery": settled.delivery,
        "attempt": settled.attempt,
        "state": str(settled.state),
    }
    logger.log(
        level,
        "attempt %d by %s: %s, so %s",
        settled.attempt,
        report.transport.name,
        describe(report.ending),
        settled.state,
        extra=fields,
    )
    if settled.reason:
        logger.debug("reason: %s", settled.reason, extra=fields)
