"""One delivery: claim it, run its transport through the launcher, settle how that ended, wake who is next."""

import errno
import logging
import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from worker.delivery import Ending, MessageState, State, describe, meaning
from worker.engine.context import Engine
from worker.engine.faults import step
from worker.ledger import claims
from worker.ledger.claims import Claim, NotClaimed, Settled, Wake
from worker.ledger.errors import LedgerError
from worker.settings import TransportSettings
from worker.telemetry.observer import Ended
from worker.transports.client import LauncherGone
from worker.transports.command import (
    CannotRun,
    CommandMissing,
    CommandNotAllowed,
    Envelope,
    prepare,
    write_message_file,
)
from worker.transports.receipts import Outcome, path_of, remove_files

logger = logging.getLogger("bus_watch.deliver")

OUTPUT_SHOWN = 200  # characters of a transport's output that go into a reason
SETTLE_AGAIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Next:
    """A lane's next delivery, and whether it could be claimed."""

    delivery: int
    claim: Claim | NotClaimed


class _Turn:
    """A thread's turn at a lane, and the attempts of it that the sweep must leave alone.

    Going on with the lane's next head saves the wake-up its trip through the queue, and the claim its own commit.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._began = time.monotonic()
        self._attempts: set[str] = set()

    def attempt(self) -> str:
        """An id for an attempt; from now on the sweep of this process does not take it for abandoned."""
        attempt_id = claims.new_attempt_id(self._engine.clock())
        self._attempts.add(attempt_id)
        self._engine.held.add(attempt_id)
        return attempt_id

    def may_go_on(self) -> bool:
        """Whether this thread may claim the lane's next head itself."""
        return self._engine.wake.may_go_on(time.monotonic() - self._began)

    def drop(self, attempt_id: str) -> None:
        """This attempt is settled."""
        self._attempts.discard(attempt_id)
        self._engine.held.discard(attempt_id)

    def end(self) -> None:
        """Whatever is not settled now is the sweep's."""
        self._engine.held.difference_update(self._attempts)


def deliver(engine: Engine, delivery_id: int) -> Settled | None:
    """Run a delivery if it can be claimed, and what its lane has next. None: nothing, or nobody knows how it ended.

    Returns how the last one was settled.
    """
    turn = _Turn(engine)
    try:
        settled: Settled | None = None
        following: _Next | None = _Next(delivery_id, _claim(engine, delivery_id, turn.attempt()))
        while following is not None:
            if isinstance(following.claim, NotClaimed):
                _not_claimed(engine, following.delivery, following.claim)
                break
            settled, following = _attempt(engine, following.claim, turn)
        return settled
    finally:
        turn.end()


def _attempt(engine: Engine, claim: Claim, turn: _Turn) -> tuple[Settled | None, _Next | None]:
    """Run what is claimed and settle it."""
    step("claimed")
    transport = engine.settings.transport(claim.agent, claim.transport)
    assert transport is not None  # noqa: S101 - the claim's rules came from it
    logger.info("attempt %d of %s by %s starts", claim.attempt, key_of(claim), claim.transport, extra=fields_of(claim))
    engine.observer.started(claim.agent, claim.transport, claim.attempt, engine.clock() - claim.received_at)
    try:
        ending, output = _run(engine, claim, transport)
    except LauncherGone:
        logger.critical("the launcher is gone; this worker stops", extra=fields_of(claim))
        engine.stopping.set()
        return None, None
    step("ended")
    return _settle_when_possible(engine, claim, ending, output, transport, turn)


def _claim(engine: Engine, delivery_id: int, attempt_id: str) -> Claim | NotClaimed:
    try:
        return engine.db.write(lambda tx: _claim_in(tx, engine, delivery_id, attempt_id))
    except LedgerError as error:  # full or locked: this wake-up is used up, and the next sweep makes another
        engine.overlooked.set()
        return NotClaimed(str(error))


def _claim_in(tx: sqlite3.Connection, engine: Engine, delivery_id: int, attempt_id: str) -> Claim | NotClaimed:
    return claims.claim(
        tx,
        delivery_id,
        attempt_id=attempt_id,
        worker=engine.worker,
        boot_id=engine.boot,
        rules=engine.rules,
        now=engine.clock(),
    )


def _not_claimed(engine: Engine, delivery_id: int, refusal: NotClaimed) -> None:
    logger.debug("delivery %d not claimed: %s", delivery_id, refusal.why)
    if refusal.expired is not None:
        agent, transport, message_id = refusal.expired
        fields = {"agent": agent, "message_id": message_id, "transport": transport, "delivery": delivery_id}
        logger.error("expired: too old when its turn came", extra={**fields, "state": str(State.DEAD)})
        engine.observer.expired(agent, transport, message_id)
    if refusal.finished and refusal.message is not None:
        engine.finalize_later(refusal.message)
    if refusal.wake and refusal.lane is not None:
        # Throttled or expired. Without an order somebody else of the lane may be due; with one it is scheduled.
        lane = refusal.lane
        engine.hand_on(engine.db.write(lambda tx: engine.wake_lanes(tx, [lane])))


def _run(engine: Engine, claim: Claim, transport: TransportSettings) -> tuple[Ending, str]:
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
        return Ending("spawn_error", errno.ENOENT, str(error)), ""
    except (CannotRun, CommandNotAllowed) as error:
        return Ending("refused", detail=str(error)), ""
    except OSError as error:  # the message file cannot be written: nothing has run
        return Ending("not_started", error.errno or errno.EIO, os.strerror(error.errno or errno.EIO)), ""
    step("prepared")
    outcome = engine.launcher.run(claim.attempt_id, prepared, transport.timeout)
    return ending_of(outcome), engine.redact(outcome.tail.decode("utf-8", "replace"))


