"""One worker process at work on one ledger: its parts, put together."""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence

from worker import __version__
from worker.alert_settings import ALERTS
from worker.bus.client import BusClient
from worker.engine.alerting import Alerter
from worker.engine.dispatch import Dispatcher
from worker.engine.endings import Endings
from worker.engine.hand_off import HandOffs
from worker.engine.identity import Identity
from worker.engine.inboxes import Inboxes
from worker.engine.lane_lookup import LaneLookup
from worker.engine.neighbours import Neighbours
from worker.engine.outbox import Outbox
from worker.engine.polling import Poller
from worker.engine.sweeping import Sweeper
from worker.engine.telling import Teller
from worker.engine.turns import DoorbellTrust, NoDoorbell, Turns
from worker.engine.wake_ups import Queue, WakeUps
from worker.errors import BusWatchError
from worker.fault_steps import step
from worker.ledger import hosts, intake, lane_hosts, this_host, upkeep
from worker.ledger.errors import LedgerBusyError, LedgerError, LedgerFullError
from worker.ledger.port import Ledger, Tx
from worker.settings import Settings
from worker.telemetry.observer import Observer
from worker.transports import recovery

logger = logging.getLogger("bus_watch.engine")

START_AGAIN_SECONDS = 5.0


class Engine:
    """The parts of a worker; each task is given the one that does its work, and that has what it needs.

    `stopping` is set when the worker is asked to stop, and where it has to: its launcher died.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        db: Ledger,
        queue: Queue,
        bus: BusClient,
        kind: str = "consumer",
        clock: Callable[[], float] | None = None,
        redact: Callable[[str], str] = str,
        observer: Observer | None = None,
        stopping: threading.Event | None = None,
        trust: DoorbellTrust | None = None,
    ) -> None:
        self.settings = settings
        self.db = db
        self.clock = clock = clock or db.now
        self.observer = observer or Observer()
        self.stopping = stopping or threading.Event()
        self.identity = Identity(
            settings.files_dir, kind, this_host.establish(settings), ahead=lambda: db.now() - time.time()
        )
        self.lanes = LaneLookup(settings)
        self.inboxes = Inboxes(bus, settings.config_path)
        self.wake_ups = WakeUps(queue, self.lanes, clock, self.identity.host_name)
        self.hand_offs = HandOffs(self.identity, self.lanes, clock)
        rng = random.Random()  # noqa: S311 - jitter, not secrets
        endings = Endings(
            db=db,
            clock=clock,
            rng=rng,
            files=self.identity.files,
            hand_offs=self.hand_offs,
            wake_ups=self.wake_ups,
            observer=self.observer,
        )
        turns = Turns(db=db, identity=self.identity, clock=clock, trust=trust or NoDoorbell())
        self.poller = Poller(
            settings=settings,
            db=db,
            identity=self.identity,
            inboxes=self.inboxes,
            wake_ups=self.wake_ups,
            clock=clock,
            rng=rng,
            redact=redact,
            stopping=self.stopping,
            began=clock(),
            turns=turns,
        )
        self.outbox = Outbox(
            settings=settings,
            db=db,
            identity=self.identity,
            inboxes=self.inboxes,
            clock=clock,
            rng=rng,
            redact=redact,
            stopping=self.stopping,
        )
        self.dispatcher = Dispatcher(
            db=db,
            clock=clock,
            redact=redact,
            stopping=self.stopping,
            identity=self.identity,
            lanes=self.lanes,
            hand_offs=self.hand_offs,
            wake_ups=self.wake_ups,
            endings=endings,
            observer=self.observer,
        )
        self.teller = Teller(
            db=db, lanes=self.lanes, clock=clock, redact=redact, is_fleet=self.identity.host is not None
        )
        self.alerter = Alerter(
            db=db,
            wake_ups=self.wake_ups,
            clock=clock,
            redact=redact,
            worker=self.identity.worker,
            host=self.identity.host_name,
        )
        self.sweeper = Sweeper(
            db=db,
            clock=clock,
            redact=redact,
            identity=self.identity,
            lanes=self.lanes,
            hand_offs=self.hand_offs,
            wake_ups=self.wake_ups,
            endings=endings,
            observer=self.observer,
            on_folder_made=self.dispatcher.launcher.keep_folder,
            keep_leases=turns.keep_leases,
            tell=self._tell,
            neighbours=Neighbours(
                db=db, clock=clock, identity=self.identity, lanes=self.lanes, endings=endings, wake_ups=self.wake_ups
            ),
        )

    def _tell(self) -> None:
        """A part of the sweep: senders are told of their messages, people of what needs a hand."""
        self.teller.round()
        self.alerter.round()

    def start(self, prepare: Callable[[], object] = lambda: None) -> None:
        """Show that we live (lock, worker row), start the launcher, make the rows that the settings ask for.

        `prepare` is done first, as soon as the ledger can be used.

        Raises LedgerError where the folder or the ledger cannot be written, LauncherGone.
        """
        self.identity.take_lock()
        self._register_when_possible(prepare)
        step("registered")
        self.dispatcher.launcher.start()
        step("started")

    def _register_when_possible(self, prepare: Callable[[], object]) -> None:
        """A full disk, a locked ledger, a server that is away pass: wait here, and do not end.

        Meanwhile nobody else ends what a dead launcher of this host has left.
        """
        said = ""
        while True:
            try:
                prepare()
                self.db.write(self.register)
            except (LedgerFullError, LedgerBusyError) as error:
                if str(error) != said:
                    said = str(error)
                    logger.error("the worker cannot start yet: %s", error)  # noqa: TRY400 - our sentence says it all
                recovery.end_overdue(self.identity.files)
                if self.stopping.wait(START_AGAIN_SECONDS):
                    raise
            else:
                return

    def register(self, tx: Tx) -> None:
        """Make the worker's row, and those of the inboxes and lanes that the settings name.

        HostTakenError: another host of the fleet has our name.
        """
        if self.identity.kind == "consumer":  # `run --once` comes and goes
            self.alerter.begin(tx, self.settings, self.clock())
        self.identity.register(tx, self.clock())
        self._note_settings(tx, self.settings)

    def _note_settings(self, tx: Tx, settings: Settings, needs_restart: Sequence[str] = ()) -> None:
        serves = {agent.agent: [transport.name for transport in agent.transports] for agent in settings.agents}
        upkeep.note_serves(tx, self.identity.worker, serves, needs_restart, self.clock())
        intake.ensure_all(tx, serves)
        for channel in settings.alerts.channels:
            intake.ensure_lane(tx, ALERTS, channel.name)
        if (host := self.identity.host) is not None:
            hosts.register(
                tx, host, boot_id=self.identity.boot, version=__version__, fingerprint=hosts.fingerprint(settings),
                now=tx.now(),
            )  # fmt: skip
            run_on = {
                (agent, transport): settings.run_on(agent, transport)
                for agent, transports in serves.items()
                for transport in transports
            }
            lane_hosts.declare(tx, host.name, run_on)

    def adopt(self, settings: Settings, needs_restart: Sequence[str] = ()) -> list[str]:
        """From now on these settings: what runs ends under those that it began with. Returns whose inbox is another.

        `needs_restart`: keys whose new value is not among them. LedgerError: nothing has changed.
        """
        before = self.settings
        changed = changed_inboxes(before, settings)

        def operation(tx: Tx) -> None:
            self._note_settings(tx, settings, needs_restart)
            for agent in changed:
                intake.poll_now(tx, agent)
            polled = {agent.agent for agent in settings.agents if agent.transports}
            self.poller.turns.let_go(tx, [one.agent for one in before.agents if one.agent not in polled])
            # Inside: a poll whose messages are committed after this has given them the transports of today.
            self._use(settings, changed)

        try:
            self.db.write(operation)
        except BaseException:
            self._use(before, changed)
            raise
        self.wake_ups.overlooked.set()  # lanes may have a transport again, and wait for less
        return changed

    def _use(self, settings: Settings, changed: Sequence[str]) -> None:
        self.settings = self.lanes.settings = settings
        self.poller.adopt(settings, changed)
        self.outbox.adopt(settings)
        self.observer.configured(settings)

    def refuse(self, error: str) -> None:
        """The configuration that is there cannot be used. LedgerError: nobody was told."""
        self.db.write(lambda tx: upkeep.note_config_error(tx, self.identity.worker, error, self.clock()))

    def stop(self) -> None:
        """Let go: running transports go on under the launcher, which leaves their receipts."""
        self.stopping.set()
        self.dispatcher.launcher.close()
        self.inboxes.close()
        try:
            self.db.write(self._note_stop)
        except LedgerError as error:  # the next sweep of anybody finds the lock free, and writes it down
            logger.warning("the stop is not written down: %s", error)
        finally:
            self.db.close()
            self.identity.release_lock()

    def _note_stop(self, tx: Tx) -> None:
        self.poller.turns.let_go(tx)
        upkeep.note_stop(tx, self.identity.worker, self.clock())

    def note_health(self, health: str) -> bool:
        """Write down what the watchdog finds; false where the ledger cannot be written, which `status` sees itself."""
        try:
            self.db.write(lambda tx: upkeep.note_health(tx, self.identity.worker, health))
        except BusWatchError as error:
            logger.warning("the worker's health could not be written down: %s", error)
            return False
        return True


def changed_inboxes(before: Settings, after: Settings) -> list[str]:
    """The agents that are new, gone, or read otherwise: more than their transports has changed."""
    was = {agent.agent: agent.model_copy(update={"transports": ()}) for agent in before.agents}
    now = {agent.agent: agent.model_copy(update={"transports": ()}) for agent in after.agents}
    return [name for name in {**was, **now} if was.get(name) != now.get(name)]
