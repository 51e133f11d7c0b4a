"""The end of a message: once all of its deliveries are final it is closed, and the log says so."""

import logging

from worker.delivery import MessageState
from worker.fault_steps import step
from worker.ledger import claims, report
from worker.ledger.port import Ledger

logger = logging.getLogger("bus_watch.deliver")


def finalize(db: Ledger, message: int, now: float) -> MessageState | None:
    """Close the message if that is not done yet, and do what is owed once: say so in the log.

    Idempotent: a settle has usually closed it already, in its own transaction; the sweep calls this again for
    messages whose finalizer was lost.
    """
    row = db.read(lambda reader: report.outcome(reader, message))
    if row is not None and row["state"] == MessageState.OPEN:
        db.write(lambda tx: claims.finish(tx, message, now))
        row = db.read(lambda reader: report.outcome(reader, message))
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
