"""The ledger's transactions, each one step.

They stand in worker/ledger: claims.py, settling.py, groups.py, lanes.py, operate.py, intake.py.
"""

from collections.abc import Iterator

from tests.model.rules import Scenario
from tests.model.search import Broken
from tests.model.world import (
    CANCELLED,
    DEAD,
    FAILED,
    FINAL,
    HELD,
    NEW,
    NOT_STARTED,
    OK,
    PENDING,
    RETRYING,
    RUNNING,
    SUCCEEDED,
    VOID,
    WAITING,
    Attempt,
    AttemptId,
    Delivery,
    Message,
    World,
    put,
)


def head_of(world: World, scenario: Scenario, lane: int) -> int | None:
    """The view `lane_heads`: the earliest delivery of the lane that is waiting or retrying."""
    return next((one for one in scenario.in_lane(lane) if world.deliveries[one].state in PENDING), None)


def running_in(world: World, scenario: Scenario, lane: int) -> bool:
    """Whether anything of the lane is running, as the ledger sees it."""
    return any(world.deliveries[one].state == RUNNING for one in scenario.in_lane(lane))


def is_claimable(world: World, scenario: Scenario, delivery: int, host: int) -> bool:
    """`lanes.obstacle`; what is not due, paused, throttled or gathering is claimed later, which is another order."""
    rules, lane = scenario.rules, scenario.lane_of(delivery)
    if world.deliveries[delivery].state not in PENDING:
        return False
    if scenario.fleet and rules.lane_is_asked and world.lanes[lane] != (host, None):
        return False
    if rules.one_runs_per_lane and running_in(world, scenario, lane):
        return False
    return not (scenario.ordered and rules.head_first) or head_of(world, scenario, lane) == delivery


def claims(
    world: World, scenario: Scenario, delivery: int, slot: int
) -> Iterator[tuple[World, AttemptId, tuple[int, ...]]]:
    """`claims.claim`: the delivery is running, with a new attempt; where it coalesces, each group that may go with it.

    Which of those behind it are due, and how many fit, is left open: `groups.gather` takes one of these.
    """
    row = world.deliveries[delivery]
    attempt = (delivery, row.starts + 1)
    lane = scenario.in_lane(scenario.lane_of(delivery))
    behind = [one for one in lane if one > delivery and world.deliveries[one].state in PENDING]
    for more in range(len(behind) + 1 if scenario.coalesce else 1):
        members = (delivery, *behind[:more])
        deliveries = world.deliveries
        for one in members:
            old = deliveries[one]
            deliveries = put(deliveries, one, old._replace(state=RUNNING, attempt=attempt, starts=old.starts + 1))
        worker = world.workers[slot]
        boot = world.hosts[scenario.hosts[slot]].boot
        starts = tuple(deliveries[one].starts for one in members)
        run = Attempt(attempt, members, starts, (slot, worker.incarnation), boot)
        attempts = tuple(sorted([*world.attempts, run]))
        yield world._replace(deliveries=deliveries, attempts=attempts), attempt, members


def settle(world: World, scenario: Scenario, attempt: AttemptId, outcome: str) -> tuple[World, tuple[int, ...]]:
    """`settling.settle`: by compare-and-set; the delivery and its companions. Returns what it changed."""
    rules = scenario.rules
    if rules.settle_by_attempt:
        mine = [n for n, row in enumerate(world.deliveries) if row.attempt == attempt]
    else:
        mine = [attempt[0]] if world.deliveries[attempt[0]].state == RUNNING else []
    if attempt[0] not in mine:
        return world, ()
    if not rules.settle_whole_group:
        mine = [attempt[0]]
    deliveries = world.deliveries
    for one in mine:
        if outcome == OK and world.past.successes[one] == 0:
            raise Broken(f"delivery {one} counts as succeeded, and never was")
        deliveries = put(deliveries, one, decide(deliveries[one], outcome, scenario))
    run = world.deliveries[attempt[0]].attempt
    left = tuple(one for one in world.attempts if one.id != run)
    settled = world._replace(deliveries=deliveries, attempts=left)
    return finish(settled, scenario, mine), tuple(mine)


def decide(row: Delivery, outcome: str, scenario: Scenario) -> Delivery:
    """`worker.delivery.decide`, without pauses and the limits that only time reaches."""
    burnt = row.burnt
    if outcome == OK:
        state = SUCCEEDED
    elif row.cancel:
        state = CANCELLED
    elif outcome == VOID:
        state = WAITING
    elif outcome == NOT_STARTED:
        state = RETRYING
    else:
        burnt += 1
        ended = DEAD if burnt >= scenario.max_attempts else RETRYING
        state = HELD if outcome != FAILED and scenario.hold else ended
    return row._replace(state=state, attempt=None, burnt=burnt, cancel=False)


def finish(world: World, scenario: Scenario, changed: list[int] | tuple[int, ...]) -> World:
    """`settling.finish`, of the messages of these deliveries: once, where the message is still open."""
    for message in sorted({scenario.message_of(one) for one in changed}):
        states = [world.deliveries[one].state for one in scenario.of_message(message)]
        row = world.messages[message]
        if any(state not in FINAL for state in states) or (scenario.rules.finish_once and row.state != "open"):
            continue
        if row.finished:
            raise Broken(f"message {message} is finished twice")
        state = "delivered" if all(state == SUCCEEDED for state in states) else "failed"
        world = world._replace(messages=put(world.messages, message, Message(state, row.finished + 1)))
    return world


def take_in(world: World, scenario: Scenario, messages: list[int]) -> World:
    """`intake.take_in`: the messages that are new, each with its deliveries `waiting`."""
    deliveries, rows = world.deliveries, world.messages
    for message in messages:
        if rows[message].state != NEW:
            continue
        late = any(row.state != NEW for row in rows[message + 1 :])
        rows = put(rows, message, Message("open"))
        for one in scenario.of_message(message):
            deliveries = put(deliveries, one, Delivery(WAITING, exempt=late))
    return world._replace(deliveries=deliveries, messages=rows)


def drop(world: World, scenario: Scenario, delivery: int) -> World | None:
    """`operate.drop`: cancelled at once, or when it ends; None where there is nothing to drop."""
    row = world.deliveries[delivery]
    if row.state in PENDING | {HELD, DEAD}:
        row = row._replace(state=CANCELLED)
    elif row.state == RUNNING and scenario.rules.drop_waits and not row.cancel:
        row = row._replace(cancel=True)
    elif row.state == RUNNING and not scenario.rules.drop_waits:
        world = world._replace(attempts=tuple(one for one in world.attempts if one.id != row.attempt))
        row = row._replace(state=CANCELLED, attempt=None)
    else:
        return None
    return finish(world._replace(deliveries=put(world.deliveries, delivery, row)), scenario, [delivery])


def retry(world: World, scenario: Scenario, delivery: int) -> World | None:
    """`operate.retry`: it waits again, and its message is open again; None where there is nothing to retry."""
    row = world.deliveries[delivery]
    if row.state not in {HELD, DEAD, CANCELLED}:
        return None
    row = row._replace(state=WAITING, burnt=0, cancel=False, exempt=True)
    past = world.past
    # Whoever asks again for what may have been done means it.
    allowed = put(past.allowed, delivery, past.allowed[delivery] + past.successes[delivery])
    message = scenario.message_of(delivery)
    return world._replace(
        deliveries=put(world.deliveries, delivery, row),
        messages=put(world.messages, message, Message("open")),
        past=past._replace(allowed=allowed),
    )
