"""Which workers live: their locks tell, whatever their rows say; those of other hosts show it by their sweeps."""

import json
import time
from collections.abc import Iterable

from worker.ledger import configured, hosts, report, this_host
from worker.ledger.port import Row, Tx
from worker.ledger.sweep_signal import send_sweep_signal
from worker.settings import Settings
from worker.transports.locks import flock_is_free, worker_lock

FRESH_SECONDS = 5.0  # what a worker wrote about itself so lately needs no asking
SIGN_SECONDS = 1.0


def living_workers(db: Tx, settings: Settings) -> list[Row]:
    """The workers whose locks are held; and, of other hosts, those that have swept lately."""
    host, now = this_host.known(settings), db.now()
    return [row for row in report.workers(db) if _lives(row, settings, host, now)]


def served(workers: Iterable[Row]) -> frozenset[tuple[str, str]]:
    """The (agent, transport) that these workers have configured."""
    return frozenset(
        (agent, transport)
        for row in workers
        for agent, transports in json.loads(row["serves"] or "{}").items()
        for transport in transports
    )


def _lives(row: Row, settings: Settings, host: str, now: float) -> bool:
    if row["host"] != host:
        return hosts.is_alive(row["seen_at"], now)
    return not flock_is_free(worker_lock(settings.files_dir, row["id"]))


def await_sign_of_life(settings: Settings) -> None:
    """Have the workers sweep, and write down that they live and when they polled, where that was not just now.

    They do so rarely by themselves, while nothing happens. One that does not answer shows by what it wrote last.
    """
    host = this_host.known(settings)
    asked: float | None = None
    deadline = time.monotonic() + SIGN_SECONDS
    signalled = False
    while True:
        with configured.reading(settings) as db:
            asked = asked or db.now()
            silent = [
                row
                for row in living_workers(db, settings)
                if row["kind"] == "consumer"
                and row["host"] == host
                and (row["swept_at"] or 0.0) < asked - FRESH_SECONDS
            ]
        if not silent or time.monotonic() > deadline:
            return
        if not signalled:
            send_sweep_signal(settings.files_dir)
            signalled = True
        time.sleep(0.02)
