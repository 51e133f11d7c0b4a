"""The sweep: worker/engine/sweeping.py, and the recovery that it makes, worker/transports/recovery.py.

Each look of `recovery.inspect` is a step of its own, for the world goes on in between.
"""

from collections.abc import Iterator

from tests.model import ledger
from tests.model.rules import Scenario
from tests.model.worker import Step, is_abandoned, sent, wake_ups
from tests.model.world import FAILED, INTERRUPTED, TORN, VOID, AttemptId, File, Sweep, World


def sweep_steps(world: World, scenario: Scenario) -> Iterator[Step]:
    """All that the workers' sweeps may do next."""
    for slot, worker in enumerate(world.workers):
        if not worker.up or world.hosts[scenario.hosts[slot]].away:
            continue
        name = f"the sweep of worker {slot}"
        if worker.sweep is not None:
            yield from _inspect(world, scenario, slot, worker.sweep, name)
            continue
        for run in world.attempts:
            mine = scenario.hosts[run.launcher[0]] == scenario.hosts[slot]
            own = run.launcher == (slot, worker.incarnation)
            if mine and not run.lapsed and is_abandoned(world, run.id, slot):
                if own and not scenario.rules.own_attempts_too:
                    continue
                first = "note" if scenario.rules.void_note else "receipt"
                yield Step(f"{name} looks at {run.id}", _goes_on(world, slot, Sweep(run.id, first)))
        if scenario.queue:
            yield from _wakes(world, scenario, name)
    if not scenario.rules.void_note_stays:
        for file in world.files:
            if file.void and world.attempt(file.attempt) is None:
                yield Step(f"a sweep removes the void note of {file.attempt}", world.without_file(file.attempt))


def _goes_on(world: World, slot: int, sweep: Sweep | None) -> World:
    return world.with_worker(slot, world.workers[slot]._replace(sweep=sweep))


def _inspect(world: World, scenario: Scenario, slot: int, sweep: Sweep, name: str) -> Iterator[Step]:
    """`recovery.inspect`, in its order; then `Sweeper._end`."""
    attempt, rules = sweep.attempt, scenario.rules

    def then(at: str, outcome: str = "", after: World = world) -> World:
        return _goes_on(after, slot, Sweep(attempt, at, outcome))

    match sweep.at:
        case "note":
            yield _void(world, scenario, slot, attempt, name)
        case "receipt":
            found = receipt_of(world, attempt)
            yield Step(f"{name} reads {found or 'no receipt'}", then("settle", found) if found else then("launcher"))
        case "launcher":
            run = world.attempt(attempt)
            lives = run is not None and run.launcher in world.launchers and rules.launcher_is_asked
            if lives:
                yield Step(f"{name} leaves {attempt}: its launcher lives", _goes_on(world, slot, None))
            else:
                yield Step(f"{name} finds the launcher of {attempt} gone", then("orphan"))
        case "orphan":
            yield from _orphan(world, scenario, slot, attempt, name)
        case "again":
            found = receipt_of(world, attempt) if rules.receipt_read_again else ""
            yield Step(f"{name} reads {found or 'no receipt'} again", then("settle", found or INTERRUPTED))
        case "settle":
            settled, changed = ledger.settle(world, scenario, attempt, sweep.outcome)
            label = f"{name} settles {attempt}: {sweep.outcome if changed else 'somebody else has'}"
            after = _goes_on(settled, slot, None)
            yield Step(label, after)  # a crash before it hands on is this, and a wake-up less
            for wake in wake_ups(settled, scenario, changed):
                yield Step(f"{label}; hands on {wake}", sent(after, wake))


def _void(world: World, scenario: Scenario, slot: int, attempt: AttemptId, name: str) -> Step:
    """`create_void_note`: it could be created, or is there: the attempt never started, and never will."""
    run, file = world.attempt(attempt), world.file(attempt)
    boot = world.hosts[scenario.hosts[slot]].boot
    if run is not None and run.boot != boot and scenario.rules.boot_is_asked:
        return Step(f"{name}: {attempt} is of another boot", _goes_on(world, slot, Sweep(attempt, "receipt")))
    if file is not None and not file.void:
        return Step(f"{name}: {attempt} was started", _goes_on(world, slot, Sweep(attempt, "receipt")))
    void = world.with_file(File(attempt, void=True))
    return Step(f"{name} voids {attempt}", _goes_on(void, slot, Sweep(attempt, "settle", VOID)))


def _orphan(world: World, scenario: Scenario, slot: int, attempt: AttemptId, name: str) -> Iterator[Step]:
    """`_outlives_its_launcher`: leave it until its time-out; then kill what is proven to be that session."""
    child, file = world.child(attempt), world.file(attempt)
    again = _goes_on(world, slot, Sweep(attempt, "again"))
    if child is None or child.phase != "orphan" or not scenario.rules.orphan_is_waited_for:
        yield Step(f"{name} finds no session of {attempt}", again)
        return
    yield Step(f"{name} leaves the orphan {attempt}", _goes_on(world, slot, None))
    if file is not None and file.named:
        killed = _goes_on(world.without_child(child), slot, Sweep(attempt, "again"))
        yield Step(f"{name} kills the overdue orphan {attempt}", killed)
    else:  # nobody knows which process it is: docs/protocol.md#what-cannot-be-closed
        yield Step(f"{name} gives up the orphan {attempt}", again.with_child(child._replace(given_up=True)))


def receipt_of(world: World, attempt: AttemptId) -> str:
    """`read_receipt`: how it ended; empty when there is no receipt, or half of one, or another attempt's."""
    file = world.file(attempt)
    if file is None or file.void:
        return ""
    if file.receipt == TORN:
        return FAILED
    return file.receipt or file.stale


def _wakes(world: World, scenario: Scenario, name: str) -> Iterator[Step]:
    """`Sweeper._wake`: heads that nobody is about to run, as the queue has lost them."""
    if not scenario.rules.sweep_wakes:
        return
    for lane in range(scenario.lanes):
        head = ledger.head_of(world, scenario, lane)
        if head is None or ledger.running_in(world, scenario, lane) or head in {*world.queue, *world.schedule}:
            continue
        yield Step(f"{name} wakes {head}", sent(world, ("queue", head)))
