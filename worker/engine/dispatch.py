"""One delivery: claim it, run its transport through the launcher, write down how that ended, go on with its lane.

A thread claims and asks the launcher. From then on the launcher's reader works for all threads at once (`runs_ended`):
what has ended is settled in one commit, which claims each lane's next head too, and the launcher is asked for all of
those in one go. The threads sleep meanwhile: waking one for each ending costs more than settling it. What is not
plain - the ledger cannot be written, a command is missing - is handed to the thread, which has time.
"""

import errno
import functools
import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worker.delivery import Ending, State
from worker.engine.coalescing import envelope_of, key_of, text_of
from worker.engine.endings import Endings, Written
from worker.engine.hand_off import HandOff, HandOffs, NextStep, Report
from worker.engine.identity import Identity
from worker.engine.lane_lookup import LaneConfig, LaneLookup
from worker.engine.reply_hint import hinted
from worker.engine.wake_ups import WakeUps
from worker.errors import level_of
from worker.fault_steps import step
from worker.ledger import claims
from worker.ledger.claims import Claim, NotClaimed
from worker.ledger.errors import LedgerBusyError, LedgerError, LedgerFullError, LedgerReadOnlyError
from worker.ledger.port import Ledger
from worker.ledger.settling import Settled
from worker.settings import TransportSettings
from worker.telemetry.observer import Observer
from worker.transports.client import LauncherClient, LauncherGone, Request, RunEnded
from worker.transports.command import CannotRun, CommandMissing, CommandNotAllowed, write_message_file
from worker.transports.receipts import MESSAGE_SUFFIX, RunResult, path_of

logger = logging.getLogger("bus_watch.deliver")

SETTLE_AGAIN_SECONDS = 2.0


