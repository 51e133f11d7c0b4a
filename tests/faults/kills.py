"""Consumers killed by `kill -9`: at random moments, at named steps, and with the whole machine."""

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.lanes import Lanes
from tests.faults.record import Verdict
from tests.world.processes import ROOT, RUN, Process, kill_everybody
from tests.world.waiting import until
from worker.ledger.sweep_signal import RELOAD, send

BUS_FAULTS = ("close", "html", "truncated", "short", "empty", "rate")


@dataclass
class Slot:
    """The place of one consumer, which is killed and started again."""

    process: Process
    kill_at: float


def _moment(rng: random.Random, startup: float, work: float) -> float:
    """How long a consumer lives: one in five dies while it starts."""
    if rng.random() < 0.2:
        return rng.uniform(0.0, startup)
    return startup + rng.uniform(0.0, 2.0 * work)


def kill_at_random(
    world: Lanes,
    *,
    kills: int,
    messages: int,
    consumers: int = 1,
    work: float = 0.6,
    reloads: bool = False,
    say: bool = False,
    between: Callable[[], object] = lambda: None,
) -> Verdict:
    """Feed `messages` while `consumers` are killed `kills` times in all; then let them finish, and judge.

    `reloads`: the configuration changes once in each life. `between` is done at each kill.
    """
    rng = world.random
    first = min(messages, max(30, messages // kills))
    world.feed(first)
    fed = first
    begun = time.monotonic()
    slots = [Slot(world.start_worker(), float("inf"))]
    until(world.serving, "the first consumer to start")
    startup = time.monotonic() - begun
    slots += [Slot(world.start_worker(), float("inf")) for _ in range(consumers - 1)]
    for slot in slots:
        slot.kill_at = time.monotonic() + _moment(rng, startup, work)
    for number in range(1, kills + 1):
        slot = min(slots, key=lambda candidate: candidate.kill_at)
        if reloads:
            time.sleep(max(0.0, slot.kill_at - time.monotonic()) * rng.random())
            world.reconfigure()
            if rng.random() < 0.5:
                send(world.files, RELOAD)
        time.sleep(max(0.0, slot.kill_at - time.monotonic()))
        assert slot.process.poll() is None, f"a consumer ended by itself: {slot.process}, {world.log()}"
        slot.process.kill()
        slot.process.wait()
        between()
        wanted = first + (messages - first) * number // kills
        world.feed(wanted - fed)
        fed = wanted
        if rng.random() < 0.1:
            world.bridge.fault(rng.choice(BUS_FAULTS), times=rng.randint(1, 3), value=None)
        slot.process = world.start_worker(*(world.consumer_command if rng.random() < 0.7 else RUN))
        slot.kill_at = time.monotonic() + _moment(rng, startup * (1 if consumers == 1 else 1.5), work)
        if say and number % 25 == 0:
            print(f"{time.monotonic() - begun:7.1f} s  {number} kills, {fed} sent, {world.states()}", flush=True)
    world.bridge.clear_faults()
    world.reconfigure(whole=True)
    world.drain(patience=60.0 + messages * world.longest)
    return world.verdict()


@dataclass(frozen=True)
class Step:
    """A named step: how often it may be passed before the kill, and what has to be there for it to be passed at all."""

    name: str
    passes: int = 1
    least: int = 1
    abandoned: bool = False  # attempts whose worker was killed before, and lanes that wait behind them
    failing: bool = False  # a message that is retried
    sends: bool = False  # of terminal sends, which are plain until the warm process is ready


# Least 2 where a kill at the first pass would void the same head in every life: five voids are a dead letter.
WORKER_STEPS = (
    Step("worker.registered"),
    Step("worker.started"),
    Step("worker.collected", passes=3),
    Step("worker.taken", passes=2),
    Step("worker.woken", passes=2),
    Step("worker.dequeued", passes=2),  # a lane goes on without a task; polls and sweeps are in no queue that lasts
    Step("worker.claimed", passes=7, least=2),
    Step("worker.prepared", passes=7, least=2),
    Step("worker.ended", passes=6),
    Step("worker.settled", passes=6),
    Step("worker.before_unlink", passes=6),
    Step("worker.unlinked", passes=6),
    Step("worker.finalizing", passes=6),
    Step("worker.inspected", abandoned=True),
    Step("worker.recovered", abandoned=True),
    Step("worker.swept_wake", abandoned=True),
    Step("worker.schedule_taken", failing=True),
)
LAUNCHER_STEPS = tuple(
    Step(f"launcher.{name}", passes=6)
    for name in (
        "after_receipt_presized",
        "after_note",
        "after_spawn",
        "after_note_recorded",
        "before_receipt_write",
        "after_receipt_write",
        "after_receipt_fsync",
    )
)
WARM_STEPS = tuple(Step(f"launcher.{name}", passes=3, sends=True) for name in ("after_warm_asked", "after_warm_named"))


def kill_at_step(world: Lanes, step: Step, *, times: int = 1) -> Counter[str]:
    """Let a consumer die at this step, `times` times; returns the keys whose attempts nobody can know the ending of.

    Those are none but for the launcher's own death: what it ran then.
    """
    interrupted: Counter[str] = Counter()
    for _ in range(times):
        if step.abandoned:
            for agent in world.lanes:
                world.feed(2, agent=agent, text="0.3")
            before = world.count("select count(*) from attempts")
            abandoned = world.start_worker()
            until(
                lambda n=before: (  # type: ignore[misc]
                    world.count("select count(*) from attempts") > n
                    and world.count("select count(*) from messages") == world.owed()
                    and world.keys("running")
                ),
                "all messages to be known, and a transport to run",
            )
            abandoned.kill()
            abandoned.wait()
        world.feed(24 if step.sends else 3 if step.failing else 3 * step.passes + 1, failing=step.failing)
        kill = ":kill" if step.name.startswith("launcher.") else ""
        armed = f"{step.name}{kill}:{world.random.randint(step.least, step.passes)}"
        process = world.start_worker(step=armed)
        until(lambda p=process: p.poll() is not None, f"the death at {armed}", 240.0)  # type: ignore[misc]
        if kill:  # the launcher is dead, and its worker ended itself
            assert process.returncode == 1, f"exit {process.returncode} at {armed}"
            interrupted.update(world.keys("running"))
            interrupted.update(world.given_up_by_the_last_worker())
        else:
            assert process.returncode == -signal.SIGKILL, f"exit {process.returncode} at {armed}"
    return interrupted


def lose_power(world: Lanes, boot: int) -> frozenset[str]:
    """Run a while as boot number `boot`, then lose the power; returns the keys of the attempts that were running.

    Worker, launcher and transports die at one moment, and what was not synced of their files is gone or cut short.
    """
    process = world.start(sys.executable, "-m", "tests.faults.other_boot", f"boot-{boot}", PYTHONPATH=str(ROOT))
    until(lambda: world.count("select count(*) from attempts where boot_id = ?", f"boot-{boot}"), "an attempt")
    time.sleep(world.random.uniform(0.0, 1.0))
    kill_everybody(process.pid)
    process.wait()
    for path in list(world.files.glob("*.note")):
        fate = world.random.random()
        if fate < 0.5:
            path.unlink()
        elif fate < 0.75 and not path.is_symlink():
            os.truncate(path, path.stat().st_size // 2)
    return world.keys("running")
