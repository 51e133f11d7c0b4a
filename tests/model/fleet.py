"""Several hosts and one ledger: partitions, lost hosts, lanes that move, late receipts. See docs/model.md#the-fleet.

Time is let pass where it matters: while the host of an attempt cannot be reached.
"""

from collections.abc import Iterator

from tests.model import ledger
from tests.model.faults import allow_again
from tests.model.rules import Scenario
from tests.model.search import Broken
from tests.model.sweep import receipt_of
from tests.model.worker import Step, stopped
from tests.model.world import HELD, INTERRUPTED, OK, RETRYING, SUCCEEDED, Attempt, Host, Lane, World, put


def fleet_steps(world: World, scenario: Scenario) -> Iterator[Step]:
    """What hosts may do that is not any worker's own, and what their being away brings."""
    if not scenario.fleet:
        return
    for number, host in enumerate(world.hosts):
        yield from _comes_and_goes(world, scenario, number, host)
        if not host.away and _works(world, scenario, number):
            yield from _lanes(world, scenario, number)
            yield from _late(world, scenario, number)
    for run in world.attempts:
        if not run.lapsed:
            yield from _time_passes(world, scenario, run)
            yield from _given_up(world, scenario, run)


def host_of(run: Attempt, scenario: Scenario) -> int:
    """Where an attempt runs."""
    return scenario.hosts[run.launcher[0]]


def _works(world: World, scenario: Scenario, number: int) -> bool:
    return any(worker.up and scenario.hosts[slot] == number for slot, worker in enumerate(world.workers))


def _with_host(world: World, number: int, host: Host) -> World:
    return world._replace(hosts=put(world.hosts, number, host))


def _comes_and_goes(world: World, scenario: Scenario, number: int, host: Host) -> Iterator[Step]:
    """A partition and its end; no heartbeat for `host_lost_after`; `hosts forget`; a host that burns."""
    silent = host.away or not _works(world, scenario, number)
    if not host.away and world.budget.partitions:
        away = _with_host(world.spent("partitions"), number, host._replace(away=True))
        yield Step(f"HOST {number} CANNOT REACH THE LEDGER", away, fault=True)
    if host.away and not host.gone:
        back = _with_host(world, number, host._replace(away=False, lost=False))
        yield Step(f"host {number} can reach the ledger again", back)
    if silent and not host.lost:
        yield Step(f"host {number} counts as lost", _with_host(world, number, host._replace(lost=True)))
    if silent and not host.forgotten and (host.gone or world.budget.commands):
        forgotten = _with_host(world, number, host._replace(forgotten=True))
        words = f"a person says: hosts forget {number}"
        yield Step(words, forgotten if host.gone else forgotten.spent("commands"), fault=not host.gone)
    if not host.gone and world.budget.lost_hosts:
        yield Step(f"HOST {number} BURNS", _burns(world, scenario, number, host), fault=True)


def _burns(world: World, scenario: Scenario, number: int, host: Host) -> World:
    """Its processes and its disk are gone, for ever."""
    slots = {slot for slot, where in enumerate(scenario.hosts) if where == number}
    for slot in slots:
        world = stopped(world, slot)
    mine = {run.id for run in world.attempts if run.launcher[0] in slots}
    return _with_host(
        world._replace(
            launchers=tuple(one for one in world.launchers if one[0] not in slots),
            attempts=tuple(run for run in world.attempts if not (run.lapsed and run.id in mine)),  # it will never say
            children=tuple(one for one in world.children if one.launcher[0] not in slots),
            files=tuple(one for one in world.files if one.attempt not in mine),
        ),
        number,
        host._replace(away=True, gone=True),
    ).spent("lost_hosts")


def _lanes(world: World, scenario: Scenario, number: int) -> Iterator[Step]:
    """A host takes a lane over, by compare-and-set and with nothing running: a lost host's, or one given to it.

    Hosts are preferred in their order: an earlier one takes a lane back. `move` names the host that is to have a lane.
    """
    for lane, row in enumerate(world.lanes):
        if row.host == number:
            if world.budget.moves and row.moving_to is None:
                for other in range(len(world.hosts)):
                    if other != number:
                        moving = world._replace(lanes=put(world.lanes, lane, row._replace(moving_to=other)))
                        yield Step(f"a person moves lane {lane} to host {other}", moving.spent("moves"), fault=True)
            continue
        may = scenario.anywhere and (world.hosts[row.host].lost or number < row.host) and row.moving_to is None
        may = may or row.moving_to == number or world.hosts[row.host].forgotten
        idle = not ledger.running_in(world, scenario, lane) or not scenario.rules.take_over_idle_lanes_only
        if may and idle:
            taken = world._replace(lanes=put(world.lanes, lane, Lane(number)))
            yield Step(f"host {number} takes lane {lane} from host {row.host}", taken)