def _settle_when_possible(
    engine: Engine, claim: Claim, ending: Ending, output: str, transport: TransportSettings, turn: _Turn
) -> tuple[Settled | None, _Next | None]:
    """Settle; while the ledger cannot be written, again and again: what this thread knows must not be forgotten.

    The lane would not move anyway, and a stop ends the wait: then the receipt tells the next worker.
    """
    while True:
        try:
            done = settle_and_go_on(engine, claim.delivery, claim.attempt_id, ending, output, transport, turn)
        except LedgerError as error:
            if engine.stopping.is_set():
                return None, None
            logger.error("delivery %d has ended and cannot be settled yet: %s", claim.delivery, error)  # noqa: TRY400 - the sentence says it all
            engine.stopping.wait(SETTLE_AGAIN_SECONDS)
        else:
            turn.drop(claim.attempt_id)
            return done


def _message_file(engine: Engine, claim: Claim, transport: TransportSettings) -> Path | None:
    if not any("message_file" in template.fields for template in transport.templates):
        return None
    path = path_of(engine.files, claim.attempt_id, ".message")  # removed with the attempt's other files
    write_message_file(path, claim.text)
    return path


def ending_of(outcome: Outcome) -> Ending:
    """The rules' word for what the launcher saw."""
    detail = os.strerror(outcome.code) if outcome.kind in {"spawn_error", "not_started"} else ""
    return Ending(outcome.kind, outcome.code, detail)


def settle(
    engine: Engine, delivery: int, attempt_id: str, ending: Ending, output: str, transport: TransportSettings
) -> Settled | None:
    """Write down the ending, then wake the lane's next head, then remove the files: in this order."""
    return settle_and_go_on(engine, delivery, attempt_id, ending, output, transport, None)[0]


def settle_and_go_on(
    engine: Engine,
    delivery: int,
    attempt_id: str,
    ending: Ending,
    output: str,
    transport: TransportSettings,
    turn: _Turn | None,
) -> tuple[Settled | None, _Next | None]:
    """Settle; and where the turn may go on, claim the lane's next head in the same transaction instead of waking it."""
    shown = _with_output(ending, output)

    def operation(tx: sqlite3.Connection) -> tuple[Settled | None, list[Wake], _Next | None]:
        settled = claims.settle(
            tx,
            delivery,
            attempt_id,
            shown,
            transport.retry_policy,
            now=engine.clock(),
            rng=engine.rng,
            output=output,
        )
        if settled is None:
            return None, [], None
        wakes = engine.wake_lanes(tx, [settled.lane])
        if turn is None or not wakes or wakes[0].at is not None or not turn.may_go_on():
            return settled, wakes, None
        head = wakes[0].delivery
        return settled, [], _Next(head, _claim_in(tx, engine, head, turn.attempt()))

    settled, wakes, following = engine.db.write(operation)
    step("settled")
    engine.hand_on(wakes)
    if settled is None:
        return None, None
    if settled.finished:
        engine.finalize_later(settled.message)
    step("before_unlink")
    if ending.kind != "void":  # a void note must outlive the launcher that may still come to it: the sweep removes it
        remove_files(engine.files, attempt_id)
    step("unlinked")
    _log(settled, ending, delivery, transport.name)
    engine.observer.ended(
        Ended(
            agent=settled.agent,
            transport=transport.name,
            message_id=settled.message_id,
            delivery=delivery,
            attempt=settled.attempt,
            meaning=meaning(ending, transport.retry_policy),
            cause=describe(ending),
            state=settled.state,
            began_failing=settled.began_failing,
        )
    )
    return settled, following


def _with_output(ending: Ending, output: str) -> Ending:
    """A failure's reason says what the transport said last: `exit 1: can't find pane`."""
    last = next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "")
    if not last or ending.detail or (ending.kind == "exit" and ending.code == 0):
        return ending
    return Ending(ending.kind, ending.code, "".join(c if c.isprintable() else "?" for c in last)[:OUTPUT_SHOWN])


def _log(settled: Settled, ending: Ending, delivery: int, transport: str) -> None:
    """How it ended; what the transport said about it may quote the message, and is told at DEBUG only."""
    level = {State.SUCCEEDED: logging.INFO, State.DEAD: logging.ERROR}.get(settled.state, logging.WARNING)
    fields = {
        "agent": settled.agent,
        "message_id": settled.message_id,
        "transport": transport,
        "delivery": delivery,
        "attempt": settled.attempt,
        "state": str(settled.state),
    }
    logger.log(
        level, "attempt %d by %s: %s, so %s", settled.attempt, transport, describe(ending), settled.state, extra=fields
    )
    if settled.reason:
        logger.debug("reason: %s", settled.reason, extra=fields)


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


def finalize(engine: Engine, message: int) -> MessageState | None:
    """Close the message if that is not done yet, and do what is owed once: say so in the log.

    Idempotent: a settle has usually closed it already, in its own transaction; the sweep calls this again for
    messages whose finalizer was lost.
    """
    row = engine.db.read(lambda db: db.execute(_MESSAGE, (message,)).fetchone())
    if row is None:
        return None
    if row["state"] == MessageState.OPEN:
        engine.db.write(lambda tx: claims.finish(tx, message, engine.clock()))
        row = engine.db.read(lambda db: db.execute(_MESSAGE, (message,)).fetchone())
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


_MESSAGE = "select agent, message_id, state from messages where id = ?"
