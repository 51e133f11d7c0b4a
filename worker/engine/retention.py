"""Retention: what was over long ago is cleared, then forgotten, and its pages go back to the disk."""

from dataclasses import dataclass

from worker.ledger import events, forgetting, outbox, upkeep
from worker.ledger.port import Ledger
from worker.settings import Settings

WORKER_ROWS_SECONDS = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Retained:
    """What one round did; `more`: the next one has something to do."""

    forgotten: int
    more: bool


def retain(db: Ledger, settings: Settings, now: float) -> Retained:
    """Clear the text of old messages that are over, then forget the oldest ones; give freed pages back to the disk.

    Delivered messages have a retention of their own, and so have those that failed: dead, or dropped by a person. A
    bounded number of rows a round.
    """
    db.write(lambda tx: forgetting.lower_floors(tx, now, now - settings.forget_after))
    rounds = [db.write(lambda tx: forgetting.forget_skipped(tx, now - settings.forget_after))]
    forgotten = 0
    for failed, forget_after in ((False, settings.forget_after), (True, settings.forget_dead_after)):
        clear_after = min(settings.clear_text_after, forget_after)  # what is forgotten is cleared first
        rounds.append(_clear(db, now - clear_after, failed=failed))
        rounds.append(_forget(db, now - forget_after, failed=failed))
        forgotten += rounds[-1]
        rounds.append(_clear_sent(db, now - clear_after))
        rounds.append(_forget_sent(db, now - forget_after, failed=failed))
    rounds.append(db.write(lambda tx: events.forget(tx, upkeep.ROUND)))
    db.write(lambda tx: upkeep.forget_workers(tx, now - WORKER_ROWS_SECONDS))
    return Retained(forgotten, more=db.return_pages() > 0 or upkeep.ROUND in rounds)


def _clear(db: Ledger, before: float, *, failed: bool) -> int:
    return db.write(lambda tx: forgetting.clear_text(tx, before, failed=failed))


def _forget(db: Ledger, before: float, *, failed: bool) -> int:
    return db.write(lambda tx: forgetting.forget_messages(tx, before, failed=failed))


def _clear_sent(db: Ledger, before: float) -> int:
    return db.write(lambda tx: outbox.clear_text(tx, before, upkeep.ROUND))


def _forget_sent(db: Ledger, before: float, *, failed: bool) -> int:
    return db.write(lambda tx: outbox.forget(tx, before, upkeep.ROUND, failed=failed))
