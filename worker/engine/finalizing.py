"""The end of messages: once all of its deliveries are final a message is closed, and the log says so."""

import logging
from collections.abc import Sequence

from worker.delivery import MessageState
from worker.fault_steps import step
from worker.ledger import message_report, settling
from worker.ledger.port import Ledger

logger = logging.getLogger("bus_watch.deliver")


def finalize(db: Ledger, messages: Sequence[int], now: float) -> list[MessageState]:
    """Close those messages that are not closed yet, and do what is owed once: say so in the log.

    Returns what each of them is now, without those that are forgotten. Idempotent: a settle has usually closed a
    message already, in its own transaction; the sweep calls this again for messages whose finalizer was lost.
    """
    found = db.read(lambda reader: message_report.outcomes(reader, messages))
    if still_open := [row["id"] for row in found if row["state"] == MessageState.OPEN]:
        db.write(lambda tx: [settling.finish(tx, message, now) for message in still_open])
        found = db.read(lambda reader: message_report.outcomes(reader, messages))
    states = [MessageState(row["state"]) for row in found]
    for row, state in zip(found, states, strict=True):
        if state is MessageState.OPEN:
            continue
        step("finalizing")
        if logger.isEnabledFor(logging.INFO):
            logger.info(
                "message %s/%s is %s",
                row["agent"],
                row["message_id"],
                state,
                extra={"agent": row["agent"], "message_id": row["message_id"], "state": str(state)},
            )
    return states
