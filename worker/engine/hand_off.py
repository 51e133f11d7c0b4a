"""A thread hands a lane off: it claims a delivery, and then sleeps while the lane goes on without it."""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from worker.delivery import Ending
from worker.engine.identity import Identity
from worker.engine.lane_lookup import LaneConfig, LaneLookup
from worker.ledger import claims
from worker.ledger.claims import Claim, NotClaimed
from worker.ledger.groups import LaneSettings
from worker.ledger.port import Tx
from worker.ledger.settling import Settled
from worker.settings import TransportSettings
from worker.steady_clock import steady


class Report(NamedTuple):
    """How an attempt ended, as it is to be written down."""

    delivery: int
    attempt_id: str
    ending: Ending
    output: str
    transport: TransportSettings


NextStep = Claim | NotClaimed | Report | None


class HandOff:
    """One thread, the attempts that it answers for, and a letter box with room for what it is to do next."""

    __slots__ = ("_full", "_next", "attempts", "began", "claim", "config", "settled", "start_by")

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.attempts: set[str] = set()
        self.claim: Claim | None = None  # what runs now
        self.config: LaneConfig | None = None  # of its lane when it was claimed: that holds until it has ended
        self.start_by = 0.0  # it starts by then, or never (seconds of the steady clock)
        self.settled: Settled | None = None  # how the last one ended
        self._next: NextStep | Exception = None
        self._full = threading.Lock()
        self._full.acquire()

    def sleep(self) -> NextStep:
        """What the thread is to do next: run a claim, look at a refusal, settle a report; None: its hand-off is over.

        Raises what went wrong while others worked for it.
        """
        self._full.acquire()
        if isinstance(self._next, Exception):
            raise self._next
        return self._next

    def wake(self, following: NextStep | Exception) -> None:
        """Let the thread go on with this."""
        self._next = following
        self._full.release()


class HandOffs:
    """Those of this process, by the attempts that they answer for: the sweep does not take these for abandoned."""

    def __init__(self, identity: Identity, lanes: LaneLookup, clock: Callable[[], float]) -> None:
        self._identity = identity
        self._lanes = lanes
        self._clock = clock
        self._by_attempt: dict[str, HandOff] = {}

    def __contains__(self, attempt_id: str) -> bool:
        return attempt_id in self._by_attempt

    def __len__(self) -> int:
        return len(self._by_attempt)

    def of(self, attempt_id: str) -> HandOff | None:
        """The hand-off that answers for an attempt."""
        return self._by_attempt.get(attempt_id)

    def claim(self, tx: Tx, hand_off: HandOff, which: claims.Which) -> Claim | NotClaimed:
        """Claim a delivery for this worker, or say why not. From now on the hand-off answers for it."""
        now = self._clock()
        attempt_id = claims.new_attempt_id(now)
        hand_off.attempts.add(attempt_id)
        self._by_attempt[attempt_id] = hand_off
        hand_off.start_by = steady() + claims.START_SECONDS

        def settings(agent: str, transport: str) -> LaneSettings | None:
            hand_off.config = config = self._lanes.config(agent, transport)
            return config.claim if config else None

        return claims.claim(
            tx,
            which,
            attempt_id=attempt_id,
            worker=self._identity.worker,
            boot_id=self._identity.boot,
            settings=settings,
            now=now,
            host=self._identity.host_name,
        )

    def drop(self, hand_off: HandOff, attempt_id: str) -> None:
        """This attempt is settled."""
        hand_off.attempts.discard(attempt_id)
        self._by_attempt.pop(attempt_id, None)

    def let_go(self, hand_off: HandOff) -> None:
        """The hand-off is over: whatever is not settled now is the sweep's."""
        for attempt_id in hand_off.attempts:
            self._by_attempt.pop(attempt_id, None)
