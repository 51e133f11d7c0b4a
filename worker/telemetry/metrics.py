"""Metrics as a Prometheus text file, for the textfile collector of node_exporter. Needs the extra `metrics`.

State is read from the ledger whenever the file is written; attempts, verdicts and times are counted in this process,
and begin at nought when it starts, as Prometheus expects of counters.
"""

import functools
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeHistogramMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from worker import __version__
from worker.atomic_files import write_atomically
from worker.delivery import State
from worker.ledger import alerts, report, this_host
from worker.ledger.port import Ledger, Tx
from worker.ledger.report import LaneReport
from worker.settings import Settings
from worker.telemetry.observer import Ended, Observer
from worker.terminal.said import said

logger = logging.getLogger("bus_watch.metrics")

EVERY_SECONDS = 5.0
LATENCY_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
AGE_BUCKETS = (10.0, 60.0, 300.0, 1800.0, 3600.0, 6 * 3600.0, 86400.0)
MOST_VERSIONS = 100  # of agents' UIs: they are told by transports, which may print anything
LANE_STATES = ("working", "paused", "broken", "orphaned")
_LANE = ("agent", "transport")


class LedgerCollector(Collector):
    """What the ledger says of lanes, inboxes and alerts, read when Prometheus's library asks for it.

    `read` runs a query on the ledger.
    """

    def __init__(self, settings: Settings, read: Callable[[Callable[[Tx], Any]], Any]) -> None:
        self.settings = settings
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """All gauges. Raises what a read of the ledger does."""
        now: float = self._read(lambda db: db.now())
        lanes: list[LaneReport] = self._read(report.lanes)
        if host := this_host.known(self.settings):  # each host of a fleet tells of its own
            lanes = [lane for lane in lanes if lane.host in {None, host}]
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
        yield self._ages(lanes, now)
        age = _gauge("poll_age_seconds", "Since the bus last answered a poll; -1: never.", "agent")
        for agent, inbox in self._read(report.inboxes).items():
            if self.settings.agent(agent) is not None:
                polled = inbox["polled_at"]
                age.add_metric((agent,), -1.0 if polled is None else max(0.0, now - polled))
        yield age
        told = _gauge("alerts_open", "Alerts that are open, by what they are about.", "condition", "about")
        for one in self._read(alerts.every):
            told.add_metric((one.condition, one.about), 1)
        yield told

    def _ages(self, lanes: list[LaneReport], now: float) -> Metric:
        """How old what waits is now, lane by lane: a histogram of this moment, not of what has been."""
        ages = GaugeHistogramMetricFamily("bus_watch_waiting_age_seconds", "Age of what waits now.", labels=_LANE)
        for lane in lanes:
            counts, whole = self._read(functools.partial(report.ages, lane=lane.id, now=now, bounds=AGE_BUCKETS))
            buckets = [(str(bound), float(count)) for bound, count in zip(AGE_BUCKETS, counts, strict=True)]
            buckets.append(("+Inf", float(lane.waiting + lane.retrying)))
            ages.add_metric((lane.agent, lane.transport), buckets, whole)
        return ages

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
        self._collector = LedgerCollector(settings, database.read)
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
        self._stages = Histogram(
            "bus_watch_wake_seconds",
            "Of what was delivered, by stage: on the bus, in its lane, its transport's run, and from ledger to end.",
            (*_LANE, "stage"),
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._verdicts = Counter(
            "bus_watch_verdicts",
            "What sends said of themselves, by the agent's UI, its version and the channel.",
            ("ui", "version", "verdict", "channel"),
            registry=registry,
        )
        self._versions: set[tuple[str, str]] = set()

    def started(self, agent: str, transport: str, attempt: int, waited: float) -> None:
        """Note how long the first attempt had to wait."""
        if attempt == 1:
            self._latency.labels(agent, transport).observe(max(0.0, waited))

    def ended(self, what: Ended) -> None:
        """Count it."""
        if what.is_companion:
            return
        self._attempts.labels(what.agent, what.transport, str(what.meaning)).inc()
        if what.state is State.SUCCEEDED:
            for stage, seconds in _stages(what):
                self._stages.labels(what.agent, what.transport, stage).observe(max(0.0, seconds))
        if (found := said(what.output)) is not None and found.agent:
            self._verdicts.labels(*self._known(found.agent, found.version), found.verdict, found.channel).inc()

    def _known(self, ui: str, version: str) -> tuple[str, str]:
        """The same, or `other` where there are too many by now."""
        if (ui, version) not in self._versions:
            if len(self._versions) >= MOST_VERSIONS:
                return "other", ""
            self._versions.add((ui, version))
        return ui, version

    def unknown_screen(self, ui: str, version: str) -> None:
        """Count it."""
        self._unknown.labels(*self._known(ui, version)).inc()

    def unknown_channel(self, ui: str, version: str) -> None:
        """Count it."""
        self._unknown_channels.labels(*self._known(ui, version)).inc()

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


def _stages(what: Ended) -> Iterator[tuple[str, float]]:
    """What its time was spent on, in seconds. That on the bus goes by the id, and so by the bus's clock."""
    ms, _, _ = what.message_id.partition("-")
    if ms.isdigit() and len(ms) < 16:
        yield "bus", what.received_at - int(ms) / 1000
    yield "lane", what.started_at - what.received_at
    yield "transport", what.ended_at - what.started_at
    yield "whole", what.ended_at - what.received_at


def of_ledger(settings: Settings, read: Callable[[Callable[[Tx], Any]], Any]) -> bytes:
    """What the ledger alone tells, as Prometheus's text; the counts of a worker are in its `metrics_file`."""
    registry = CollectorRegistry()
    registry.register(LedgerCollector(settings, read))
    return generate_latest(registry)
