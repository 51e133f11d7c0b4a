"""Telling senders what became of their messages, and reading what other workers tell ours: a part of the sweep.

Whatever it does twice is harmless: a report and the note that there is one are one transaction.
"""

from collections.abc import Callable
from dataclasses import dataclass

from worker import notices as words
from worker.engine.lane_lookup import LaneLookup
from worker.ledger import notices
from worker.ledger.notices import Told
from worker.ledger.port import Ledger, Row, Tx

REPORTS_A_MINUTE = 6  # to one sender; the others come later


@dataclass(slots=True, kw_only=True)
class Teller:
    """Reads and writes notices; the postman sends what it writes."""

    db: Ledger
    lanes: LaneLookup
    clock: Callable[[], float]
    redact: Callable[[str], str]
    is_fleet: bool = False  # other hosts have agents of their own in this ledger
    nudge: Callable[[], object] = lambda: None

    def round(self) -> None:
        """Once. LedgerError."""
        found = self.db.read(self._found)
        came = self.db.read(notices.waiting)
        if came:
            self.db.write(lambda tx: self._read(tx, came))
        if found:
            told = self.db.write(lambda tx: self._tell(tx, found))
            if told:
                self.nudge()

    def _found(self, db: Tx) -> list[Told]:
        now = self.clock()
        told = [*notices.unreported(db), *notices.receipts(db)]
        for lane, agent, name, since in notices.heads_since(db):
            transport = self.lanes.transport(agent, name)
            if transport is None or transport.report_stuck_after is None or since >= now - transport.report_stuck_after:
                continue
            if (one := notices.stuck(db, lane)) is not None:
                told.append(one)
        return told

    def _tell(self, tx: Tx, found: list[Told]) -> int:
        """How many were told."""
        now, count = self.clock(), 0
        for told in found:
            if self.is_fleet and self.lanes.settings.agent(told.agent) is None:
                continue  # whoever has this agent tells
            to = self._whom(told)
            if to is None:
                notices.note_told(tx, told, silently=True)
            elif notices.told_lately(tx, told.agent, to, now - 60.0) < REPORTS_A_MINUTE or told.state == "submitted":
                why = self.redact(told.why)
                text = words.report(told.agent, to, told.stream, told.message_id, told.state, why)
                count += notices.tell(tx, told, to, text, now)
        return count

    def _whom(self, told: Told) -> str | None:
        """Whom to tell; nobody about a notice, a broadcast, what did not come from an agent, or where it is off."""
        agent = self.lanes.settings.agent(told.agent)
        to = told.source.removeprefix("agent:")
        if agent is None or to in {told.source, told.agent}:
            return None
        if not told.stream.endswith(f":agent:{told.agent}") or words.is_notice(told.text, told.message_class):
            return None
        return to if agent.report_to_sender or told.state == "submitted" else None

    def _read(self, tx: Tx, came: list[Row]) -> None:
        for row in came:
            notice = words.read(row["text"] or "", row["source"], row["agent"])
            if notice is not None and notice.state:
                other = row["source"].removeprefix("agent:")
                notices.note_outcome(
                    tx, row["agent"], other, notice.stream, notice.message_id, notice.state, self.clock()
                )
            elif notice is not None:
                notices.want_receipt(tx, row["agent"], row["source"], notice.stream, notice.message_id)
            notices.done(tx, row["id"])
