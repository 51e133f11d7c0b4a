"""One delivery: claim it, run its transport through the launcher, settle how that ended, go on with its lane.

A thread claims and asks the launcher. From then on the launcher's reader works for all threads at once (`go_on`):
what has ended is settled in one commit, which claims each lane's next head too, and the launcher is asked for all of
those in one go. The threads sleep meanwhile: waking one for each ending costs more than settling it. What is not
plain - the ledger cannot be written, a command is missing - is handed to the thread, which has time.
"""

import errno
import functools
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from worker.delivery import Ending, State
from worker.engine.context import Engine
from worker.engine.endings import Done, claim_in, clear, settle_in, tell
from worker.engine.hand_off import HandOff, NextStep, Report
from worker.fault_steps import step
from worker.ledger import claims
from worker.ledger.claims import Claim, NotClaimed, Settled
from worker.ledger.errors import LedgerError
from worker.settings import TransportSettings
from worker.transports.client import LauncherGone, Request, RunEnded
from worker.transports.command import (
    CannotRun,
    CommandMissing,
    CommandNotAllowed,
    Envelope,
    prepare,
    write_message_file,
)
from worker.transports.receipts import MESSAGE_SUFFIX, RunResult, path_of

logger = logging.getLogger("bus_watch.deliver")

SETTLE_AGAIN_SECONDS = 2.0


def deliver(engine: Engine, delivery_id: int) -> Settled | None:
    """Run a delivery if it can be claimed, and what its lane has next. None: nothing, or nobody knows how it ended.

    Returns how the last one was settled.
    """
    hand_off = HandOff()
    try:
        following: NextStep = _claim(engine, delivery_id, hand_off)
        while following is not None:
            match following:
                case Claim():
                    following = _run(engine, following, hand_off)
                case Report():
                    following = _settle_when_possible(engine, following, hand_off)
                case NotClaimed():
                    _not_claimed(engine, following)
                    break
    except LauncherGone:
        logger.critical(
            "the launcher is gone; this worker stops", extra=fields_of(hand_off.claim) if hand_off.claim else {}
        )
        engine.stopping.set()
        return None
    finally:
        engine.let_go(hand_off)
    return hand_off.settled


def _claim(engine: Engine, delivery_id: int, hand_off: HandOff) -> Claim | NotClaimed:
    attempt_id = engine.new_attempt(hand_off)
    try:
        return engine.db.write(lambda tx: claim_in(tx, engine, claims.this(delivery_id), attempt_id))
    except LedgerError as error:  # full or locked: this wake-up is used up, and the next sweep makes another
        engine.overlooked.set()
        return NotClaimed(str(error), delivery_id)


def _not_claimed(engine: Engine, refusal: NotClaimed) -> None:
    logger.debug("delivery %d not claimed: %s", refusal.delivery, refusal.why)
    if refusal.expired is not None:
        agent, transport, message_id = refusal.expired
        fields = {"agent": agent, "message_id": message_id, "transport": transport, "delivery": refusal.delivery}
        logger.error("expired: too old when its turn came", extra={**fields, "state": str(State.DEAD)})
        engine.observer.expired(agent, transport, message_id)
    if refusal.finished and refusal.message is not None:
        engine.finalize_later(refusal.message)
    if refusal.wake and refusal.lane is not None:
        # Throttled or expired. Without an order somebody else of the lane may be due; with one it is scheduled.
        lane = refusal.lane
        engine.hand_on(engine.db.write(lambda tx: engine.wake_lanes(tx, [lane])))


def _run(engine: Engine, claim: Claim, hand_off: HandOff) -> NextStep:
    """Have a claim run; what there is to do once the thread is needed again."""
    asked = _begin(engine, claim, hand_off)
    if isinstance(asked, Report):
        return asked
    engine.launcher.ask([asked])
    return hand_off.sleep()


def _begin(engine: Engine, claim: Claim, hand_off: HandOff) -> Request | Report:
    """What to ask the launcher for; or how the attempt ended without it."""
    hand_off.claim = claim
    step("claimed")
    transport = _transport_of(engine, claim)
    logger.info("attempt %d of %s by %s starts", claim.attempt, key_of(claim), claim.transport, extra=fields_of(claim))
    engine.observer.started(claim.agent, claim.transport, claim.attempt, engine.clock() - claim.received_at)
    envelope = Envelope(
        agent=claim.agent,
        project=claim.project or "",
        stream=claim.stream,
        message_id=claim.message_id,
        source=claim.source,
        text=claim.text,
        message_class=claim.message_class or "",
        timestamp=claim.sent_at or "",
        key=key_of(claim),
        attempt=claim.attempt,
    )
    try:
        prepared = prepare(
            transport.templates,
            envelope,
            allowlist=engine.settings.allowlist,
            extra_env=transport.env,
            stdin=transport.stdin,
            message_file=_message_file(engine, claim, transport),
        )
    except CommandMissing as error:
        ending = Ending("spawn_error", errno.ENOENT, str(error))
    except (CannotRun, CommandNotAllowed) as error:
        ending = Ending("refused", detail=str(error))
    except OSError as error:  # the message file cannot be written: nothing has run
        ending = Ending("not_started", error.errno or errno.EIO, os.strerror(error.errno or errno.EIO))
    else:
        step("prepared")
        return Request(claim.attempt_id, prepared, transport.timeout)
    return Report(claim.delivery, claim.attempt_id, ending, "", transport)


