"""Waiting for what becomes of a message: `wait`, and `send --wait`."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from worker import notices as words
from worker.classes import LOGGED_CLASS
from worker.cli import sending
from worker.ledger import outbox, outcomes
from worker.ledger.operate import find_message
from worker.ledger.port import Ledger, Row
from worker.outgoing import PENDING, Kind, Sending, key_of, number_of

if TYPE_CHECKING:
    from worker.cli.sending import Desk

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


def for_key(desk: "Desk", key: str, wanted: str, seconds: float | None) -> Waited:
    """Wait for a message by its key. NoSuchMessageError."""
    number = number_of(key)
    with desk.opened() as database:
        if number is not None:
            return for_sent(desk, database, number, wanted, seconds)
        row = database.read(lambda db: find_message(db, key))
        return until(lambda: _incoming(database, row, "delivered" if wanted == "submitted" else wanted), seconds)


def _incoming(database: Ledger, row: int, wanted: str) -> Waited | None:
    state = database.read(lambda db: outcomes.state_of(db, row)) or "forgotten"  # by retention, or by a person
    if state == "open":
        return None
    return Waited(0 if wanted in {"over", state} else OTHERWISE, state)


def for_sent(desk: "Desk", database: Ledger, number: int, wanted: str, seconds: float | None) -> Waited:
    """Wait for a message that we sent."""
    began = time.monotonic()
    found = until(lambda: _sent(database, number), seconds)
    if found.status or wanted in {"over", "sent"}:
        return found
    row = database.read(lambda db: outbox.find(db, number))
    if wanted == "submitted" and not database.read(lambda db: outcomes.is_watched_here(db, row["recipient"])):
        _ask_for_receipt(desk, database, row)
    look = {"answered": _answered, "submitted": _submitted}[wanted]
    return until(lambda: look(database, row), None if seconds is None else seconds - (time.monotonic() - began))


def _sent(database: Ledger, number: int) -> Waited | None:
    state = str(database.read(lambda db: outbox.find(db, number))["state"])
    if state in PENDING:
        return None
    return Waited(0 if state == Sending.SENT else OTHERWISE, state)


def _submitted(database: Ledger, row: Row) -> Waited | None:
    fate = database.read(lambda db: outcomes.fate(db, row))
    if fate in outcomes.OPEN:
        return None
    return Waited(0 if fate == "submitted" else OTHERWISE, fate)


def _answered(database: Ledger, row: Row) -> Waited | None:
    answer = database.read(lambda db: outcomes.answer_to(db, row))
    if answer is not None:
        return Waited(0, "answered", answer)
    fate = database.read(lambda db: outcomes.fate(db, row))
    return Waited(OTHERWISE, fate) if fate in outcomes.FAILED else None


def _ask_for_receipt(desk: "Desk", database: Ledger, row: Row) -> None:
    """The recipient's worker is asked once, however many wait."""
    if database.read(lambda db: outcomes.is_asked(db, row)):
        return
    text = words.wish(row["agent"], row["recipient"], row["stream"], row["message_id"])
    sending.hand_over(
        desk, database, row["agent"], row["recipient"], text, kind=Kind.RECEIPT, message_class=LOGGED_CLASS,
        answers=key_of(row["id"]), seconds=0.0,
    )  # fmt: skip
