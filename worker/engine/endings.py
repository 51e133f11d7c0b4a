"""The end of an attempt: written down, then who is next is woken, then its files are removed, in this order."""

import logging
import sqlite3
import time
from typing import NamedTuple

from worker.delivery import Ending, MessageState, State, describe, meaning
from worker.engine.context import Engine
from worker.engine.hand_off import HandOff, Report
from worker.fault_steps import step
from worker.ledger import claims
from worker.ledger import report as ledger_report
from worker.ledger.claims import Claim, NotClaimed, Settled
from worker.ledger.lanes import Wake
from worker.telemetry.observer import Ended
from worker.transports.receipt_format import RECEIPT_SUFFIX
from worker.transports.receipts import MESSAGE_SUFFIX, remove_files

logger = logging.getLogger("bus_watch.deliver")

OUTPUT_SHOWN = 200  # characters of a transport's output that go into a reason


class Done(NamedTuple):
    """What a settle's transaction did. `settled` is None where somebody else had settled it."""

    settled: Settled | None
    wakes: list[Wake]
    following: Claim | NotClaimed | None = None


def settle(engine: Engine, report: Report) -> Settled | None:
    """Settle an attempt, and wake its lane."""
    done = engine.db.write(lambda tx: settle_in(tx, engine, report))
    tell(engine, report, done)
    clear(engine, report, done)
    return done.settled


def settle_in(tx: sqlite3.Connection, engine: Engine, report: Report, hand_off: HandOff | None = None) -> Done:
    """Write down how an attempt ended; and where its hand-off may go on, claim the lane's next head at once.

    That saves the wake-up its trip through the queue, and the claim its own commit.
    """
    settled = claims.settle(
        tx,
        report.delivery,
        report.attempt_id,
        _with_output(report.ending, report.output),
        report.transport.retry_policy,
        now=engine.clock(),
        rng=engine.rng,
        output=report.output,
    )
    if settled is None:
        return Done(None, [])
    if hand_off is not None and engine.wake.may_go_on(time.monotonic() - hand_off.began):
        following = claim_in(tx, engine, claims.head_of(settled.lane), engine.new_attempt(hand_off))
        if isinstance(following, Claim) or following.wake:
            return Done(settled, [], following)
    return Done(settled, engine.wake_lanes(tx, [settled.lane]))


def claim_in(tx: sqlite3.Connection, engine: Engine, which: claims.Which, attempt_id: str) -> Claim | NotClaimed:
    """Claim a delivery for this worker, or say why not."""
    return claims.claim(
        tx,
        which,
        attempt_id=attempt_id,
        worker=engine.worker,
        boot_id=engine.boot,
        settings=engine.lane_settings,
        now=engine.clock(),
    )


def tell(engine: Engine, report: Report, done: Done) -> None:
    """Say how it ended, to the log and to whoever observes."""
    step("settled")
    settled = done.settled
    if settled is None:
        return
    _log(settled, report)
    engine.observer.ended(
        Ended(
            agent=settled.agent,
            transport=report.transport.name,
            message_id=settled.message_id,
            delivery=report.delivery,
            attempt=settled.attempt,
            meaning=meaning(report.ending, report.transport.retry_policy),
            cause=describe(report.ending),
            state=settled.state,
            began_failing=settled.began_failing,
        )
    )


def clear(engine: Engine, report: Report, done: Done) -> None:
    """What a settle owes besides: wake-ups, the finalizer, the attempt's files. What fails here the sweep does."""
    engine.hand_on(done.wakes)
    if done.settled is None:
        return
    if done.settled.finished:
        engine.finalize_later(done.settled.message)
    step("before_unlink")
    if report.ending.kind != "void":  # a void note must outlive the launcher that may still come to it: see the sweep
        left = (MESSAGE_SUFFIX, RECEIPT_SUFFIX) if report.transport.wants_message_file else (RECEIPT_SUFFIX,)
        try:
            remove_files(engine.files, report.attempt_id, left)
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
        "delivery": report.delivery,
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


def finalize(engine: Engine, message: int) -> MessageState | None:
    """Close the message if that is not done yet, and do what is owed once: say so in the log.

    Idempotent: a settle has usually closed it already, in its own transaction; the sweep calls this again for
    messages whose finalizer was lost.
    """
    row = engine.db.read(lambda db: ledger_report.outcome(db, message))
    if row is not None and row["state"] == MessageState.OPEN:
        engine.db.write(lambda tx: claims.finish(tx, message, engine.clock()))
        row = engine.db.read(lambda db: ledger_report.outcome(db, message))
    if row is None:
        return None
    state = MessageState(row["state"])
    if state is not MessageState.OPEN:
        step("finalizing")
        logger.info(
            "message %s/%s is %s",
            row["agent"],
            row["message_id"],
            state,
            extra={"agent": row["agent"], "message_id": row["message_id"], "state": str(state)},
        )
    return state