def _time_passes(world: World, scenario: Scenario, run: Attempt) -> Iterator[Step]:
    """Claim + 30 s: its launcher will not start it any more. Then its time-out and 10 s: it must be over.

    The launcher has seen to that, if it lives. An orphan on a host that is away nobody ends: what cannot be closed.
    """
    number = host_of(run, scenario)
    if not (world.hosts[number].away or not _works(world, scenario, number)) or run.fence == 2:
        return
    child = world.child(run.id)
    if run.fence and child is not None and child.phase in {"noted", "running"}:
        return
    later = tuple(one._replace(fence=one.fence + 1) if one.id == run.id else one for one in world.attempts)
    after = world._replace(attempts=later)
    if run.fence and child is not None and child.phase == "orphan":
        after = after.with_child(child._replace(given_up=True))
    yield Step(f"attempt {run.id} {'must be over' if run.fence else 'is too late to start'}", after)


def _given_up(world: World, scenario: Scenario, run: Attempt) -> Iterator[Step]:
    """Another host calls the attempt of a lost host unknown, if its lane may run elsewhere; or of a forgotten one."""
    number, rules = host_of(run, scenario), scenario.rules
    host = world.hosts[number]
    if not any(not other.away and _works(world, scenario, n) for n, other in enumerate(world.hosts) if n != number):
        return
    if host.forgotten:
        may = run.fence == 2 or not rules.forget_waits
    else:
        may = scenario.anywhere and host.lost and (run.fence == 2 or not rules.must_be_over)
    if not may:
        return
    settled, changed = ledger.settle(allow_again(world, scenario, run.members), scenario, run.id, INTERRUPTED)
    assert changed
    if not host.gone:
        kept = sorted([*settled.attempts, run._replace(lapsed=True)])
        settled = settled._replace(attempts=tuple(kept))
    yield Step(f"another host calls {run.id} unknown", settled)


def _late(world: World, scenario: Scenario, number: int) -> Iterator[Step]:
    """A host is back, and looks at what others called unknown: by recovery's own order, here in one step."""
    rules = scenario.rules
    for run in world.attempts:
        if not run.lapsed or host_of(run, scenario) != number:
            continue
        lives = run.launcher in world.launchers
        if not rules.late_needs_its_files and not lives and world.file(run.id) is not None:
            yield Step(f"a sweep of host {number} removes the files of {run.id}", world.without_file(run.id))
        said = receipt_of(world, run.id)
        child = world.child(run.id)
        if not said and (lives or child is not None):
            if child is not None and child.phase == "orphan":
                yield Step(f"host {number} kills the orphan {run.id}", world.without_child(child))
            elif child is None:  # it never began
                yield Step(f"host {number} finds that {run.id} never began", _told(world, run))
            continue
        after = _told(world, run)
        if said == OK and rules.late_receipt_believed:
            after = _believed(after, scenario, run)
        yield Step(f"host {number} tells how {run.id} ended: {said or 'nobody knows'}", after)


def _told(world: World, run: Attempt) -> World:
    return world._replace(attempts=tuple(one for one in world.attempts if one.id != run.id))


def _believed(world: World, scenario: Scenario, run: Attempt) -> World:
    """A late receipt says exit 0: what is still held, or retrying and not begun, has succeeded."""
    for one, starts in zip(run.members, run.starts, strict=True):
        row = world.deliveries[one]
        begun = row.starts != starts or row.state not in {HELD, RETRYING}
        if begun and (scenario.rules.late_only_if_not_begun or row.state == SUCCEEDED):
            continue
        attempts = tuple(other for other in world.attempts if other.id != row.attempt)
        done = row._replace(state=SUCCEEDED, attempt=None, cancel=False)
        world = world._replace(deliveries=put(world.deliveries, one, done), attempts=attempts)
    return ledger.finish(world, scenario, run.members)


def promises_at_end(world: World, scenario: Scenario) -> None:
    """Where nothing is gone for ever, nothing is held of which a receipt says exit 0."""
    budget = scenario.budget
    if budget.launcher_kills or budget.power_cuts or budget.lost_hosts:
        return
    for one, row in enumerate(world.deliveries):
        if row.state == HELD and world.past.successes[one]:
            raise Broken(f"delivery {one} is held, and its receipt says exit 0")
