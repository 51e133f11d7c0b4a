"""Whose turn it is to poll an inbox, and when: leases, the pace of each inbox that is ours, and its budget."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from worker.bus.source import Collected
from worker.engine.identity import Identity
from worker.engine.pace import Pace
from worker.engine.slots import longest_ahead
from worker.ledger import hosts, intake, leases, sweep_signal
from worker.ledger.port import Ledger, Tx
from worker.settings import AgentSettings

YOUNG_SECONDS = 30.0  # a worker that dies sooner must not add to a token's requests, however often it begins
ASK_AGAIN_SECONDS = 60.0  # how often a worker that has an inbox is asked for a sign of life
SIGN_WITHIN_SECONDS = 15.0  # after so long without one it is stopped, or hangs, and its inbox is taken over
STANDBY_SECONDS = 1.0  # how soon it is seen that the worker is gone that polled an inbox
AHEAD_SECONDS = 2.0  # the bus's clock has moved against ours: a Date has whole seconds


class DoorbellTrust(Protocol):
    """What is thought of the agents' doorbells; see `worker.bus.trust`."""

    def is_proven(self, agent: str) -> bool:
        """Whether polls may be rare."""
        ...

    def polled(self, agent: str, began: float, *, brought: bool) -> None:
        """A poll that began then (monotonic seconds) has `brought` what should have rung, or not."""
        ...


class NoDoorbell:
    """There is none."""

    def is_proven(self, agent: str) -> bool:  # noqa: ARG002 - DoorbellTrust has it
        """Never."""
        return False

    def polled(self, agent: str, began: float, *, brought: bool) -> None:
        """Of no use."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A poll that is ours to make: what the ledger said of the inbox before, and its pace.

    `leased`: the pace is this worker's, in memory; else it is for this poll alone, and the ledger has the budget.
    """

    agent: str
    inbox: leases.Inbox
    pace: Pace
    leased: bool = True

    def says_nothing_new(self, collected: Collected, bus_ahead: float | None) -> bool:
        """Whether an empty page leaves everything as it is written down."""
        known = self.inbox
        return (
            self.leased
            and known.polled_at is not None
            and known.error is None
            and not collected.malformed
            and (bus_ahead is None or abs(bus_ahead - (known.bus_ahead or 0.0)) < AHEAD_SECONDS)
        )


