"""Who polls an inbox: one worker, which leases it, and keeps rhythm and budget in memory meanwhile.

So a poll that brings nothing writes nothing, and a second worker adds no polls. A lease is renewed with all the others
of its worker in one commit, well before it ends. It ends early where its worker is gone: stopped in good order, or
found dead. While it is young each request slot is written down, so that restarts add no requests.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from worker.ledger import intake
from worker.ledger.history import NOT_YET
from worker.ledger.port import Tx

LEASE_SECONDS = 300.0
RENEW_SECONDS = 200.0  # after so long the sweep renews
RENEW_LATE_SECONDS = 240.0  # after so long a poll does


@dataclass(frozen=True, slots=True)
class Inbox:
    """What the ledger says of an inbox, as far as its next poll depends on it. Times are epoch seconds."""

    polled_by: str | None
    leased_until: float
    next_poll_at: float
    next_request_at: float
    brought_at: float | None
    polled_at: float | None
    failures: int
    error: str | None
    error_code: str | None
    malformed: int
    malformed_at: float | None
    bus_ahead: float | None
    floor_ms: int = NOT_YET  # where it begins, in milliseconds of the bus's time
    looked_from_ms: int | None = None  # the id from which on the first look saw everything; None: there has been none

    def is_leased(self, now: float) -> bool:
        """Whether a worker has it now; a lease that ends later than any can was made by a clock that was wrong."""
        return self.polled_by is not None and now < self.leased_until <= now + LEASE_SECONDS + intake.CLOCK_SLACK

    def is_late(self, now: float) -> bool:
        """Whether it is time that its own worker renews the lease."""
        return not self.is_leased(now) or self.leased_until - now < LEASE_SECONDS - RENEW_LATE_SECONDS

    def first_floor(self, wanted: int, bus_ms: int) -> int:
        """Its floor if it has not been looked at: the one that `wanted` says, unless one was set before.

        A ledger of before first looks has one, which holds if the bus has ever answered; the old watcher's state brings
        another. One that lies in the bus's future was set by a clock that was wrong.
        """
        if self.floor_ms > bus_ms:
            return wanted
        return self.floor_ms if self.polled_at is not None else max(self.floor_ms, wanted)


def inbox_of(db: Tx, agent: str, now: float) -> Inbox:
    """What is written down; times that a jump of our clock made impossible are 0."""
    row = db.execute(_INBOX, intake.stale_at(agent, now)).fetchone()
    return Inbox(*row) if row is not None else Inbox(None, 0.0, 0.0, 0.0, None, None, 0, None, None, 0, None, None)


_INBOX = f"""
select polled_by, coalesce(leased_until, 0.0), case when {intake.STALE} then 0.0 else next_poll_at end,
       case when {intake.STALE} then 0.0 else next_request_at end,
       brought_at, polled_at, failures, error, error_code, malformed, malformed_at, bus_ahead,
       floor_ms, looked_from_ms
from inboxes where agent = :agent
"""  # noqa: S608 - our own words


def take(tx: Tx, agent: str, worker: str, now: float, *, over: str | None) -> bool:
    """Lease the inbox, unless another than `over` has got it meanwhile; whether we have it."""
    intake.ensure_inbox(tx, agent)
    changed = tx.execute(
        "update inboxes set polled_by = ?, leased_until = ? where agent = ? and coalesce(polled_by, '') = ?",
        (worker, now + LEASE_SECONDS, agent, over or ""),
    )
    return changed.rowcount == 1


def renew(tx: Tx, worker: str, now: float, polled: Mapping[str, float] | None = None) -> None:
    """All leases of this worker; and when each of its inboxes was last answered, for `status`."""
    tx.execute("update inboxes set leased_until = ? where polled_by = ?", (now + LEASE_SECONDS, worker))
    for agent, at in (polled or {}).items():
        tx.execute("update inboxes set polled_at = ? where agent = ? and polled_by = ?", (at, agent, worker))


def release(tx: Tx, worker: str, agents: Iterable[str], next_request_at: Mapping[str, float]) -> None:
    """Let go of these inboxes; their next request slots are exactly what is written down now."""
    for agent in agents:
        tx.execute(
            """
            update inboxes set polled_by = null, leased_until = null, next_request_at = coalesce(?, next_request_at)
            where agent = ? and polled_by = ?
            """,
            (next_request_at.get(agent), agent, worker),
        )


def leased_by(db: Tx, worker: str) -> list[str]:
    """The agents whose inboxes this worker has."""
    rows = db.execute("select agent from inboxes where polled_by = ? order by agent", (worker,))
    return [str(row["agent"]) for row in rows]


class Holder(NamedTuple):
    """A worker that has a lease: where it is; `gone`: it has stopped, or was found dead, as far as the ledger knows."""

    host: str
    seen_at: float
    gone: bool


def holder(db: Tx, worker: str) -> Holder:
    """What the ledger knows of a worker."""
    row = db.execute("select host, seen_at, stopped_at from workers where id = ?", (worker,)).fetchone()
    if row is None:
        return Holder("", 0.0, gone=True)
    return Holder(row["host"], row["seen_at"] or 0.0, gone=row["stopped_at"] is not None)
