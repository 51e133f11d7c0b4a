"""The composition root: `huey_consumer worker.app.huey` runs this program.

Importing it reads the configuration (`BUS_WATCH_CONFIG`, else ~/.sos/bus-watch.json), opens ledger and queue, and
registers the tasks. Only entry points import it.
"""

import sys
from datetime import UTC, datetime

import tasks.deliver
import tasks.finalize
import tasks.poll
import tasks.sweep  # noqa: F401 - imported for its periodic task
from worker import configuration
from worker.bus.client import BusClient
from worker.bus.doorbell import Doorbell
from worker.engine import Engine
from worker.errors import BusWatchError
from worker.ledger.database import Database
from worker.ledger.old_state import import_old_state
from worker.ledger.sweep_signal import stamp
from worker.memory import return_large_blocks
from worker.runtime.due import FinalizerDue, PollsDue, SweepDue
from worker.runtime.huey import Band, WatchHuey, huey
from worker.settings import Settings
from worker.telemetry import log
from worker.telemetry.observers import observe
from worker.telemetry.redact import redact

__all__ = ["build", "huey"]

LANE_SECONDS = 0.25  # how long a lane may keep a thread that others wait for; a change costs a trip through the queue


class HueyQueue:
    """Hands work on as huey tasks: the wake-up list of the consumer."""

    def deliver(self, delivery: int, at: float | None) -> None:
        """Enqueue a delivery, or put it into huey's schedule, where it can be seen."""
        if at is None:
            tasks.deliver.deliver(delivery)
        else:
            # Not `deliver.schedule()`: it drops the fraction of the second, and goes through the queue first.
            task = tasks.deliver.deliver.s(delivery)
            task.eta = datetime.fromtimestamp(at, UTC).replace(tzinfo=None)
            huey.add_schedule(task)

    def finalize(self, message: int) -> None:
        """Enqueue a finalizer, unless one waits that will take this message along."""
        if huey.finished.add(message):
            tasks.finalize.finalize()

    def may_claim_next(self, seconds: float) -> bool:
        """While nobody waits for a thread, or for a moment: no busy lane keeps a thread that others wait for."""
        return seconds < LANE_SECONDS or huey.storage.somebody_idles(Band.DELIVER)


def build(settings: Settings) -> WatchHuey:
    """Give the Huey of our tasks its queue and its engine.

    Raises BusWatchError: the ledger cannot be opened, for instance.
    """
    return_large_blocks()
    database = Database(settings.ledger_file)
    import_old_state(database, settings)
    pollable = [agent.agent for agent in settings.agents if agent.transports]
    huey.open(settings.queue_file, poll_workers=max(1, len(pollable)), default_workers=settings.workers)
    huey.polls = PollsDue(pollable)
    huey.finished = FinalizerDue()
    huey.sweeps = SweepDue(lambda: stamp(settings.files_dir))
    huey.engine = Engine(
        settings=settings,
        db=database,
        queue=HueyQueue(),
        bus=BusClient(max_connections=len(pollable) + 4),
        redact=redact.tail,
        observer=observe(settings, database),
    )
    watching = [agent for agent in settings.agents if agent.transports and agent.watch]
    huey.doorbell = Doorbell([huey.engine.inboxes.endpoint(agent) for agent in watching], _rung)
    return huey


def _rung(agent: str) -> None:
    """The bus has something for this agent: poll now, not at the scheduler's next look."""
    huey.polls.ring(agent)
    tasks.poll.enqueue_due()


def _build_or_exit() -> WatchHuey:
    try:
        settings = configuration.load()
        log.configure(settings)
        return build(settings)
    except BusWatchError as error:
        # Not an exception: huey_consumer would print its traceback to somebody who mistyped a path.
        print(f"bus-watch: {redact(str(error))}", file=sys.stderr)  # noqa: T201 - there is no logging yet
        raise SystemExit(error.exit_status) from None


if not huey.is_open:
    _build_or_exit()