@dataclass(slots=True, kw_only=True)
class Dispatcher:
    """Runs deliveries. `stopping` is set where the launcher died: without it this worker is of no use."""

    db: Ledger
    clock: Callable[[], float]
    redact: Callable[[str], str]
    stopping: threading.Event
    identity: Identity
    lanes: LaneLookup
    hand_offs: HandOffs
    wake_ups: WakeUps
    endings: Endings
    observer: Observer
    launcher: LauncherClient = field(init=False)

    def __post_init__(self) -> None:
        self.launcher = LauncherClient(
            self.identity.files, self.identity.worker, self.runs_ended, on_death=self._launcher_died
        )

    def _launcher_died(self) -> None:
        self.stopping.set()
        self.observer.launcher_died()

    def deliver(self, delivery_id: int) -> Settled | None:
        """Run a delivery if it can be claimed, and what its lane has next. None: nothing, or nobody knows how it ended.

        Returns how the last one was settled.
        """
        hand_off = HandOff()
        try:
            following: NextStep = self._claim(delivery_id, hand_off)
            while following is not None:
                match following:
                    case Claim():
                        following = self._run(following, hand_off)
                    case Report():
                        following = self._settle_when_possible(following, hand_off)
                    case NotClaimed():
                        self._not_claimed(following)
                        break
        except LauncherGone:
            logger.critical(
                "the launcher is gone; this worker stops", extra=fields_of(hand_off.claim) if hand_off.claim else {}
            )
            self.stopping.set()
            return None
        finally:
            self.hand_offs.let_go(hand_off)
        return hand_off.settled

    def _claim(self, delivery_id: int, hand_off: HandOff) -> Claim | NotClaimed:
        try:
            return self.db.write(lambda tx: self.hand_offs.claim(tx, hand_off, claims.this(delivery_id)))
        except LedgerError as error:  # full or locked: this wake-up is used up, and the next sweep makes another
            self.wake_ups.overlooked.set()
            return NotClaimed(str(error), delivery_id)

    def _not_claimed(self, refusal: NotClaimed) -> None:
        logger.debug("delivery %d not claimed: %s", refusal.delivery, refusal.why)
        if refusal.expired is not None:
            agent, transport, message_id = refusal.expired
            fields = {"agent": agent, "message_id": message_id, "transport": transport, "delivery": refusal.delivery}
            logger.error("expired: too old when its turn came", extra={**fields, "state": str(State.DEAD)})
            self.observer.expired(agent, transport, message_id)
        if refusal.finished and refusal.message is not None:
            self.wake_ups.finalize(refusal.message)
        if refusal.wake and refusal.lane is not None:
            # Throttled or expired. Without an order somebody else of the lane may be due; with one it is scheduled.
            lane = refusal.lane
            self.wake_ups.send(self.db.write(lambda tx: self.wake_ups.mark(tx, [lane])))

    def _run(self, claim: Claim, hand_off: HandOff) -> NextStep:
        """Have a claim run; what there is to do once the thread is needed again."""
        asked = self._begin(claim, hand_off)
        if isinstance(asked, Report):
            return asked
        self.launcher.ask([asked])
        return hand_off.sleep()

    def _begin(self, claim: Claim, hand_off: HandOff) -> Request | Report:
        """What to ask the launcher for; or how the attempt ended without it."""
        hand_off.claim = claim
        step("claimed")
        transport, _, command, config_path = _claimed_under(hand_off)
        if transport.reply_hint:
            claim = hinted(claim, config_path)
        if logger.isEnabledFor(logging.INFO):
            key = key_of(claim) + (f" and {len(claim.together) - 1} more" if claim.together else "")
            logger.info("attempt %d of %s by %s starts", claim.attempt, key, claim.transport, extra=fields_of(claim))
        self.observer.started(claim.agent, claim.transport, claim.attempt, self.clock() - claim.received_at)
        try:
            prepared = command.prepare(envelope_of(claim), self._message_file(claim, transport))
        except CommandMissing as error:
            ending = Ending("spawn_error", errno.ENOENT, str(error))
        except (CannotRun, CommandNotAllowed) as error:
            ending = Ending("refused", detail=str(error))
        except OSError as error:  # the message file cannot be written: nothing has run
            ending = Ending("not_started", error.errno or errno.EIO, os.strerror(error.errno or errno.EIO))
        else:
            step("prepared")
            return Request(claim.attempt_id, prepared, transport.timeout, hand_off.start_by)
        return Report(claim.delivery, claim.attempt_id, ending, "", transport)

    def _message_file(self, claim: Claim, transport: TransportSettings) -> Path | None:
        if not transport.wants_message_file:
            return None
        path = path_of(self.identity.files, claim.attempt_id, MESSAGE_SUFFIX)  # removed with the attempt's other files
        write_message_file(path, text_of(claim))
        return path

    def runs_ended(self, ended: Sequence[RunEnded]) -> None:
        """Settle what has ended and go on with its lanes; the launcher's reader calls this, and it never raises."""
        reports = [found for found in map(self._report, ended) if found is not None]
        if not reports:
            return
        try:
            results = self._write(reports)
        except Exception:  # noqa: BLE001 - the ledger's, or a defect: each thread meets it again, and has time for it
            for hand_off, report in reports:
                hand_off.wake(report)
            return
        requests: list[tuple[HandOff, Request]] = []
        awake: list[tuple[HandOff, NextStep | Exception]] = []
        began = False
        for (hand_off, report), written in zip(reports, results, strict=True):
            asked = self._follow(hand_off, report, written)
            if not isinstance(asked, Request):
                awake.append((hand_off, asked))
                continue
            requests.append((hand_off, asked))
            if not began:  # the launcher begins with this one, while we see to the others
                began = True
                awake += self._ask(requests)
                requests = []
        awake += self._ask(requests)
        for (_, report), written in zip(reports, results, strict=True):
            if isinstance(written, Written):
                self.endings.follow_up(report, written)
        for hand_off, following in awake:  # last: their threads may count on all that was owed
            hand_off.wake(following)

    def _write(self, reports: Sequence[tuple[HandOff, Report]]) -> Sequence[Written | BaseException]:
        """Settle them all in one commit. Where one of them fails the others do not."""
        together = [(report, hand_off) for hand_off, report in reports]
        try:
            return self.db.write(lambda tx: self.endings.write_all(tx, together))
        except (LedgerBusyError, LedgerFullError, LedgerReadOnlyError):
            raise
        except Exception:
            if len(reports) == 1:
                raise
        return self.db.write_all(
            [functools.partial(self.endings.write, report=report, hand_off=hand_off) for report, hand_off in together]
        )

    def _ask(self, requests: Sequence[tuple[HandOff, Request]]) -> list[tuple[HandOff, LauncherGone]]:
        """Ask the launcher; if it is gone, whose threads are to be told why."""
        if not requests:
            return []
        try:
            self.launcher.ask([request for _, request in requests])
        except LauncherGone as error:
            return [(hand_off, error) for hand_off, _ in requests]
        return []

    def _follow(
        self, hand_off: HandOff, report: Report, written: Written | BaseException
    ) -> Request | NextStep | Exception:
        """What follows a settle: a request for the launcher, or something for the thread that handed it off."""
        if not isinstance(written, Written):
            return report
        try:
            following = self._settled(report, written, hand_off)
            return self._begin(following, hand_off) if isinstance(following, Claim) else following
        except Exception as error:  # noqa: BLE001 - raised where it would be without us: in its thread
            return error

    def _report(self, ended: RunEnded) -> tuple[HandOff, Report] | None:
        """Whose attempt it was, and what is to be written down, unless its thread was told why not."""
        hand_off = self.hand_offs.of(ended.attempt_id)
        if hand_off is None or hand_off.claim is None:
            return None
        if ended.outcome is None:
            hand_off.wake(self.launcher.gone())
            return None
        step("ended")
        try:
            output = self.redact(ended.outcome.tail.decode("utf-8", "replace"))
        except Exception as error:  # noqa: BLE001 - as above
            hand_off.wake(error)
            return None
        claim = hand_off.claim
        transport = _claimed_under(hand_off).transport
        return hand_off, Report(claim.delivery, claim.attempt_id, ending_of(ended.outcome), output, transport)

    def _settled(self, report: Report, written: Written, hand_off: HandOff) -> Claim | NotClaimed | None:
        hand_off.settled = written.settled
        self.hand_offs.drop(hand_off, report.attempt_id)
        self.endings.announce(report, written)
        return written.following

    def _settle_when_possible(self, report: Report, hand_off: HandOff) -> NextStep:
        """Settle; while the ledger cannot be written, again and again: what this thread knows must not be forgotten.

        The lane would not move anyway, and a stop ends the wait: then the receipt tells the next worker.
        """
        while True:
            try:
                written = self.db.write(lambda tx: self.endings.write(tx, report, hand_off))
            except LedgerError as error:
                if self.stopping.is_set():
                    hand_off.settled = None
                    return None
                level = level_of(error)
                logger.log(level, "delivery %d has ended and cannot be settled yet: %s", report.delivery, error)
                self.stopping.wait(SETTLE_AGAIN_SECONDS)
            else:
                following = self._settled(report, written, hand_off)
                self.endings.follow_up(report, written)
                return following


def _claimed_under(hand_off: HandOff) -> LaneConfig:
    """What the settings said that a claim was made under; they may not be in force any more."""
    assert hand_off.config is not None  # noqa: S101 - a claim sets it
    return hand_off.config


def ending_of(outcome: RunResult) -> Ending:
    """The rules' word for what the launcher saw."""
    if outcome.kind == "too_late":
        return Ending(
            "not_started", detail=f"it stood still, or was too busy, for {claims.START_SECONDS:g} s after the claim"
        )
    detail = os.strerror(outcome.code) if outcome.kind in {"spawn_error", "not_started"} else ""
    return Ending(outcome.kind, outcome.code, detail)


def fields_of(claim: Claim) -> dict[str, object]:
    """The ids that every log line about this delivery carries."""
    return {
        "agent": claim.agent,
        "stream": claim.stream,
        "message_id": claim.message_id,
        "transport": claim.transport,
        "delivery": claim.delivery,
        "attempt": claim.attempt,
    }
