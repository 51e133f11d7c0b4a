"""What all views share: the ledger opened for reading, the workers that live, and lanes put together for sentences."""

import contextlib
import sqlite3
import time
from collections.abc import Iterator

from worker.ledger import report
from worker.ledger.opening import reading
from worker.ledger.sweep_signal import send_sweep_signal
from worker.settings import Settings
from worker.transports.locks import flock_is_free, worker_lock
from worker.view.words import LaneContext

FRESH_SECONDS = 5.0  # what a worker wrote about itself so lately needs no asking
SIGN_SECONDS = 1.0


@contextlib.contextmanager
def ledger_of(settings: Settings) -> Iterator[sqlite3.Connection]:
    """The ledger of this configuration, read-only: one moment of it, however long the command looks."""
    with reading(settings.ledger_file) as db:
        yield db


def living_workers(db: sqlite3.Connection, settings: Settings) -> list[sqlite3.Row]:
    """The workers whose locks are held: alive, whatever their rows say."""
    return [row for row in report.workers(db) if not flock_is_free(worker_lock(settings.files_dir, row["id"]))]


def await_sign_of_life(settings: Settings) -> None:
    """Have the workers sweep, and write down that they live and when they polled, where that was not just now.

    They do so rarely by themselves, while nothing happens. One that does not answer shows by what it wrote last.
    """
    asked = time.time()
    deadline = time.monotonic() + SIGN_SECONDS
    signalled = False
    while True:
        with ledger_of(settings) as db:
            silent = [
                row
                for row in living_workers(db, settings)
                if row["kind"] == "consumer" and (row["swept_at"] or 0.0) < asked - FRESH_SECONDS
            ]
        if not silent or time.monotonic() > deadline:
            return
        if not signalled:
            send_sweep_signal(settings.files_dir)
            signalled = True
        time.sleep(0.02)


def lane_of(
    db: sqlite3.Connection, settings: Settings, lane: report.LaneReport, workers: frozenset[str]
) -> LaneContext:
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
    """The short key of a delivery's message."""
    return f"{row.agent}/{row.message_id}"
