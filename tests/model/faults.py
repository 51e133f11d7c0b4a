"""What befalls a host, and what a person does: kills, power cuts, threads that end, `drop` and `retry`."""

from collections.abc import Iterator
from itertools import product

from tests.model import ledger
from tests.model.rules import Scenario
from tests.model.worker import IDLE, Step, stopped
from tests.model.world import OK, RUNNING, Child, File, LauncherId, World, put


def fault_steps(world: World, scenario: Scenario) -> Iterator[Step]:
    """All faults that are still to come, and all commands."""
    budget = world.budget
    if budget.worker_kills:
        for slot, worker in enumerate(world.workers):
            if worker.up:
                yield Step(f"WORKER {slot} IS KILLED", stopped(world, slot).spent("worker_kills"), fault=True)
    if budget.lost_threads:
        yield from _lost_threads(world)
    if budget.launcher_kills:
        for launcher in world.launchers:
            yield Step(f"LAUNCHER {launcher} IS KILLED", _launcher_killed(world, scenario, launcher), fault=True)
    if budget.power_cuts:
        for host in range(len(world.hosts)):
            yield from _power_cut(world, scenario, host)
    if budget.commands:
        yield from _commands(world, scenario)


def _lost_threads(world: World) -> Iterator[Step]:
    """huey logs an exception and goes on: the thread is gone, the process is not (`HandOffs.let_go`)."""
    for slot, worker in enumerate(world.workers):
        for number, thread in enumerate(worker.threads):
            if thread.at != "idle":
                lost = world.with_thread(slot, number, IDLE).spent("lost_threads")
                yield Step(f"WORKER {slot} LOSES THREAD {number}", lost, fault=True)


def allow_again(world: World, scenario: Scenario, members: tuple[int, ...]) -> World:
    """Nobody will ever know how an attempt of these ended: with `redeliver` it may be done once more."""
    if scenario.hold:
        return world
    allowed = world.past.allowed
    for one in members:
        allowed = put(allowed, one, allowed[one] + 1)
    return world._replace(past=world.past._replace(allowed=allowed))


def _launcher_killed(world: World, scenario: Scenario, launcher: LauncherId) -> World:
    """Requests are gone, what runs is an orphan, and what has ended without a receipt has none."""
    children: list[Child] = []
    for child in world.children:
        if child.launcher != launcher or child.phase in {"written", "orphan"}:
            children.append(child)
            continue
        if child.phase in {"running", "exited", "torn"} and child.outcome in {"", OK}:
            world = allow_again(world, scenario, child.members)
        if child.phase == "running":
            children.append(child._replace(phase="orphan"))
    left = tuple(one for one in world.launchers if one != launcher)
    return world._replace(children=tuple(sorted(children)), launchers=left).spent("launcher_kills")


def _power_cut(world: World, scenario: Scenario, host: int) -> Iterator[Step]:
    """All processes are gone; of each file that nobody has synced, and of the queue, nobody knows what is left."""
    gone = [slot for slot, where in enumerate(scenario.hosts) if where == host]
    for child in world.children:
        if child.launcher[0] in gone and child.phase not in {"asked", "noted"} and child.outcome in {"", OK}:
            world = allow_again(world, scenario, child.members)
    for run in world.attempts:
        file = world.file(run.id)
        if run.launcher[0] in gone and world.child(run.id) is None and file is not None and file.receipt == OK:
            world = allow_again(world, scenario, run.members)
    for slot in gone:
        world = stopped(world, slot)
    children = tuple(one for one in world.children if one.launcher[0] not in gone)
    launchers = tuple(one for one in world.launchers if one[0] not in gone)
    hosts = put(world.hosts, host, world.hosts[host]._replace(boot=world.hosts[host].boot + 1))
    world = world._replace(children=children, launchers=launchers, hosts=hosts).spent("power_cuts")
    kept = [one for one in world.files if one.attempt not in _of(world, gone)]
    for left in product(*[_leftovers(one) for one in world.files if one.attempt in _of(world, gone)]):
        files = tuple(sorted([*kept, *(file for file in left if file is not None)]))
        after = world._replace(files=files)
        yield Step(f"THE POWER FAILS on host {host}, left: {files}", after, fault=True)
        if world.queue or world.schedule:
            emptied = after._replace(queue=(), schedule=())
            yield Step(f"THE POWER FAILS on host {host}, left: {files}, no queue", emptied, fault=True)


def _of(world: World, slots: list[int]) -> set[tuple[int, int]]:
    return {run.id for run in world.attempts if run.launcher[0] in slots}


def _leftovers(file: File) -> tuple[File | None, ...]:
    """What of a file may be on the disk after a power cut."""
    return (file, file._replace(receipt=""), None) if file.receipt else (file, None)


def _commands(world: World, scenario: Scenario) -> Iterator[Step]:
    """`bus-watch drop` and `bus-watch retry`, of any delivery at any time."""
    for delivery, row in enumerate(world.deliveries):
        if row.state == "new":
            continue
        dropped = ledger.drop(world, scenario, delivery)
        if dropped is not None:
            words = "when it ends" if row.state == RUNNING else "at once"
            yield Step(f"a person drops {delivery}, {words}", dropped.spent("commands"), fault=True)
        asked = ledger.retry(world, scenario, delivery)
        if asked is not None:
            yield Step(f"a person retries {delivery}", asked.spent("commands"), fault=True)
