"""The launcher and the transports it starts: worker/transports/launcher.py, writer.py, receipt_pool.py.

A launcher does one thing after the other, and may be slow at each. It goes on without its worker; a request that it has
not read when its worker's end closes is dropped, or was read just before.
"""

from collections.abc import Iterator

from tests.model.rules import STALE, Scenario
from tests.model.search import Broken
from tests.model.worker import Step, told_nobody
from tests.model.world import FAILED, NOT_STARTED, OK, TIMEOUT, TORN, VOID, Child, File, World, put


def launcher_steps(world: World, scenario: Scenario) -> Iterator[Step]:
    """All that launchers and transports may do next."""
    for child in world.children:
        match child.phase:
            case "asked":
                yield from _start(world, scenario, child)
            case "noted":
                yield from _spawn(world, scenario, child)
            case "running":
                yield from _run(world, child)
            case "exited" | "torn":
                yield _write(world, scenario, child)
            case "written" if told_nobody(world, child):
                yield Step(f"nobody hears of {child.attempt}", world.without_child(child))
            case "orphan":
                yield Step(f"orphan {child.attempt}: exit 0", _succeeded(world, child, None))
    for launcher in world.launchers:
        if not world.lives(launcher) and not any(child.launcher == launcher for child in world.children):
            left = tuple(one for one in world.launchers if one != launcher)
            yield Step(f"launcher {launcher} ends", world._replace(launchers=left))


def _start(world: World, scenario: Scenario, child: Child) -> Iterator[Step]:
    """`Launcher._start`: the note first. There is one already? Then do not run."""
    rules, attempt = scenario.rules, child.attempt
    if not world.lives(child.launcher):  # WorkerEnd.hear
        yield Step(f"the request for {attempt} is dropped", world.without_child(child))
    file = world.file(attempt)
    run = world.attempt(attempt)
    if file is not None and file.void:
        told = child._replace(phase="written", outcome=VOID)
        yield Step(f"launcher {child.launcher} finds {attempt} void", world.with_child(told))
    elif scenario.fleet and rules.start_by and (run is None or run.fence):
        refused = world.with_file(File(attempt, void=False, receipt=NOT_STARTED))
        told = child._replace(phase="written", outcome=NOT_STARTED)
        yield Step(f"it is too late to start {attempt}", refused.with_child(told))
    elif rules.note_before_start:
        stale = "" if rules.receipt_names_attempt else STALE
        noted = world.with_file(File(attempt, void=False, stale=stale)).with_child(child._replace(phase="noted"))
        yield Step(f"launcher {child.launcher} notes {attempt}", noted)
    else:
        yield from _spawn(world, scenario, child)


def _spawn(world: World, scenario: Scenario, child: Child) -> Iterator[Step]:
    """`Start.spawn`: the transport begins, and must not do so beside another of its lane or before an earlier one."""
    head, lane, furthest = child.members[0], scenario.lane_of(child.members[0]), world.past.furthest
    if world.lanes[lane].host != scenario.hosts[child.launcher[0]]:
        raise Broken(f"{child.attempt} starts on a host that has not its lane")
    for other in world.children:
        beside = other.attempt != child.attempt and scenario.lane_of(other.members[0]) == lane
        if beside and other.phase in {"running", "orphan"} and not other.given_up:
            raise Broken(f"{child.attempt} starts beside {other.attempt}")
    if scenario.ordered and head < furthest[lane] and not world.deliveries[head].exempt:
        raise Broken(f"delivery {head} starts after {furthest[lane]}, which is younger")
    past = world.past._replace(furthest=put(furthest, lane, max(furthest[lane], head)))
    running = world.with_child(child._replace(phase="running"))._replace(past=past)
    yield Step(f"the transport of {child.attempt} starts", running)


def _run(world: World, child: Child) -> Iterator[Step]:
    """The note gets its pid (`Launcher._name`); it ends by itself, or at its time-out (`Launcher._kill_overdue`)."""
    file = world.file(child.attempt) or File(child.attempt, void=False)
    if world.budget.launcher_kills and not (file.named or file.void):
        yield Step(f"{child.attempt} is named in its note", world.with_file(file._replace(named=True)))
    yield Step(f"{child.attempt}: exit 0", _succeeded(world, child, "exited"))
    for outcome, budget in ((FAILED, "failures"), (TIMEOUT, "timeouts")):
        if getattr(world.budget, budget):
            ended = world.spent(budget).with_child(child._replace(phase="exited", outcome=outcome))
            yield Step(f"{child.attempt}: {outcome}", ended)


def _succeeded(world: World, child: Child, phase: str | None) -> World:
    """It did what it is for, and exits 0: once, and once more for each attempt of which nobody can know."""
    successes = world.past.successes
    for one in child.members:
        successes = put(successes, one, successes[one] + 1)
        if successes[one] > world.past.allowed[one]:
            raise Broken(f"delivery {one} is done twice")
    world = world._replace(past=world.past._replace(successes=successes))
    if phase is None:
        return world.without_child(child)
    return world.with_child(child._replace(phase=phase, outcome=OK))


def _write(world: World, scenario: Scenario, child: Child) -> Step:
    """`Writer.complete`: the receipt counts once its end mark is there."""
    file = world.file(child.attempt) or File(child.attempt, void=False)
    if not scenario.rules.receipt_has_end_mark and child.phase == "exited":
        torn = world.with_file(file._replace(receipt=TORN)).with_child(child._replace(phase="torn"))
        return Step(f"half of the receipt of {child.attempt} is written", torn)
    written = world.with_child(child._replace(phase="written"))
    if not file.void:
        written = written.with_file(file._replace(receipt=child.outcome))
    return Step(f"the receipt of {child.attempt} is written: {child.outcome}", written)
