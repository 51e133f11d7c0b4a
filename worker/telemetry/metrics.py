"""Metrics as a Prometheus text file, for the textfile collector of node_exporter. Needs the extra `metrics`.

State is read from the ledger whenever the file is written; attempts and latencies are counted in this process, and
begin at nought when it starts, as Prometheus expects of counters.
"""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from worker import __version__
from worker.atomic_files import write_atomically
from worker.ledger import report
from worker.ledger.port import Ledger
from worker.ledger.report import LaneReport
from worker.settings import Settings
from worker.telemetry.observer import Ended, Observer

logger = logging.getLogger("bus_watch.metrics")

EVERY_SECONDS = 5.0
LATENCY_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
LANE_STATES = ("working", "paused", "broken", "orphaned")
_LANE = ("agent", "transport")


class LedgerCollector(Collector):
    """What the ledger says of lanes and inboxes, read when Prometheus's library asks for it."""

    def __init__(self, settings: Settings, database: Ledger) -> None:
        self.settings = settings
        self._database = database

    def collect(self) -> Iterator[Metric]:
        """All gauges. Raises what a read of the ledger does."""
        now = time.time()
        lanes = self._database.read(report.lanes)
        deliveries = _gauge("deliveries", "Deliveries that are not done, by state.", *_LANE, "state")
        backlog = _gauge("backlog", "Deliveries waiting, retrying or running.", *_LANE)
        oldest = _gauge("oldest_waiting_seconds", "Age of the message at the lane's head; 0: none.", *_LANE)
        dead = _gauge("dead_letters", "Deliveries that went dead.", *_LANE)
        states = _gauge("lane_state", "1 for the state that the lane is in.", *_LANE, "state")
        for lane in lanes:
            names = (lane.agent, lane.transport)
            for state in ("waiting", "retrying", "running", "held"):
                deliveries.add_metric((*names, state), getattr(lane, state))
            backlog.add_metric(names, lane.waiting + lane.retrying + lane.running)
            oldest.add_metric(names, max(0.0, now - lane.oldest) if lane.oldest is not None else 0.0)
            dead.add_metric(names, lane.dead)
            for state in LANE_STATES:
                states.add_metric((*names, state), state == self._state(lane))
        yield from (deliveries, backlog, oldest, dead, states)
        age = _gauge("poll_age_seconds", "Since the bus last answered a poll; -1: never.", "agent")
        for agent, inbox in self._database.read(report.inboxes).items():
            if self.settings.agent(agent) is not None:
                polled = inbox["polled_at"]
                age.add_metric((agent,), -1.0 if polled is None else max(0.0, now - polled))
        yield age

    def _state(self, lane: LaneReport) -> str:
        if self.settings.transport(lane.agent, lane.transport) is None:
            return "orphaned"
        if lane.paused:
            return "paused"
        return "broken" if lane.broken_since is not None else "working"


def _gauge(name: str, words: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"bus_watch_{name}", words, labels=labels)


class MetricsFile(Observer):
    """Counts what happens here, and writes the file, complete or not at all, readable by everybody."""

    def __init__(self, settings: Settings, database: Ledger) -> None:
        self.path = Path(settings.metrics_file or "").expanduser()
        self._due = 0.0  # monotonic seconds
        self._failing = False
        self._registry = registry = CollectorRegistry()
        info = Gauge("bus_watch_info", "The version that runs.", ("version",), registry=registry)
        info.labels(__version__).set(1)
        self._collector = LedgerCollector(settings, database)
        registry.register(self._collector)
        self._attempts = Counter(
            "bus_watch_attempts",
            "Attempts that ended, by what the ending meant.",
            (*_LANE, "result"),
            registry=registry,
        )
        self._unknown = Counter(
            "bus_watch_unknown_screens",
            "Screens that the agent's profile did not explain: its UI may have changed.",
            ("ui", "version"),
            registry=registry,
        )
        self._unknown_channels = Counter(
            "bus_watch_unknown_channels",
            "Times that an agent's channel was not as it was measured: the agent may have changed.",
            ("ui", "version"),
            registry=registry,
        )
        self._latency = Histogram(
            "bus_watch_wake_latency_seconds",
            "From a message's arrival in the ledger to the start of its first attempt.",
            _LANE,
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )

    def started(self, agent: str, transport: str, attempt: int, waited: float) -> None:
        """Note how long the first attempt had to wait."""
        if attempt == 1:
            self._latency.labels(agent, transport).observe(max(0.0, waited))

    def ended(self, what: Ended) -> None:
        """Count it."""
        if what.is_companion:
            return
        self._attempts.labels(what.agent, what.transport, str(what.meaning)).inc()

    def unknown_screen(self, ui: str, version: str) -> None:
        """Count it."""
        self._unknown.labels(ui, version).inc()

    def unknown_channel(self, ui: str, version: str) -> None:
        """Count it."""
        self._unknown_channels.labels(ui, version).inc()

    def configured(self, settings: Settings) -> None:
        """Its lanes and inboxes are those of these settings."""
        self._collector.settings = settings

    def swept(self) -> None:
        """Write the file if it is time; a disk that refuses it is a line in the log, and no more."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + EVERY_SECONDS
        try:
            self.write()
        except OSError as error:
            if not self._failing:
                logger.warning("metrics_file %s cannot be written: %s", self.path, error.strerror)
            self._failing = True
        else:
            self._failing = False

    def write(self) -> None:
        """Look at the ledger and write the file. Raises OSError."""
        # Not by the library: it leaves the mode to the umask, which is 0077 in our units, and the exporter is not us.
        write_atomically(self.path, generate_latest(self._registry), mode=0o644, durable=False)
