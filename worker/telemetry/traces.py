"""Traces: one span a delivery, from its arrival to its end, with its attempts as events. Needs the extra `otel`.

Imported only where `traces_endpoint` is configured. A span is put together from the ledger once its delivery is over,
so that one which outlived a worker is whole. Its trace is named by its message's key: all deliveries of a message are
in one trace, and `trace_id` of a key says which. No text of a message and no output of a transport goes along.
"""

import atexit
import logging
import queue
import socket
import threading
from collections.abc import Sequence
from hashlib import blake2b

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import SpanKind, Status, StatusCode

from worker import __version__
from worker.delivery import FINAL, State
from worker.ledger import message_report, report
from worker.ledger.errors import LedgerError
from worker.ledger.port import Ledger
from worker.telemetry.observer import Ended, Observer

logger = logging.getLogger("bus_watch.traces")

MOST_WAITING = 10_000  # spans; with a collector that hangs, later ones are left out
TIMEOUT_SECONDS = 5


def trace_id(key: str) -> int:
    """The trace of the message with this key (`AGENT/STREAM/ID`)."""
    return int.from_bytes(blake2b(key.encode(), digest_size=16).digest())


class Tracer(Observer):
    """Sends a span for each delivery that is over; in a thread of its own, since it reads the ledger."""

    def __init__(self, endpoint: str, database: Ledger) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # it would say the same at each batch
        self._database = database
        self._over: queue.Queue[int | None] = queue.Queue(MOST_WAITING)
        self._ids = _Ids()
        resource = Resource.create(
            {"service.name": "bus-watch", "service.version": __version__, "host.name": socket.gethostname()}
        )
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        exporter = _Exporter(OTLPSpanExporter(endpoint=endpoint, timeout=TIMEOUT_SECONDS))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("bus-watch", __version__)
        self._thread = threading.Thread(target=self._run, name="Tracer", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def ended(self, what: Ended) -> None:
        """Have its span sent, if it is over."""
        if what.state in FINAL:
            try:
                self._over.put_nowait(what.delivery)
            except queue.Full:
                logger.debug("a span was left out: too many wait")

    def close(self) -> None:
        """Send what waits, as far as the collector takes it."""
        atexit.unregister(self.close)
        try:
            self._over.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(2 * TIMEOUT_SECONDS)
        self._provider.shutdown()

    def _run(self) -> None:
        while (delivery := self._over.get()) is not None:
            try:
                self._send(delivery)
            except LedgerError as error:
                logger.warning("a span was left out: %s", error)
            except Exception:  # one that cannot be told must not end the thread
                logger.exception("a span was left out")

    def _send(self, delivery: int) -> None:
        found = self._database.read(lambda db: report.one(db, delivery))
        if found is None:
            return  # forgotten meanwhile
        attempts = self._database.read(lambda db: message_report.attempts(db, delivery))
        key = f"{found.agent}/{found.stream}/{found.message_id}"
        self._ids.trace, self._ids.span = trace_id(key), trace_id(f"{key} {found.transport}") >> 64
        span = self._tracer.start_span(
            f"deliver {found.transport}",
            kind=SpanKind.CONSUMER,
            start_time=_ns(found.received_at),
            attributes={
                "messaging.system": "bus-watch",
                "messaging.operation.type": "process",
                "messaging.destination.name": found.agent,
                "messaging.message.id": found.message_id,
                "bus_watch.key": key,
                "bus_watch.transport": found.transport,
                "bus_watch.state": found.state,
                "bus_watch.attempts": found.starts,
            },
        )
        end = found.received_at
        for row in attempts:
            number = {"bus_watch.attempt": row["own_starts"]}
            span.add_event("attempt began", number, _ns(row["started_at"]))
            if row["ended_at"] is not None:
                end = max(end, row["ended_at"])
                # The ending's own words stand before what the transport said: `exit 1: ...`.
                result = str(row["result"]).partition(":")[0]
                span.add_event("attempt ended", {**number, "bus_watch.result": result}, _ns(row["ended_at"]))
        if found.state == State.DEAD:
            span.set_status(Status(StatusCode.ERROR, "dead"))
        span.end(_ns(end))


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


class _Ids(IdGenerator):
    """The ids of the span that is made next; one thread makes them all."""

    trace = span = 1

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span


class _Exporter(SpanExporter):
    """Another exporter's, and says once an episode that the collector takes nothing."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        found = self._inner.export(spans)
        failing = found is not SpanExportResult.SUCCESS
        if failing and not self._failing:
            logger.warning("traces_endpoint takes no spans; they are left out until it does")
        self._failing = failing
        return found

    def shutdown(self) -> None:
        self._inner.shutdown()