def _transport_of(engine: Engine, claim: Claim) -> TransportSettings:
    transport = engine.settings.transport(claim.agent, claim.transport)
    assert transport is not None  # noqa: S101 - the claim's rules came from it
    return transport


def _message_file(engine: Engine, claim: Claim, transport: TransportSettings) -> Path | None:
    if not transport.wants_message_file:
        return None
    path = path_of(engine.files, claim.attempt_id, MESSAGE_SUFFIX)  # removed with the attempt's other files
    write_message_file(path, claim.text)
    return path


def go_on(engine: Engine, told: Sequence[RunEnded]) -> None:
    """Settle what has ended and go on with its lanes; the launcher's reader calls this, and it never raises."""
    reports = [
        (hand_off, report) for hand_off, report in map(functools.partial(_report, engine), told) if hand_off and report
    ]
    if not reports:
        return
    try:
        results = engine.db.write_all(
            [
                functools.partial(settle_in, engine=engine, report=report, hand_off=hand_off)
                for hand_off, report in reports
            ]
        )
    except Exception:  # noqa: BLE001 - the ledger's, or a defect: each thread meets it again, and has time for it
        for hand_off, report in reports:
            hand_off.wake(report)
        return
    requests: list[Request] = []
    awake: list[tuple[HandOff, NextStep | Exception]] = []
    for (hand_off, report), done in zip(reports, results, strict=True):
        asked = _follow(engine, hand_off, report, done)
        if isinstance(asked, Request):
            requests.append(asked)
        else:
            awake.append((hand_off, asked))
    try:
        engine.launcher.ask(requests)
    except LauncherGone as error:
        awake += [(engine.held[request.attempt_id], error) for request in requests]
    for (_, report), done in zip(reports, results, strict=True):
        if isinstance(done, Done):
            clear(engine, report, done)
    for hand_off, following in awake:  # last: their threads may count on all that was owed
        hand_off.wake(following)


def _follow(
    engine: Engine, hand_off: HandOff, report: Report, done: Done | BaseException
) -> Request | NextStep | Exception:
    """What follows a settle: a request for the launcher, or something for the thread that handed it off."""
    if not isinstance(done, Done):
        return report
    try:
        following = _settled(engine, report, done, hand_off)
        return _begin(engine, following, hand_off) if isinstance(following, Claim) else following
    except Exception as error:  # noqa: BLE001 - raised where it would be without us: in its thread
        return error


def _report(engine: Engine, told: RunEnded) -> tuple[HandOff | None, Report | None]:
    """Whose attempt it was, and what is to be written down, unless its thread was told why not."""
    hand_off = engine.held.get(told.attempt_id)
    if hand_off is None or hand_off.claim is None:
        return None, None
    if told.outcome is None:
        hand_off.wake(engine.launcher.gone())
        return None, None
    step("ended")
    try:
        output = engine.redact(told.outcome.tail.decode("utf-8", "replace"))
    except Exception as error:  # noqa: BLE001 - as above
        hand_off.wake(error)
        return None, None
    claim = hand_off.claim
    return hand_off, Report(
        claim.delivery, claim.attempt_id, ending_of(told.outcome), output, _transport_of(engine, claim)
    )


def _settled(engine: Engine, report: Report, done: Done, hand_off: HandOff) -> Claim | NotClaimed | None:
    hand_off.settled = done.settled
    engine.drop(hand_off, report.attempt_id)
    tell(engine, report, done)
    return done.following


def _settle_when_possible(engine: Engine, report: Report, hand_off: HandOff) -> NextStep:
    """Settle; while the ledger cannot be written, again and again: what this thread knows must not be forgotten.

    The lane would not move anyway, and a stop ends the wait: then the receipt tells the next worker.
    """
    while True:
        try:
            done = engine.db.write(lambda tx: settle_in(tx, engine, report, hand_off))
        except LedgerError as error:
            if engine.stopping.is_set():
                hand_off.settled = None
                return None
            logger.error("delivery %d has ended and cannot be settled yet: %s", report.delivery, error)  # noqa: TRY400 - the sentence says it all
            engine.stopping.wait(SETTLE_AGAIN_SECONDS)
        else:
            following = _settled(engine, report, done, hand_off)
            clear(engine, report, done)
            return following


def ending_of(outcome: RunResult) -> Ending:
    """The rules' word for what the launcher saw."""
    detail = os.strerror(outcome.code) if outcome.kind in {"spawn_error", "not_started"} else ""
    return Ending(outcome.kind, outcome.code, detail)


def key_of(claim: Claim) -> str:
    """The message's key, for people and for SOS_MESSAGE_KEY."""
    return f"{claim.agent}/{claim.stream}/{claim.message_id}"


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