@dataclass(slots=True, kw_only=True)
class Turns:
    """The turns of one worker."""

    db: Ledger
    identity: Identity
    clock: Callable[[], float]
    trust: DoorbellTrust
    _paces: dict[str, Pace] = field(default_factory=dict)  # of the inboxes that this worker polls
    _asked: dict[str, tuple[float, float]] = field(default_factory=dict)  # other workers: epoch, monotonic seconds

    def poll_now(self, agent: str) -> None:
        """What its rhythm was says nothing any more."""
        if (pace := self._paces.get(agent)) is not None:
            pace.next_poll_at = 0.0

    def keep_leases(self, tx: Tx, now: float) -> None:
        """Renew the leases of all inboxes that this worker polls, and write down when each was last answered."""
        polled = {name: pace.polled_at for name, pace in self._paces.items() if pace.polled_at is not None}
        leases.renew(tx, self.identity.worker, now, polled)

    def let_go(self, tx: Tx, agents: Iterable[str] | None = None) -> None:
        """Let go of these inboxes, or of all: whoever polls them next need not wait for us."""
        paces = {name: pace.next_request_at for name, pace in self._paces.items()}
        worker = self.identity.worker
        leases.release(tx, worker, leases.leased_by(tx, worker) if agents is None else agents, paces)

    def of_a_person(self, agent: AgentSettings) -> Turn:
        """Who asked for this poll waits for nothing, and leases nothing: each slot is booked in the ledger."""
        inbox = self.db.read(lambda db: leases.inbox_of(db, agent.agent, self.clock()))
        return Turn(agent.agent, inbox, Pace(failures=inbox.failures, brought_at=inbox.brought_at), leased=False)

    def of(self, agent: AgentSettings, *, rung: bool) -> Turn | float:
        """This poll's turn; or when to come again, where it is not due, or another worker polls the inbox.

        A ring does not wait for the rhythm, but for a bus that refused or asked to be left alone.
        """
        name, now, us = agent.agent, self.clock(), self.identity.worker
        inbox, gone = self.db.read(lambda db: self._look(db, name, now))
        if inbox.polled_by not in {None, us} and inbox.is_leased(now) and not gone:
            return now + min(agent.poll_interval, STANDBY_SECONDS)
        pace = self._paces.get(name)
        if inbox.polled_by != us or pace is None:
            pace = self._take(agent, inbox, now)
            if pace is None:
                return now + agent.poll_interval
        elif inbox.is_late(now):  # the sweep usually comes first
            self.db.write(lambda tx: self.keep_leases(tx, now))
        pace.forget_stale(now)
        pace.heed(inbox.next_request_at, inbox.next_poll_at if inbox.failures else 0.0)
        if not (inbox.failures or pace.failures or self.trust.is_proven(name)):  # it was, when the next poll was set
            pace.next_poll_at = min(pace.next_poll_at, (pace.polled_at or now) + agent.poll_interval)
        hurry = rung and not inbox.failures
        due = pace.next_request_at - longest_ahead(agent) if pace.is_new else pace.due()
        return due if due > now and not hurry else Turn(name, inbox, pace)

    def _is_silent(self, inbox: leases.Inbox, now: float) -> bool:
        """Whether the worker that has the inbox was asked for a sign, which is a renewed lease, and gave none."""
        holder = str(inbox.polled_by)
        asked, asked_at = self._asked.get(holder, (0.0, float("-inf")))
        waited = time.monotonic() - asked_at
        if waited > ASK_AGAIN_SECONDS:
            self._asked[holder] = now, time.monotonic()
            sweep_signal.send_sweep_signal(self.identity.files)
            return False
        return waited > SIGN_WITHIN_SECONDS and inbox.leased_until - leases.LEASE_SECONDS < asked

    def _look(self, db: Tx, name: str, now: float) -> tuple[leases.Inbox, bool]:
        """The inbox, and whether another worker polls it that is gone, or gives no sign of life."""
        inbox = leases.inbox_of(db, name, now)
        who = inbox.polled_by
        if who is None or who == self.identity.worker:
            return inbox, False
        holder = leases.holder(db, who)
        if holder.gone:
            return inbox, True
        if holder.host != self.identity.host_name:  # it cannot be asked: its sweeps are its sign
            return inbox, not hosts.is_alive(holder.seen_at, now)
        return inbox, self.identity.has_died(who) or (inbox.is_leased(now) and self._is_silent(inbox, now))

    def _take(self, agent: AgentSettings, inbox: leases.Inbox, now: float) -> Pace | None:
        """Lease an inbox that nobody polls; None: somebody else was faster.

        Whoever had it and did not let go of it may have gone ahead as far as it may, just now, with slots that stand
        nowhere: we begin with that debt.
        """
        killed = inbox.polled_by not in {None, self.identity.worker}
        first = max(inbox.next_request_at, now + longest_ahead(agent) if killed else now)
        name, us = agent.agent, self.identity.worker
        if not self.db.write(lambda tx: leases.take(tx, name, us, now, over=inbox.polled_by)):
            return None
        pace = self._paces[name] = Pace(
            next_request_at=first, set_at=now, leased_at=now, brought_at=inbox.brought_at, failures=inbox.failures
        )
        return pace

    def book(self, turn: Turn, gap: float, ahead: float) -> float:
        """Take a request slot; in the ledger too while the lease is young: a worker may be killed again and again."""
        if not turn.leased:
            return self.db.write(lambda tx: intake.book_slot(tx, turn.agent, self.clock(), gap, ahead))
        now, pace = self.clock(), turn.pace
        seconds = pace.book(now, gap, ahead)
        if 0 <= now - pace.leased_at < YOUNG_SECONDS:
            self.db.write(lambda tx: intake.note_slot(tx, turn.agent, pace.next_request_at, now))
        return seconds
