"""`run --once`: poll each inbox, deliver what can be delivered now straight from the ledger, and end.

It never touches the queue, and has a worker row and a launcher of its own, so that it is safe beside a consumer. A
thread goes on with its lane by itself, as in the consumer; each delivery is tried once.
"""

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from worker.bus.client import BusClient
from worker.delivery import FINAL, MessageState, State
from worker.engine.engine import Engine
from worker.engine.finalizing import finalize
from worker.ledger import intake, lanes
from worker.ledger.configured import open_ledger
from worker.ledger.old_state import import_old_state
from worker.ledger.port import Tx
from worker.ledger.settling import Settled
from worker.outgoing import Sending, key_of
from worker.settings import Settings
from worker.telemetry.observer import Ended, Observer
from worker.telemetry.observers import Observers, observe
from worker.telemetry.redact import redact


@dataclass(slots=True)
class OnceResult:
    """What one run did: how many messages it delivered, and in words what it could not."""

    delivered: int = 0
    dead: list[str] = field(default_factory=list)
    retrying: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class _NoQueue:
    """Nobody is woken: this run looks for due heads itself, and a consumer's sweep finds what is left."""

    def __init__(self) -> None:
        self.finished: list[int] = []
        self.is_over = False
        self._failed: set[int] = set()  # lanes with a delivery that would come up again

    def deliver(self, delivery: int, at: float | None) -> None:
        """Nothing to do."""

    def finalize(self, message: int) -> None:
        """Remember what this run finished."""
        self.finished.append(message)

    def may_claim_next(self, seconds: float, after: Settled) -> bool:  # noqa: ARG002 - Queue has it
        """While nothing of the lane could be tried twice."""
        if any(one.state not in FINAL for one in (after, *after.others)):
            self._failed.add(after.lane)
        return not self.is_over and after.lane not in self._failed


class _Outcomes(Observer):
    """How each delivery ended, for the result."""

    def __init__(self, result: OnceResult) -> None:
        self._result = result
        self.tried: set[int] = set()

    def ended(self, what: Ended) -> None:
        """Remember it."""
        self.tried.add(what.delivery)
        words = f"delivery of message {what.agent}/{what.message_id} by {what.transport} is {what.state}: {what.reason}"
        if what.state is State.DEAD:
            self._result.dead.append(words)
        elif what.state in {State.RETRYING, State.HELD}:
            self._result.retrying.append(words)

    def expired(self, agent: str, transport: str, message_id: str) -> None:
        """Remember it: it goes dead without an attempt."""
        self._result.dead.append(f"delivery of message {agent}/{message_id} by {transport} is dead: expired")


def run_once(settings: Settings) -> OnceResult:
    """Poll and deliver once.

    Raises BusWatchError where the ledger cannot be used; a bus that cannot be read is among the result's errors.
    """
    database = open_ledger(settings)
    import_old_state(database, settings)
    queue = _NoQueue()
    result = OnceResult()
    outcomes = _Outcomes(result)
    engine = Engine(
        settings=settings,
        db=database,
        queue=queue,
        bus=BusClient(max_connections=len(settings.agents) + 2),
        kind="once",
        redact=redact.tail,
        observer=Observers([observe(settings, None), outcomes]),
    )
    engine.start()
    try:
        engine.sweeper.sweep()
        with ThreadPoolExecutor(max_workers=settings.workers) as pool:
            try:
                _poll_all(engine, pool, result)
                _send_all(engine, result)
                _deliver_all(engine, pool, outcomes.tried)
            finally:
                queue.is_over = True  # where it is interrupted, the pool waits for what runs, and for no more
        if engine.stopping.is_set():
            result.errors.append("the launcher died; run it again")
        result.delivered = finalize(database, queue.finished, engine.clock()).count(MessageState.DELIVERED)
        engine.teller.round()  # what came tells something, and what has failed now is told at once
        _send_all(engine, result)
        return result
    finally:
        engine.stop()


def _poll_all(engine: Engine, pool: ThreadPoolExecutor, result: OnceResult) -> None:
    names = [agent.agent for agent in engine.settings.agents if agent.transports]
    list(pool.map(lambda name: engine.poller.poll(name, asked=True), names))
    for agent in engine.settings.agents:
        if not agent.transports:
            result.errors.append(f"{agent.agent}: no transport is configured, so it is not polled")
            continue
        error = engine.db.read(lambda db, name=agent.agent: intake.last_error(db, name))  # type: ignore[misc]
        if error:
            result.errors.append(f"{agent.agent}: {error}")


def _send_all(engine: Engine, result: OnceResult) -> None:
    """Send what the outbox has for the bus; each message is tried once."""
    engine.outbox.recover()
    tried: set[int] = set()
    while due := [one for one in engine.outbox.heads() if one.id not in tried and (one.next_at or 0) <= engine.clock()]:
        for head in due:
            tried.add(head.id)
            found = engine.outbox.send(head)
            if found is not None and found.state is not Sending.SENT:
                words = f"{key_of(head.id)} to {head.recipient} is {found.state}: {found.reason}"
                (result.dead if found.state is Sending.DEAD else result.retrying).append(words)


def _deliver_all(engine: Engine, pool: ThreadPoolExecutor, tried: set[int]) -> None:
    """Keep the pool busy with due heads until there is none; each is tried once in this run."""
    busy: dict[Future[Settled | None], int] = {}
    while not engine.stopping.is_set():
        for lane, delivery in engine.db.read(lambda db: _due_heads(engine, db, tried)):
            if lane not in busy.values() and delivery not in tried:
                tried.add(delivery)
                busy[pool.submit(engine.dispatcher.deliver, delivery)] = lane
        if not busy:
            return
        for future in wait(busy, return_when=FIRST_COMPLETED).done:
            del busy[future]
            future.result()


def _due_heads(engine: Engine, db: Tx, tried: set[int]) -> list[tuple[int, int]]:
    now = engine.clock()
    heads = []
    for lane in lanes.every(db):
        settings = engine.lanes.claim_settings(lane.agent, lane.transport)
        if settings is None:
            continue
        host = engine.identity.host_name
        found = lanes.candidate(db, lane.id, ordered=settings.ordered, now=now, but=tried, host=host)
        if found is not None and (found.next_at is None or found.next_at <= now):
            heads.append((lane.id, found.delivery))
    return heads
