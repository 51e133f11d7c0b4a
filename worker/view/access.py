"""What all views share: the ledger opened for reading, and lanes put together for sentences."""

import contextlib
from collections.abc import Iterator

from worker.ledger import configured, report
from worker.ledger.port import Tx
from worker.settings import Settings
from worker.view.words import LaneContext


@contextlib.contextmanager
def ledger_of(settings: Settings) -> Iterator[Tx]:
    """The ledger of this configuration, read-only: one moment of it, however long the command looks."""
    with configured.reading(settings) as db:
        yield db


def lane_of(db: Tx, settings: Settings, lane: report.LaneReport, workers: frozenset[str]) -> LaneContext:
    """A lane with its running delivery and its head."""
    transport = settings.transport(lane.agent, lane.transport)
    running = report.running(db, lane.id)
    return LaneContext(
        report=lane,
        ordered=transport.ordered if transport else True,
        orphaned=transport is None,
        running=running[0] if running else None,
        head=report.head(db, lane.id),
        workers=workers,
    )


def key_of(row: report.DeliveryReport) -> str:
    """The key of a delivery's message: the short one, where that is no other's too."""
    return f"{row.agent}/{row.stream}/{row.message_id}" if row.ambiguous else f"{row.agent}/{row.message_id}"
