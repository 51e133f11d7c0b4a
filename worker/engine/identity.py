"""Who we are among the workers of one ledger: an id, the boot we live in, and a lock that proves that we live."""

import contextlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from worker import __version__
from worker.ledger import this_host, upkeep
from worker.ledger.errors import from_os
from worker.ledger.port import Tx
from worker.ledger.this_host import Host
from worker.transports.locks import boot_id, flock_is_free, hold_lock, is_held_at, launcher_lock, worker_lock

logger = logging.getLogger("bus_watch.engine")

MADE = "made"  # a file whose time says since when the folder has been there
SHOWN_AGAIN_SECONDS = 15.0  # a worker that lives sweeps meanwhile, and its launcher is told


@dataclass(slots=True)
class Identity:
    """One worker process; `files` is the folder of locks, notes and receipts that the workers of a ledger share."""

    files: Path
    kind: str = "consumer"
    host: Host | None = None  # in a fleet: which of its hosts this is
    ahead: Callable[[], float] = lambda: 0.0  # the ledger's clock, as far as it is ahead of ours
    worker: str = field(default_factory=lambda: os.urandom(16).hex())
    boot: str = field(default_factory=boot_id)
    _lock: int | None = None
    _made: tuple[float, float] = (0.0, 0.0)  # when the folder was made, and when we saw that (monotonic seconds)

    @property
    def host_name(self) -> str:
        """Where our files are, as the ledger has it: empty without a fleet."""
        return self.host.name if self.host is not None else ""

    def take_lock(self) -> None:
        """From now on the others see that we live. LedgerError where the folder cannot be written."""
        try:
            self.files.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not any(self.files.iterdir()):  # one that an older version made says nothing about its age
                self._note_age()
            self._lock = hold_lock(self.lock_path(self.worker))
        except OSError as error:
            raise from_os(error, self.files) from error

    def keep_lock(self) -> bool:
        """Make folder and lock again where somebody has removed them; whether that was so.

        LedgerError where they cannot be made.
        """
        if self._lock is None or is_held_at(self._lock, self.lock_path(self.worker)):
            return False
        removed = self._lock
        try:
            self.files.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._note_age()
            if self.host is not None:
                this_host.keep(self.files, self.host)
            self._lock = hold_lock(self.lock_path(self.worker))
        except OSError as error:
            raise from_os(error, self.files) from error
        os.close(removed)
        logger.warning("%s was removed while it was used: it is made again", self.files)
        return True

    def _note_age(self) -> None:
        with contextlib.suppress(FileExistsError):  # another worker was first
            (self.files / MADE).touch(mode=0o600, exist_ok=False)

    def has_lost(self, since: float) -> bool:
        """Whether the folder was made after `since`: that what was made then is not in it proves nothing.

        `since` is the ledger's time.
        """
        try:
            made = (self.files / MADE).stat().st_mtime
        except OSError:
            made = 0.0
        if made != self._made[0]:
            self._made = (made, time.monotonic())
        return since - self.ahead() < made

    def may_live_unseen(self, worker: str, since: float) -> bool:
        """Whether a worker of then may live though its lock is gone: it has not seen yet that somebody removed it."""
        lost = self.has_lost(since) and not self.lock_path(worker).exists()
        return lost and time.monotonic() - self._made[1] < SHOWN_AGAIN_SECONDS

    def release_lock(self) -> None:
        """We are gone."""
        if self._lock is not None:
            os.close(self._lock)
            self.lock_path(self.worker).unlink(missing_ok=True)

    def register(self, tx: Tx, now: float) -> None:
        """Make our row in the ledger."""
        upkeep.register_worker(
            tx, self.worker, pid=os.getpid(), boot_id=self.boot, version=__version__, kind=self.kind, now=now,
            host=self.host_name,
        )  # fmt: skip

    def lock_path(self, worker: str) -> Path:
        """The lock file that proves a worker's life."""
        return Path(worker_lock(self.files, worker))

    def worker_lives(self, worker: str) -> bool:
        """Whether a worker of this ledger lives, this one or another."""
        return not flock_is_free(self.lock_path(worker))

    def has_died(self, worker: str) -> bool:
        """Whether a worker has left its lock behind, and nobody holds it; false where there is none."""
        path = self.lock_path(worker)
        return path.exists() and flock_is_free(path)

    def launcher_lock_path(self, worker: str) -> Path:
        """The lock file that proves the life of a worker's launcher, which may outlive it."""
        return Path(launcher_lock(self.files, worker))

    def launcher_lives(self, worker: str) -> bool:
        """Whether a worker's launcher may still start something, or write a receipt."""
        return not flock_is_free(self.launcher_lock_path(worker))
