"""The deliver threads of a worker with its launcher's reader, and the queue between them: worker/engine, tasks.

What needs the ledger does not happen while the worker's host is away from it.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tests.model import ledger
from tests.model.rules import Scenario
from tests.model.world import (
    NEW,
    PENDING,
    RETRYING,
    Child,
    Thread,
    Worker,
    World,
    added,
    put,
    removed,
)


class Step(NamedTuple):
    """What happens next. `fault`: it may happen, but nobody may count on it."""

    label: str
    world: World
    fault: bool = False


IDLE = Thread()


def worker_steps(world: World, scenario: Scenario) -> Iterator[Step]:
    """All that the workers' threads, schedulers and polls may do next."""
    for slot, worker in enumerate(world.workers):
        name = f"worker {slot}"
        if not worker.up:
            if world.hosts[scenario.hosts[slot]].gone:
                continue
            yield Step(f"{name} starts", _started(world, scenario, slot))
            continue
        if (slot, worker.incarnation) not in world.launchers:  # Dispatcher._launcher_died
            yield Step(f"{name} stops: its launcher is gone", stopped(world, slot))
        away = world.hosts[scenario.hosts[slot]].away
        for number, thread in enumerate(worker.threads):
            yield from _thread_steps(world, scenario, slot, number, thread, f"{name}, thread {number},", away=away)
        if scenario.queue and not (scenario.once and slot == len(world.workers) - 1) and not away:
            yield from _schedule(world, slot, worker, name)
            if slot == 0:
                yield from _poll(world, scenario, worker)
    if scenario.late and not scenario.queue:
        yield from _arrivals(world, scenario)


def _started(world: World, scenario: Scenario, slot: int) -> World:
    """`Engine.start`, by its supervisor: a new worker row, lock and launcher."""
    threads = (IDLE,) * scenario.threads
    incarnation = world.workers[slot].incarnation + 1
    launchers = tuple(sorted([*world.launchers, (slot, incarnation)]))
    host = scenario.hosts[slot]
    found = world.hosts[host]
    hosts = put(world.hosts, host, found._replace(lost=found.lost and found.away))  # its heartbeat
    started = Worker(incarnation, up=True, threads=threads)
    return world.with_worker(slot, started)._replace(launchers=launchers, hosts=hosts)


def stopped(world: World, slot: int) -> World:
    """The process is gone, and its lock is free; what its launcher has, goes on."""
    return world.with_worker(slot, Worker(world.workers[slot].incarnation, up=False, threads=()))


def _thread_steps(
    world: World, scenario: Scenario, slot: int, number: int, thread: Thread, name: str, *, away: bool
) -> Iterator[Step]:
    """`Dispatcher.deliver`, and `Dispatcher.runs_ended` for it."""

    if thread.at == "asked":  # LauncherClient._hear
        child = world.child(thread.attempt) if thread.attempt else None
        if child is not None and child.phase == "written":
            ended = thread._replace(at="ended", outcome=child.outcome)
            told = world.without_child(child).with_thread(slot, number, ended)
            yield Step(f"{name} hears that {child.attempt} ended: {child.outcome}", told)
    elif thread.at == "claimed" and thread.attempt is not None:  # Dispatcher._begin, LauncherClient.ask
        worker = (slot, world.workers[slot].incarnation)
        if worker in world.launchers:
            request = Child(thread.attempt, thread.members, worker, "asked")
            asked = world.with_child(request).with_thread(slot, number, thread._replace(at="asked"))
            yield Step(f"{name} asks for {thread.attempt}", asked)
    elif thread.at == "settled":  # Endings.follow_up
        yield from _follow_up(world, scenario, slot, number, thread, name)
    elif not away:
        if thread.at == "idle":
            yield from _looks_for_work(world, scenario, slot, number, thread, name)
        elif thread.at in {"woken", "looked"}:
            yield from _claims(world, scenario, slot, number, thread.delivery, name)
        elif thread.at == "ended":
            yield from _settles(world, scenario, slot, number, thread, name)


