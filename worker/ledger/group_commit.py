"""Many callers a commit: what makes a durable ledger fast.

Commits are what durability costs (an fsync each). Callers that arrive while one commit is under way share the next:
the first of them runs everybody's operation in one transaction. How that is done, and how an operation that fails takes
nobody along, is each database's own.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from worker.ledger.port import Tx

T = TypeVar("T")
Operation = Callable[[Tx], object]


class Job:
    """One caller's operations, and what came of them."""

    __slots__ = ("batch", "operations", "results", "turn")

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = operations
        self.batch: Batch | None = None  # the commit that has taken it
        self.results: list[object] = []  # of each operation, or the error that it raised
        self.turn = threading.Lock()  # freed when there is something for its caller to look at
        self.turn.acquire()

    @property
    def over(self) -> bool:
        """Whether it is on the disk, or its transaction has failed."""
        return self.batch is not None and self.batch.over

    def wake(self) -> None:
        """Have its caller look again; once too often does no harm."""
        if self.turn.locked():
            self.turn.release()


class Batch:
    """The jobs of one transaction."""

    __slots__ = ("error", "jobs", "over")

    def __init__(self, jobs: list[Job]) -> None:
        self.jobs = jobs
        self.over = False
        self.error: Exception | None = None  # of the transaction


class GroupCommit(ABC):
    """Hands what is pending to `_commit`, one batch at a time."""

    def __init__(self) -> None:
        self._pending: list[Job] = []
        self._pending_lock = threading.Lock()
        self._leader: Job | None = None  # whose caller commits for all, or has been told to
        self._batch: Batch | None = None  # what the leader has taken on
        self._committing = threading.Lock()

    @abstractmethod
    def _commit(self, batch: Batch) -> None:
        """Run and commit a batch. Raises only what interrupts it; then nothing is done, or all of it."""

    def write(self, operation: Callable[[Tx], T]) -> T:
        """Run `operation` in a write transaction and return its result once it is on the disk.

        Raises what the operation raises (its changes are undone), or a LedgerError for the transaction itself.
        """
        (result,) = self.write_all([operation])
        if isinstance(result, BaseException):
            raise result
        return result

    def write_all(self, operations: Sequence[Callable[[Tx], T]]) -> list[T | BaseException]:
        """Run several in one transaction: the result of each once they are on the disk, or what it raised.

        Raises a LedgerError for the transaction itself.
        """
        job = Job(operations)
        try:
            with self._pending_lock:
                self._pending.append(job)
                if self._leader is None:
                    self._leader = job
            while not job.over:
                if self._leader is job:
                    self._lead()
                else:
                    job.turn.acquire()
        except BaseException:  # Ctrl-C hits this caller, and nobody else
            self._leave(job)
            raise
        if job.batch is not None and job.batch.error is not None:
            raise job.batch.error
        return cast("list[T | BaseException]", job.results)

    def _lead(self) -> None:
        """Commit what is pending, then let the next one lead."""
        with self._pending_lock:
            batch = self._batch = Batch(self._pending)
            self._pending = []
            for job in batch.jobs:
                job.batch = batch
        with self._committing:
            self._commit(batch)
        with self._pending_lock:
            self._hand_over()

    def _hand_over(self) -> None:
        """Wake those whose jobs are over and name the next leader. What was interrupted is the next leader's to do.

        With `_pending_lock` held. Done twice it does no harm: the first time may have been interrupted.
        """
        if self._batch is not None:
            if not self._batch.over:
                self._pending[:0] = [job for job in self._batch.jobs if job not in self._pending]
            for job in self._batch.jobs:
                job.wake()
            self._batch = None
        self._leader = self._pending[0] if self._pending else None
        if self._leader is not None:
            self._leader.wake()

    def _leave(self, job: Job) -> None:
        """The caller of this job goes away before its turn has come, or while it leads: the others go on without it."""
        with self._pending_lock:
            if self._leader is job:
                if self._batch is not None and job in self._batch.jobs:
                    self._batch.jobs.remove(job)
                self._leader = None
            if job in self._pending:
                self._pending.remove(job)
            if self._leader is None:
                self._hand_over()
            else:
                self._leader.wake()
