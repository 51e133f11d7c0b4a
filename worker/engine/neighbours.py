"""What a host does about the others of its fleet: it shows that it lives, and takes over what they left.

A part of the sweep; without a fleet it does nothing. docs/protocol.md#a-fleet has the rules.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from worker.delivery import Ending
from worker.engine.endings import Endings
from worker.engine.hand_off import Report
from worker.engine.identity import Identity
from worker.engine.lane_lookup import LaneLookup
from worker.engine.wake_ups import WakeUps
from worker.ledger import hosts, lane_hosts, upkeep
from worker.ledger.hosts import Fleet
from worker.ledger.lane_hosts import Held, RunOn
from worker.ledger.lanes import Wake
from worker.ledger.port import Ledger, Tx
from worker.ledger.upkeep import RunningAttempt
from worker.setting_types import ANYWHERE

logger = logging.getLogger("bus_watch.fleet")


@dataclass(slots=True, kw_only=True)
class Neighbours:
    """The other hosts, as one worker sees them."""

    db: Ledger
    clock: Callable[[], float]
    identity: Identity
    lanes: LaneLookup
    endings: Endings
    wake_ups: WakeUps

    def beat(self) -> None:
        """Show that this host lives. HostTakenError: it must not go on."""
        host = self.identity.host
        if host is not None:
            worker, boot = self.identity.worker, self.identity.boot
            self.db.write(lambda tx: hosts.beat(tx, host, worker, boot, tx.now()))

    def round(self, running: list[RunningAttempt]) -> int:
        """Settle what lost hosts will not settle any more, and take their lanes over. How many attempts it settled."""
        if self.identity.host is None:
            return 0
        fleet, held = self.db.read(lambda db: (self._fleet(db), lane_hosts.every(db)))
        lanes = {(lane.agent, lane.transport): lane for lane in held}
        settled = 0
        for attempt in running:
            lane = lanes.get((attempt.agent, attempt.transport))
            if lane is not None and attempt.host != fleet.me and self._may_give_up(attempt, lane, fleet):
                settled += self._give_up(attempt, lane)
        for lane in held:
            self._have(lane, fleet)
        return settled

    def _fleet(self, db: Tx) -> Fleet:
        return hosts.fleet(db, self.identity.host_name, self.lanes.settings.host_lost_after)

    def _may_give_up(self, attempt: RunningAttempt, lane: Held, fleet: Fleet) -> bool:
        """Whether nobody can be asked any more how it ended, and it must be over.

        Only whoever may run its lane says so; and where the lane is bound to its host, a person has to forget that one.
        """
        if self.lanes.transport(lane.agent, lane.transport) is None or fleet.now <= attempt.must_be_over:
            return False
        if fleet.is_forgotten(attempt.host):
            return True
        run_on = self.lanes.run_on(lane.agent, lane.transport)
        return lane.elsewhere and run_on is not None and fleet.is_lost(attempt.host)

    def _give_up(self, attempt: RunningAttempt, lane: Held) -> bool:
        transport = self.lanes.transport(attempt.agent, attempt.transport)
        if transport is None:
            return False
        ending = Ending("interrupted", detail=f"its host {attempt.host} cannot be asked")
        report = Report(attempt.delivery, attempt.attempt_id, ending, "", transport)

        def is_still_so(tx: Tx) -> bool:
            return self._may_give_up(attempt, lane, self._fleet(tx))

        settled = self.endings.end(
            report,
            only_if=is_still_so,
            also=lambda tx: upkeep.await_receipt(tx, attempt.attempt_id),
        )
        if settled is not None:
            logger.warning("host %s is lost: attempt %s is unknown", attempt.host, attempt.attempt_id)
        return settled is not None

    def _have(self, lane: Held, fleet: Fleet) -> None:
        """Take a lane over that this host may have; ask for one back; keep one that nobody comes for."""
        if self.lanes.transport(lane.agent, lane.transport) is None:
            return
        run_on, me = self.lanes.run_on(lane.agent, lane.transport), fleet.me
        if lane.host == me:
            if lane.moving_to == me or (lane.moving_to is not None and fleet.is_lost(lane.moving_to)):
                self.db.write(lambda tx: lane_hosts.keep(tx, lane, me))
            return
        if lane.host is None and lane.moving_to is None and (run_on is None or run_on[0] == ANYWHERE):
            return  # whoever claims first has it: so work that any may do spreads
        if lane_hosts.may_take(lane, run_on, fleet):
            self._take_over(lane, me, run_on)
        elif lane_hosts.wants_back(lane, run_on, fleet):
            self.db.write(lambda tx: lane_hosts.ask_back(tx, lane, me))

    def _take_over(self, lane: Held, me: str, run_on: RunOn) -> None:
        def operation(tx: Tx) -> list[Wake] | None:
            return self.wake_ups.mark(tx, [lane.id]) if lane_hosts.take_over(tx, lane, me, run_on) else None

        wakes = self.db.write(operation)
        if wakes is not None:
            logger.info("%s %s: taken over from %s", lane.agent, lane.transport, lane.host or "nobody")
            self.wake_ups.send(wakes)