def _looks_for_work(
    world: World, scenario: Scenario, slot: int, number: int, thread: Thread, name: str
) -> Iterator[Step]:
    """A task is taken out of the queue, where a crash now loses it; without a queue, whatever can be claimed."""
    if scenario.queue and not (scenario.once and slot == len(world.workers) - 1):
        for delivery in world.queue:
            taken = world._replace(queue=removed(world.queue, delivery))
            woken = taken.with_thread(slot, number, thread._replace(at="woken", delivery=delivery))
            yield Step(f"{name} takes the task of {delivery}", woken)
        return
    for delivery in range(len(world.deliveries)):
        if ledger.is_claimable(world, scenario, delivery, scenario.hosts[slot]):
            if scenario.rules.claim_in_one_transaction:
                yield from _claims(world, scenario, slot, number, delivery, name)
            else:
                looked = world.with_thread(slot, number, thread._replace(at="looked", delivery=delivery))
                yield Step(f"{name} sees that {delivery} can be claimed", looked)


def _claims(world: World, scenario: Scenario, slot: int, number: int, delivery: int, name: str) -> Iterator[Step]:
    """`Dispatcher._claim`: one transaction."""
    at = world.workers[slot].threads[number].at
    if at == "woken" and not scenario.rules.claim_in_one_transaction:
        can = ledger.is_claimable(world, scenario, delivery, scenario.hosts[slot])
        looked = world.with_thread(slot, number, Thread("looked", delivery) if can else IDLE)
        yield Step(f"{name} looks whether {delivery} can be claimed", looked)
        return
    if at != "looked" and not ledger.is_claimable(world, scenario, delivery, scenario.hosts[slot]):
        yield Step(f"{name} cannot claim {delivery}", world.with_thread(slot, number, IDLE))
        return
    for claimed, attempt, members in ledger.claims(world, scenario, delivery, slot):
        thread = Thread("claimed", attempt=attempt, members=members)
        label = f"{name} claims {list(members)} as {attempt}"
        yield Step(label, claimed.with_thread(slot, number, thread))
        # An answer that was lost: the thread lets go of it, and its own sweep finds an attempt that nobody holds.
        yield from _answer_lost(label, claimed.with_thread(slot, number, IDLE), scenario, slot)


def _answer_lost(label: str, after: World, scenario: Scenario, slot: int) -> Iterator[Step]:
    """The ledger has committed, and its host hears nothing any more."""
    if after.budget.lost_answers:
        host = scenario.hosts[slot]
        hosts = (*after.hosts[:host], after.hosts[host]._replace(away=True), *after.hosts[host + 1 :])
        yield Step(f"{label}, THE ANSWER IS LOST", after.spent("lost_answers")._replace(hosts=hosts), fault=True)


def _settles(world: World, scenario: Scenario, slot: int, number: int, thread: Thread, name: str) -> Iterator[Step]:
    """`Endings.write`: one transaction, in which the lane's next head may be claimed too."""
    attempt = thread.attempt
    assert attempt is not None
    if not scenario.rules.unlink_after_settle and world.file(attempt) is not None:
        yield Step(f"{name} removes the files of {attempt}", world.without_file(attempt))
        return
    settled, changed = ledger.settle(world, scenario, attempt, thread.outcome)
    label = f"{name} settles {attempt}: {thread.outcome if changed else 'somebody else has'}"
    owed = wake_ups(settled, scenario, changed)
    rest = Thread("settled", owed=owed) if owed else IDLE
    yield Step(label, settled.with_thread(slot, number, rest))
    yield from _answer_lost(label, settled.with_thread(slot, number, thread), scenario, slot)
    if not changed:
        return
    head = _next_of(settled, scenario, changed)
    if head is None or not (
        ledger.is_claimable(settled, scenario, head, scenario.hosts[slot]) or not scenario.rules.next_claim_is_a_claim
    ):
        return
    for claimed, following, members in ledger.claims(settled, scenario, head, slot):
        both = f"{label}; claims {list(members)} as {following}"
        yield Step(both, claimed.with_thread(slot, number, Thread("claimed", attempt=following, members=members)))
        deaf = claimed.with_thread(slot, number, thread._replace(also=following))
        yield from _answer_lost(both, deaf, scenario, slot)


