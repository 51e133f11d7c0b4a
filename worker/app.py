"""The composition root: `huey_consumer worker.app.huey` runs this program.

Importing it holds SIGHUP, and does nothing else. Asking it for `huey` reads the configuration (`BUS_WATCH_CONFIG`, else
~/.sos/bus-watch.json), opens ledger and queue, and registers the tasks.
"""

# ruff: noqa: E402 - what follows takes a while to load, in which a hang-up would end us
from worker import hang_up

hang_up.hold()

import functools
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import tasks.deliver
import tasks.finalize
import tasks.poll
import tasks.sweep
from worker import configuration, open_files
from worker.alerts.heartbeat import Heartbeat
from worker.bus.client import BusClient
from worker.bus.doorbell import Doorbell
from worker.bus.requests import Endpoint
from worker.bus.source import Watch
from worker.bus.trust import Trust
from worker.engine import Engine
from worker.engine.finalizing import finalize
from worker.engine.postman import Postman
from worker.engine.retention import retain
from worker.errors import BusWatchError
from worker.ledger import this_host
from worker.ledger.configured import open_ledger
from worker.ledger.old_state import import_old_state
from worker.ledger.outbox_bell import OutboxBell
from worker.ledger.settling import Settled
from worker.ledger.sweep_signal import RELOAD, stamp
from worker.memory import return_large_blocks
from worker.reloading import LiveConfiguration
from worker.runtime.bands import Band, BandedStorage
from worker.runtime.due import FinalizerDue, PollsDue, SweepDue
from worker.runtime.huey import WatchHuey, workers_given
from worker.runtime.storage import WakeupStorage
from worker.settings import Settings
from worker.suspension import Suspension
from worker.telemetry import log
from worker.telemetry.observers import Observers, observe
from worker.telemetry.redact import redact

logger = logging.getLogger("bus_watch.queue")

SEND_JOIN_SECONDS = 5.0  # a message whose answer is not waited for counts as one whose answer was lost
LANE_SECONDS = 0.25  # how long a lane may keep a thread that others wait for; a change costs a trip through the queue


class HueyQueue:
    """Hands work on as huey tasks: the wake-up list of the consumer. The tasks come once there is what they need.

    `band`: by whose workers deliveries are made. `ahead`: how far the ledger's clock is ahead of ours, which
    huey goes by.
    """

    deliver_task: Any
    finalize_task: Any

    def __init__(
        self, huey: WatchHuey, finalizer: FinalizerDue, ahead: Callable[[], float], band: Band = Band.DELIVER
    ) -> None:
        self._huey = huey
        self._ahead = ahead
        self._finalizer = finalizer
        self._band = band

    def deliver(self, delivery: int, at: float | None) -> None:
        """Enqueue a delivery, or put it into huey's schedule, where it can be seen."""
        task = self.deliver_task.s(delivery)
        task.priority = self._band
        if at is None:
            self._huey.enqueue(task)
        else:
            # Not `deliver.schedule()`: it drops the fraction of the second, and goes through the queue first.
            task.eta = datetime.fromtimestamp(at - self._ahead(), UTC).replace(tzinfo=None)
            self._huey.add_schedule(task)

    def finalize(self, message: int) -> None:
        """Enqueue a finalizer, unless one waits that will take this message along."""
        if self._finalizer.add(message):
            self.finalize_task()

    def may_claim_next(self, seconds: float, after: Settled) -> bool:  # noqa: ARG002 - Queue has it
        """While nobody waits for a thread, or for a moment: no busy lane keeps a thread that others wait for."""
        return seconds < LANE_SECONDS or self._huey.storage.somebody_idles(Band.DELIVER)


