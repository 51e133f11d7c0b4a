"""An OpenTelemetry collector on a loopback port: OTLP over HTTP, read with OpenTelemetry's own definitions.

OTLP 1.5 (https://opentelemetry.io/docs/specs/otlp): POST to /v1/traces of an ExportTraceServiceRequest in protobuf,
gzipped or not.
"""

import gzip
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.fakes.loopback import LoopbackServer


class FakeCollector(LoopbackServer):
    """`spans` are what arrived, as OTLP has them; `raw` the bytes."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.spans: list[Any] = []
        self.raw: list[bytes] = []
        self.arrived = threading.Condition()

    @property
    def url(self) -> str:
        return f"{super().url}/v1/traces"

    def wait_for(self, number: int, timeout: float = 60.0) -> list[Any]:
        """The spans, once there are so many."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.spans) >= number, timeout), self.spans
        return list(self.spans)


class _Handler(BaseHTTPRequestHandler):
    server: FakeCollector

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        fine = self.path == "/v1/traces" and self.headers.get("Content-Type") == "application/x-protobuf"
        if fine:
            request = ExportTraceServiceRequest.FromString(body)
            with self.server.arrived:
                self.server.raw.append(body)
                self.server.spans += [
                    span for one in request.resource_spans for scope in one.scope_spans for span in scope.spans
                ]
                self.server.arrived.notify_all()
        self.send_response(200 if fine else 404)
        data = ExportTraceServiceResponse().SerializeToString()
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