def _next_of(world: World, scenario: Scenario, changed: tuple[int, ...]) -> int | None:
    """`claims.head_of`; for the mutation, what simply follows in the lane."""
    lane = scenario.lane_of(changed[0])
    if scenario.rules.next_claim_is_a_claim:
        return ledger.head_of(world, scenario, lane)
    return next(
        (one for one in scenario.in_lane(lane) if one > changed[-1] and world.deliveries[one].state in PENDING), None
    )


def wake_ups(world: World, scenario: Scenario, changed: tuple[int, ...]) -> tuple[tuple[str, int], ...]:
    """`lanes.next_wake` after a settle, in the same transaction: enqueue the head, or put it into the schedule."""
    if not scenario.queue or not changed:
        return ()
    head = ledger.head_of(world, scenario, scenario.lane_of(changed[0]))
    if head is None:
        return ()
    return (("schedule" if world.deliveries[head].state == RETRYING else "queue", head),)


def sent(world: World, wake: tuple[str, int]) -> World:
    """`WakeUps.send`: the queue, or its schedule, has it."""
    if wake[0] == "queue":
        return world._replace(queue=added(world.queue, wake[1]))
    return world._replace(schedule=added(world.schedule, wake[1]))


def _follow_up(world: World, scenario: Scenario, slot: int, number: int, thread: Thread, name: str) -> Iterator[Step]:
    """`Endings.follow_up`: the wake-ups, one by one. Its unlink is no step: nobody looks at those files any more."""
    after = world.with_thread(slot, number, Thread("settled", owed=thread.owed[1:]) if thread.owed[1:] else IDLE)
    yield Step(f"{name} hands on {thread.owed[0]}", sent(after, thread.owed[0]))


def _schedule(world: World, slot: int, worker: Worker, name: str) -> Iterator[Step]:
    """huey's scheduler: all due rows are deleted in one commit, and enqueued after it."""
    if worker.moved:
        moved = world.with_worker(slot, worker._replace(moved=worker.moved[1:]))
        yield Step(f"{name} enqueues {worker.moved[0]}", sent(moved, ("queue", worker.moved[0])))
    elif world.schedule:
        taken = world.with_worker(slot, worker._replace(moved=world.schedule))._replace(schedule=())
        yield Step(f"{name} takes {list(world.schedule)} out of the schedule", taken)


def _poll(world: World, scenario: Scenario, worker: Worker) -> Iterator[Step]:
    """`Poller.take_in`: the ledger first, then the queue."""
    new = [one for one, row in enumerate(world.messages) if row.state == NEW]
    if worker.polled:
        after = world.with_worker(0, worker._replace(polled=worker.polled[1:]))
        yield Step(f"the poll enqueues {worker.polled[0][1]}", sent(after, worker.polled[0]))
    elif new:
        taken = ledger.take_in(world, scenario, new)
        heads = [ledger.head_of(taken, scenario, lane) for lane in range(scenario.lanes)]
        owed = tuple(("queue", head) for head in heads if head is not None)
        yield Step(f"the poll takes in {new}", taken.with_worker(0, worker._replace(polled=owed)))


def _arrivals(world: World, scenario: Scenario) -> Iterator[Step]:
    """Polls without a queue: the messages in inbox order, but that the first may come late (`LookBack`)."""
    new = [one for one, row in enumerate(world.messages) if row.state == NEW]
    for message in new[:2] if new[:1] == [0] else new[:1]:
        yield Step(f"message {message} is taken in", ledger.take_in(world, scenario, [message]))


def is_abandoned(world: World, attempt: tuple[int, int], slot: int) -> bool:
    """`Sweeper._is_abandoned`: its worker is dead, or is this one and has no thread for it."""
    run = world.attempt(attempt)
    if run is None:
        return False
    if run.launcher != (slot, world.workers[slot].incarnation):
        return not world.lives(run.launcher)
    return not any(attempt in {one.attempt, one.also} for one in world.workers[slot].threads)


def told_nobody(world: World, child: Child) -> bool:
    """Whether no thread waits to hear of it: `Dispatcher._report` finds no hand-off."""
    slot, incarnation = child.launcher
    worker = world.workers[slot]
    if not worker.up or worker.incarnation != incarnation:
        return True
    return not any(one.attempt == child.attempt and one.at in {"claimed", "asked"} for one in worker.threads)
