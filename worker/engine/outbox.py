"""Sending what our agents have put into the outbox: claimed in the ledger, sent, settled, in this order.

A try that was cut short between claim and settle is one whose answer was lost: docs/protocol.md#outbox.
"""

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from worker import notices as words
from worker import outgoing
from worker.bus.backoff import poll_delay
from worker.bus.errors import (
    BadAnswerError,
    BusError,
    ClosedError,
    NoSuchAgentError,
    RequestRefusedError,
    ServerError,
    TooLargeError,
    TooSlowError,
    UnauthorizedError,
    UnavailableError,
    UnsendableError,
)
from worker.bus.recipients import Recipients
from worker.engine.identity import Identity
from worker.engine.inboxes import Inboxes
from worker.engine.slots import longest_ahead, request_gap
from worker.errors import TokenError, level_of
from worker.fault_steps import step
from worker.ledger import intake, notices, outbox, outcomes
from worker.ledger.errors import LedgerError
from worker.ledger.outbox import Head, Letter, Sent
from worker.ledger.port import Ledger
from worker.outgoing import Counts, Kind, Next, Sending, Try
from worker.settings import AgentSettings, Settings
from worker.times import span

logger = logging.getLogger("bus_watch.outbox")

SETTLE_AGAIN_SECONDS = 0.5
LOOK_FIRST_SECONDS = 6.0  # before one whose answer was lost is sent again: its recipient's next poll may show it
_REFUSED = (RequestRefusedError, UnsendableError)
_LOST = (ClosedError, TooSlowError, BadAnswerError, TooLargeError, ServerError)


@dataclass(frozen=True, slots=True)
class _Ended:
    """How one try ended: `why` in words; where the message lies; what its sender should know all the same."""

    how: Try
    why: str = ""
    pause: float = 0.0
    lies: tuple[str, str] | None = None
    remark: str | None = None


