"""Waiting for what becomes of a message: `wait`, and `send --wait`."""

import time
from collections.abc import Callable
from typing import NamedTuple

from worker import notices as words
from worker.ledger import outbox, outcomes, report
from worker.ledger.operate import find_message
from worker.ledger.port import Ledger, Row
from worker.outgoing import PENDING, Kind, Sending, number_of

LOOK_SECONDS = 0.05
NOT_YET = 75
OTHERWISE = 1

OF_INCOMING = ("over", "delivered", "failed", "logged", "submitted")
OF_SENT = ("over", "sent", "submitted", "answered")


class Waited(NamedTuple):
    """`status`: 0 it is so, 75 not yet, 1 it ended otherwise; the state; the answer, where one was wanted."""

    status: int
    state: str
    answer: Row | None = None


def until(look: Callable[[], Waited | None], seconds: float | None) -> Waited:
    """Look until there is something to say, for so long; None: as long as it takes."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        if (found := look()) is not None:
            return found
        if deadline is not None and time.monotonic() > deadline:
            return Waited(NOT_YET, "")
        time.sleep(LOOK_SECONDS)


def for_key(database: Ledger, key: str, wanted: str, seconds: float | None) -> Waited:
    """Wait for a message by its key. NoSuchMessageError."""
    number = number_of(key)
    if number is None:
        row = database.read(lambda db: find_message(db, key))
        return until(lambda: _incoming(database, row, "delivered" if wanted == "submitted" else wanted), seconds)
    return for_sent(database, number, wanted, seconds)


def _incoming(database: Ledger, row: int, wanted: str) -> Waited | None:
    state = str(database.read(lambda db: report.message(db, row))["state"])
    if state == "open":
        return None
    return Waited(0 if wanted in {"over", state} else OTHERWISE, state)


def for_sent(database: Ledger, number: int, wanted: str, seconds: float | None) -> Waited:
    """Wait for a message that we sent."""
    began = time.monotonic()
    found = until(lambda: _sent(database, number), seconds)
    if found.status or wanted in {"over", "sent"}:
        return found
    row = database.read(lambda db: outbox.find(db, number))
    left = None if seconds is None else max(0.0, seconds - (time.monotonic() - began))
    if wanted == "answered":
        return until(lambda: _answered(database, row), left)
    if not database.read(lambda db: outcomes.is_watched_here(db, row["recipient"])):
        _ask_for_receipt(database, row)
    return until(lambda: _submitted(database, number), left)


def _sent(database: Ledger, number: int) -> Waited | None:
    state = str(database.read(lambda db: outbox.find(db, number))["state"])
    if state in PENDING:
        return None
    return Waited(0 if state == Sending.SENT else OTHERWISE, state)


def _submitted(database: Ledger, number: int) -> Waited | None:
    """What the recipient's worker says; it is in this ledger where that worker is ours."""
    row = database.read(lambda db: outbox.find(db, number))
    state = row["outcome"]
    if state is None and (ours := database.read(lambda db: outcomes.lies_here(db, row))) is not None:
        state = ours["state"]
    if state in {None, "open", "stuck"}:
        return None
    reached = state in {"submitted", "delivered"}
    return Waited(0 if reached else OTHERWISE, "submitted" if reached else str(state))


def _answered(database: Ledger, row: Row) -> Waited | None:
    answer = database.read(lambda db: outcomes.answer_to(db, row))
    if answer is not None:
        return Waited(0, "answered", answer)
    outcome = database.read(lambda db: outbox.find(db, row["id"]))["outcome"]
    return Waited(OTHERWISE, str(outcome)) if outcome in {"dead", "expired", "dropped"} else None


def _ask_for_receipt(database: Ledger, row: Row) -> None:
    text = words.wish(row["agent"], row["recipient"], row["stream"], row["message_id"])
    database.write(
        lambda tx: outbox.put(
            tx, row["agent"], row["recipient"], text, kind=Kind.RECEIPT, now=time.time(), message_class="terminal-log"
        )
    )
