"""Consumers killed by `kill -9`: at random moments, and at named steps."""

import random
import subprocess
import time
from dataclasses import dataclass

from tests.faults.record import Verdict
from tests.faults.world import CONSUMER, RUN, World, until

BUS_FAULTS = ("close", "html", "truncated", "short", "empty", "rate")


@dataclass
class Slot:
    """The place of one consumer, which is killed and started again."""

    process: subprocess.Popen[bytes]
    kill_at: float


def _moment(rng: random.Random, startup: float, work: float) -> float:
    """How long a consumer lives: one in five dies while it starts."""
    if rng.random() < 0.2:
        return rng.uniform(0.0, startup)
    return startup + rng.uniform(0.0, 2.0 * work)


def kill_at_random(
    world: World, *, kills: int, messages: int, consumers: int = 1, work: float = 0.6, say: bool = False
) -> Verdict:
    """Feed `messages` while `consumers` are killed `kills` times in all; then let them finish, and judge."""
    rng = world.random
    first = min(messages, max(30, messages // kills))
    world.feed(first)
    fed = first
    begun = time.monotonic()
    slots = [Slot(world.start(), float("inf"))]
    until(world.serving, "the first consumer to start")
    startup = time.monotonic() - begun
    slots += [Slot(world.start(), float("inf")) for _ in range(consumers - 1)]
    for slot in slots:
        slot.kill_at = time.monotonic() + _moment(rng, startup, work)
    for number in range(1, kills + 1):
        slot = min(slots, key=lambda candidate: candidate.kill_at)
        time.sleep(max(0.0, slot.kill_at - time.monotonic()))
        assert slot.process.poll() is None, "a consumer ended by itself: see consumer.log"
        slot.process.kill()
        slot.process.wait()
        wanted = first + (messages - first) * number // kills
        world.feed(wanted - fed)
        fed = wanted
        if rng.random() < 0.1:
            world.bridge.fault(rng.choice(BUS_FAULTS), times=rng.randint(1, 3), value=None)
        slot.process = world.start(*(CONSUMER if rng.random() < 0.7 else RUN))
        slot.kill_at = time.monotonic() + _moment(rng, startup * (1 if consumers == 1 else 1.5), work)
        if say and number % 25 == 0:
            print(f"{time.monotonic() - begun:7.1f} s  {number} kills, {fed} sent, {world.states()}", flush=True)
    world.bridge.clear_faults()
    world.drain(patience=60.0 + messages * world.longest)
    return world.verdict()


WORKER_STEPS = (
    "registered", "started", "collected", "taken", "woken", "dequeued", "claimed", "prepared", "ended", "settled",
    "before_unlink", "unlinked", "finalizing", "inspected", "recovered", "swept_wake", "schedule_taken",
)  # fmt: skip

LAUNCHER_STEPS = (
    "after_receipt_presized", "after_note", "after_spawn", "after_note_recorded", "before_receipt_write",
    "after_receipt_write", "after_receipt_fsync",
)  # fmt: skip