@dataclass(slots=True, kw_only=True)
class Outbox:
    """Sends for one worker, or for one command where no worker runs."""

    settings: Settings
    db: Ledger
    identity: Identity
    inboxes: Inboxes
    clock: Callable[[], float]
    rng: random.Random
    redact: Callable[[str], str]
    stopping: threading.Event
    on_settled: Callable[[int], object] = lambda _number: None
    _recipients: Recipients = field(default_factory=Recipients)

    def adopt(self, settings: Settings) -> None:
        """From now on these settings."""
        self.settings = settings

    def heads(self) -> list[Head]:
        """What may be sent next, to each recipient, by agents that are configured; due or not."""
        return [
            head
            for head in self.db.read(outbox.heads)
            if head.state != Sending.SENDING and self.settings.agent(head.agent) is not None
        ]

    def recover(self) -> None:
        """Settle tries whose worker is gone: nobody knows whether the bus has them. LedgerError."""
        for sent in self.db.read(outbox.being_sent):
            head = sent.head
            if self._is_abandoned(sent):
                logger.warning("%s was being sent when its worker ended", outgoing.key_of(head.id))
                agent = self.settings.agent(head.agent)
                once = agent is not None and self.inboxes.source(agent).sends_once
                how = Try.NOT_SENT if once else Try.UNKNOWN
                self._settle(head, str(head.worker), _Ended(how, "the worker that sent it was interrupted"))

    def _is_abandoned(self, sent: Sent) -> bool:
        worker = str(sent.head.worker)
        if worker == self.identity.worker:
            return False
        if sent.host != self.identity.host_name:  # a try is over long before its host counts as lost
            return self.clock() - sent.seen_at > self.settings.host_lost_after
        unseen = self.identity.may_live_unseen(worker, sent.head.claimed_at or 0.0)
        return not (self.identity.worker_lives(worker) or unseen)

    def send(self, head: Head) -> Next | None:
        """Send one head that is due; None where it was not ours to send. LedgerError: it was not even tried."""
        agent = self.settings.agent(head.agent)
        if agent is None:
            return None
        seconds = self._book(agent)
        if seconds and self.stopping.wait(seconds):
            return None
        letter = self.db.write(lambda tx: outbox.claim(tx, head, self.identity.worker, self.clock()))
        if letter is None:
            return None
        step("outbox_claimed")
        ended = self._arrived(letter) or self._braked(agent, letter) or self._try(agent, letter)
        step("outbox_answered")
        found = self._settle(head, self.identity.worker, ended)
        step("outbox_settled")
        if found is not None:
            self._say(head, letter, found)
            self.on_settled(head.id)
        return found

    def _book(self, agent: AgentSettings) -> float:
        """A slot of the token's budget: in how many seconds the request may go."""
        gap, ahead = request_gap(agent), longest_ahead(agent)
        return self.db.write(lambda tx: intake.book_slot(tx, agent.agent, self.clock(), gap, ahead))

    def _arrived(self, letter: Letter) -> _Ended | None:
        """Whether a message whose answer was lost is seen in its recipient's inbox, where that is ours to see."""
        if not letter.counts.unknown:
            return None
        lies = self.db.read(lambda db: outcomes.found_here(db, letter))
        return None if lies is None else _Ended(Try.SENT, lies=lies)

    def _braked(self, agent: AgentSettings, letter: Letter) -> _Ended | None:
        """Whether two agents have written to each other for too long without a human."""
        if agent.brake_after is None or letter.kind != Kind.MESSAGE or letter.released:
            return None
        since = self.clock() - agent.brake_window
        count = self.db.read(lambda db: outbox.exchanged(db, letter.agent, letter.recipient, since))
        if count < agent.brake_after:
            return None
        # Its owner is told by `status`; the other one, who would wait for answers, by the other worker's.
        text = words.brake(letter.agent, letter.recipient, count, agent.brake_window)
        self.db.write(lambda tx: notices.tell_once(tx, letter.agent, letter.recipient, text, since, self.clock()))
        why = (
            f"brake: {count} messages with {letter.recipient} in {span(agent.brake_window)} and none of a human's; "
            "retry it or drop it"
        )
        return _Ended(Try.BRAKED, why)

    def _try(self, agent: AgentSettings, letter: Letter) -> _Ended:
        remark = None
        asked = False
        source = self.inboxes.source(agent)
        try:
            endpoint = self.inboxes.endpoint(agent)
            if letter.answers is None and letter.kind in {Kind.MESSAGE, Kind.PROBE}:
                known = self._recipients.look_up(source, endpoint, letter.recipient)
                if known.refuse:
                    return _Ended(Try.REFUSED, known.words, remark=outgoing.NO_SUCH_AGENT)
                remark = known.words or None
            asked = True
            answers = self.db.read(lambda db: outcomes.name_of_answered(db, letter))
            sent = source.hand_in(endpoint, letter.recipient, letter.text, letter.name, answers)
        except (BusError, TokenError) as error:
            # A token that cannot be read is treated as one that the bus refuses: looked at again soon.
            cause = error if isinstance(error, BusError) else UnauthorizedError(str(error))
            pause = poll_delay(cause, letter.counts.failures + 1, self.rng)
            if isinstance(error, NoSuchAgentError):
                remark = outgoing.NO_SUCH_AGENT
            how = _meaning(cause, asked=asked, once=source.sends_once)
            return _Ended(how, self.redact(str(error)), pause, remark=remark)
        return _Ended(Try.SENT, lies=(sent.stream, sent.entry_id), remark=remark)

    def _settle(self, head: Head, worker: str, ended: _Ended) -> Next | None:
        """Write it down; while the ledger cannot be written, again and again: what is known must not be forgotten."""
        agent = self.settings.agent(head.agent)
        pause = ended.pause
        if ended.how is Try.UNKNOWN and self.db.read(lambda db: outcomes.is_watched_here(db, head.recipient)):
            pause = max(pause, LOOK_FIRST_SECONDS)
        on_unknown = agent.on_unknown if agent is not None else "hold"

        def decide(letter: Letter) -> Next:
            counts = Counts(letter.counts.failures, letter.counts.unknown, self.clock() - letter.created_at)
            return outgoing.after(
                ended.how, counts, ended.why, kind=letter.kind, on_unknown=on_unknown, pause=pause, rng=self.rng
            )

        while True:
            try:
                return self.db.write(
                    lambda tx: outbox.settle(
                        tx, head.id, worker, decide, self.clock(), lies=ended.lies, remark=ended.remark
                    )
                )
            except LedgerError as error:
                if self.stopping.is_set():
                    raise
                level = level_of(error)
                logger.log(level, "%s was tried and cannot be settled yet: %s", outgoing.key_of(head.id), error)
                self.stopping.wait(SETTLE_AGAIN_SECONDS)

    @staticmethod
    def _say(head: Head, letter: Letter, found: Next) -> None:
        level = {Sending.SENT: logging.INFO, Sending.DEAD: logging.ERROR}.get(found.state, logging.WARNING)
        if found.state is Sending.RETRYING and found.counts.failures > 1:
            level = logging.DEBUG  # the first of an episode was said
        fields = {"agent": head.agent, "recipient": head.recipient, "outbox": head.id, "state": str(found.state)}
        why = f": {found.reason}" if found.reason else ""
        logger.log(
            level, "%s from %s to %s is %s%s", outgoing.key_of(letter.id), head.agent, head.recipient, found.state, why,
            extra=fields,
        )  # fmt: skip


def _meaning(error: BusError, *, asked: bool, once: bool) -> Try:
    """What an error says of the message; `asked`: the bus had been asked to take it, and will take it `once` only."""
    if isinstance(error, _REFUSED) and asked:
        return Try.REFUSED
    if isinstance(error, UnavailableError) or not asked or once:
        return Try.NOT_SENT
    return Try.UNKNOWN if isinstance(error, _LOST) else Try.NOT_SENT
