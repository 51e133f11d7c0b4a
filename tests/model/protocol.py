"""All steps together, what is over, and which states are the same."""

from collections.abc import Callable, Iterator

from tests.model.faults import fault_steps
from tests.model.fleet import fleet_steps, promises_at_end
from tests.model.launcher import launcher_steps
from tests.model.rules import Scenario
from tests.model.search import Found, search
from tests.model.sweep import sweep_steps
from tests.model.worker import Step, worker_steps
from tests.model.world import FINAL, HELD, World


def steps(world: World, scenario: Scenario) -> Iterator[Step]:
    """Everything that may happen next."""
    if is_over(world, scenario) and _is_quiet(world):
        return
    for kind in (worker_steps, launcher_steps, sweep_steps, fault_steps, fleet_steps):
        for step in kind(world, scenario):
            yield step._replace(world=normal(step.world))


def is_over(world: World, scenario: Scenario) -> bool:
    """Every delivery is final, or held for a person; and so every message that has none of these is finished."""
    if any(row.state not in FINAL and row.state != HELD for row in world.deliveries):
        return False
    if any(run.lapsed for run in world.attempts):
        return False
    for message, row in enumerate(world.messages):
        held = any(world.deliveries[one].state == HELD for one in scenario.of_message(message))
        if (row.state == "open") != held:
            return False
    if scenario.fleet:
        promises_at_end(world, scenario)
    return True


def _is_quiet(world: World) -> bool:
    """Nothing goes on any more that could still do harm."""
    busy = any(one.at != "idle" for worker in world.workers for one in worker.threads)
    return not (busy or world.children or world.budget.commands)


def normal(world: World) -> World:
    """Without the files of attempts that are settled: their names are never used again, and nobody looks.

    A void note of one is looked at as long as its launcher may come to it.
    """
    if not world.files:
        return world
    wanted = {run.id for run in world.attempts} | {child.attempt for child in world.children}
    if all(file.attempt in wanted for file in world.files):
        return world
    return world._replace(files=tuple(file for file in world.files if file.attempt in wanted))


def look(
    scenario: Scenario, *, most: int = 3_000_000, progress: Callable[[int, int], None] = lambda _found, _left: None
) -> Found:
    """Search a scenario."""
    return search(
        scenario.start(),
        lambda world: steps(world, scenario),
        lambda world: is_over(world, scenario),
        most=most,
        progress=progress,
    )
