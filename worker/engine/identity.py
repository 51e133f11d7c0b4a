"""Who we are among the workers of one ledger: an id, the boot we live in, and a lock that proves that we live."""

import os
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

from worker import __version__
from worker.ledger import upkeep
from worker.ledger.errors import from_os
from worker.transports.locks import boot_id, flock_is_free, hold_lock, launcher_lock, worker_lock


@dataclass(slots=True)
class Identity:
    """One worker process; `files` is the folder of locks, notes and receipts that the workers of a ledger share."""

    files: Path
    kind: str = "consumer"
    worker: str = field(default_factory=lambda: os.urandom(16).hex())
    boot: str = field(default_factory=boot_id)
    _lock: int | None = None

    def take_lock(self) -> None:
        """From now on the others see that we live. LedgerError where the folder cannot be written."""
        try:
            self.files.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = hold_lock(self.lock_path(self.worker))
        except OSError as error:
            raise from_os(error, self.files) from error

    def release_lock(self) -> None:
        """We are gone."""
        if self._lock is not None:
            os.close(self._lock)
            self.lock_path(self.worker).unlink(missing_ok=True)

    def register(self, tx: sqlite3.Connection, now: float) -> None:
        """Make our row in the ledger."""
        upkeep.register_worker(
            tx, self.worker, pid=os.getpid(), boot_id=self.boot, version=__version__, kind=self.kind, now=now
        )

    def lock_path(self, worker: str) -> Path:
        """The lock file that proves a worker's life."""
        return Path(worker_lock(self.files, worker))

    def worker_lives(self, worker: str) -> bool:
        """Whether a worker of this ledger lives, this one or another."""
        return not flock_is_free(self.lock_path(worker))

    def launcher_lock_path(self, worker: str) -> Path:
        """The lock file that proves the life of a worker's launcher, which may outlive it."""
        return Path(launcher_lock(self.files, worker))

    def launcher_lives(self, worker: str) -> bool:
        """Whether a worker's launcher may still start something, or write a receipt."""
        return not flock_is_free(self.launcher_lock_path(worker))