class BusWatch:
    """The program, put together: queue, engine, doorbell, and the tasks between them. The consumer of `huey` runs it.

    `live`: the settings are those of the file at their `config_path`, which is read again when it changes.
    Raises BusWatchError: the ledger cannot be opened, for instance.
    """

    def __init__(self, settings: Settings, *, live: bool = False) -> None:
        return_large_blocks()
        self._database = database = open_ledger(settings)
        database.on_back = self._refill
        self._polls = PollsDue(_pollable(settings))
        files = settings.files_dir  # it never changes while we run, and is asked for several times a second
        self._sweeps = SweepDue(lambda: stamp(files))
        finalizer = FinalizerDue()
        self.huey = WatchHuey(
            functools.partial(_queue_of, settings),
            polls=self._polls,
            sweeps=self._sweeps,
            default_workers=settings.workers,
            on_flags=log.adopt_consumer_flags,
        )

        def ahead() -> float:
            return database.now() - time.time()

        queue = HueyQueue(self.huey, finalizer, ahead)
        self._doorbell = Doorbell((), self._rung, opened=self._poll_now, where=self._where)
        self._trust = Trust(self._doorbell.is_heard)
        self.engine = engine = Engine(
            settings=settings,
            db=database,
            queue=queue,
            bus=BusClient(max_connections=None),  # each poll worker has one, and agents come and go
            redact=redact.tail,
            observer=Observers([observe(settings, database), Heartbeat(settings)]),
            trust=self._trust,
        )
        self.stopping = engine.stopping
        self._postman = Postman(engine.outbox, OutboxBell(settings.files_dir), engine.clock)
        engine.teller.nudge = self._postman.nudge
        engine.wake_ups.aside = aside = HueyQueue(self.huey, finalizer, ahead, Band.ALERT)
        self.huey.tells = bool(settings.alerts.channels)
        queue.deliver_task = aside.deliver_task = tasks.deliver.register(self.huey, engine.dispatcher)
        queue.finalize_task = tasks.finalize.register(
            self.huey, finalizer, lambda messages: finalize(database, messages, engine.clock()), engine.stopping
        )
        tasks.sweep.register(
            self.huey,
            self._sweeps,
            engine.sweeper,
            lambda: retain(database, engine.settings, engine.clock()),
            engine.observer,
        )
        self._poll_what_is_due = tasks.poll.register(
            self.huey, self._polls, engine.poller, engine.observer, self._sweeps.hurry
        )
        self._doorbell.listen_to(self._watched(settings))
        self._suspension = Suspension()
        self._configuration = LiveConfiguration(
            settings,
            take=self._take,
            refuse=lambda why: engine.refuse(redact(why)),
            asked=lambda: stamp(files, RELOAD),
            fixed=("workers",) if workers_given() else (),
        )
        self._live = live
        self.huey.storage.on_loss = self._refill
        self.huey.storage.on_nudge = self._nudged
        self.huey.program = self

    def start(self) -> None:
        """Before the consumer's threads: show that we live, and settle what the last worker left. BusWatchError."""
        _allow_files(self.engine.settings)
        self.engine.start(lambda: import_old_state(self._database, self.engine.settings))
        try:
            self.engine.sweeper.sweep(first=True)
        except BusWatchError as error:
            logger.error("the first sweep is not finished: %s", error)  # noqa: TRY400 - our sentence says it all
        self._postman.start()

    def listen(self) -> None:
        """Let the bus ring for polls."""
        self._doorbell.start()

    def look(self, *, reload: bool) -> None:
        """Now and then: whether the configuration has changed, or somebody wants it to be read."""
        if self._live:
            self._configuration.look(asked=reload)
        if self._suspension.is_over():
            self._woken()

    def _woken(self) -> None:
        """The machine has slept: what was connected then is not any more, and mail may have come."""
        logger.info("the machine has slept: connections are made anew")
        self.engine.inboxes.renew()
        self._doorbell.renew()
        self._postman.nudge()
        for agent in _pollable(self.engine.settings):
            self._polls.ring(agent)
        self._poll_what_is_due()

    def _take(self, settings: Settings, needs_restart: tuple[str, ...]) -> None:
        """These settings are in force from now on; LedgerError: they are not."""
        changed = self.engine.adopt(settings, needs_restart)
        _allow_files(settings)
        self._polls.serve(_pollable(settings), at_once=changed)
        self._postman.nudge()
        self._doorbell.listen_to(self._watched(settings))
        self.huey.tells = bool(settings.alerts.channels)
        self._sweeps.hurry()

    def _watched(self, settings: Settings) -> list[Endpoint]:
        return [self.engine.inboxes.endpoint(agent) for agent in settings.agents if agent.transports and agent.watch]

    def stop(self) -> None:
        """After the consumer's threads: let go."""
        self._doorbell.close()
        self.stopping.set()
        self._postman.stop(SEND_JOIN_SECONDS)
        self.engine.stop()

    def note_health(self, health: str) -> bool:
        """Write down what the watchdog finds, and say whether that could be done."""
        return self.engine.note_health(health)

    def _rung(self, agent: str) -> None:
        """The bus has something for this agent."""
        self._trust.rang(agent)
        self._poll_now(agent)

    def _where(self, endpoint: Endpoint) -> Watch:
        return self.engine.inboxes.watch(endpoint)

    def _poll_now(self, agent: str) -> None:
        """At once, not at the scheduler's next look. Nothing is written: the doorbell's thread calls this."""
        self._polls.ring(agent)
        self._poll_what_is_due()

    def _nudged(self) -> None:
        """A command, on whatever host, has changed something."""
        self._sweeps.hurry()
        self._postman.nudge()

    def _refill(self) -> None:
        """The queue has lost wake-ups, or the ledger was away: the next sweep, which is now, wakes all."""
        self.engine.wake_ups.overlooked.set()
        self._sweeps.hurry()


def _queue_of(settings: Settings) -> BandedStorage:
    """Where deliveries wait: beside the ledger, in a file or in its server."""
    source = settings.ledger_url_source
    if source is None:
        return WakeupStorage(filename=str(settings.queue_file))
    from worker.ledger.postgres_url import parameters  # noqa: PLC0415 - psycopg, which is an extra
    from worker.runtime.postgres_storage import PostgresWakeups  # noqa: PLC0415 - the same

    host = this_host.make_known(settings)
    return PostgresWakeups(f"bus-watch.{host.name}", "bus-watch", lambda: parameters(source.read()))


def _allow_files(settings: Settings) -> None:
    open_files.allow(open_files.of_a_worker(settings.workers, len(settings.agents)))


def _pollable(settings: Settings) -> list[str]:
    return [agent.agent for agent in settings.agents if agent.transports]


@functools.cache
def from_environment() -> BusWatch:
    """The program as the environment configures it; SystemExit with our sentence where that cannot be used."""
    try:
        settings = configuration.load()
        log.configure(settings)
        return BusWatch(settings, live=True)
    except BusWatchError as error:
        # Not an exception: huey_consumer would print its traceback to somebody who mistyped a path.
        print(f"bus-watch: {redact(str(error))}", file=sys.stderr)  # noqa: T201 - there is no logging yet
        raise SystemExit(error.exit_status) from None


def __getattr__(name: str) -> WatchHuey:
    """`worker.app.huey`: huey_consumer asks for it, and whoever builds a BusWatch from settings of its own does not."""
    if name == "huey":
        return from_environment().huey
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
