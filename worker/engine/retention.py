"""Retention: what was delivered long ago is cleared, then forgotten, and its pages go back to the disk."""

from dataclasses import dataclass

from worker.ledger import upkeep
from worker.ledger.database import Database
from worker.settings import Settings

WORKER_ROWS_SECONDS = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Retained:
    """What one round did; `more`: the next one has something to do."""

    forgotten: int
    more: bool


def retain(db: Database, settings: Settings, now: float) -> Retained:
    """Clear the text of old delivered messages, then forget the oldest ones; give freed pages back to the disk.

    A bounded number of rows a round.
    """
    clear_after = min(settings.clear_text_after, settings.forget_after)  # what is forgotten is cleared first
    cleared = db.write(lambda tx: upkeep.clear_text(tx, now - clear_after))
    forgotten = db.write(lambda tx: upkeep.forget_messages(tx, now - settings.forget_after))
    db.write(lambda tx: upkeep.forget_workers(tx, now - WORKER_ROWS_SECONDS))
    pages = db.write(upkeep.return_pages)
    return Retained(forgotten, more=upkeep.ROUND in {cleared, forgotten} or pages > 0)
