"""An OpenTelemetry collector: it takes OTLP over HTTP and decodes it with the official protobuf package."""

import gzip
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.harness.waiting import eventually

KINDS = {Span.SPAN_KIND_SERVER: "server", Span.SPAN_KIND_CLIENT: "client", Span.SPAN_KIND_INTERNAL: "internal"}


@dataclass
class SpanSeen:
    """One span that arrived."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    failed: bool
    begins: int
    ends: int
    service: str


@dataclass
class Collector:
    """A server in its own thread. `hang`: it accepts requests but never answers, until it is closed."""

    hang: bool = False
    spans: list[SpanSeen] = field(default_factory=list)
    metrics: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    headers: list[dict[str, str]] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.begun.set()
                if collector.hang:
                    collector.released.wait()
                    return
                collector.take(self.path, body, {name.lower(): value for name, value in self.headers.items()})
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base class
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The collector's base URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop serving."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def take(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        """Store the spans or metrics of one export."""
        self.headers.append({"path": path, **headers})
        if path.endswith("/v1/traces"):
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                service = str(values(resource.resource.attributes).get("service.name"))
                for scope in resource.scope_spans:
                    self.spans += [_seen(span, service) for span in scope.spans]
        else:
            assert path.endswith("/v1/metrics"), path
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        points = [
                            {**values(point.attributes), "count": point.count, "sum": point.sum}
                            for point in metric.histogram.data_points
                        ]
                        self.metrics[metric.name] = points

    def wait(self, number: int) -> list[SpanSeen]:
        """The spans, once there are this many."""
        eventually(lambda: len(self.spans) >= number, f"{number} spans have arrived")
        return sorted(self.spans, key=lambda span: span.begins)


def values(attributes: Any) -> dict[str, Any]:
    """Attributes as plain values."""
    found: dict[str, Any] = {}
    for attribute in attributes:
        kind = attribute.value.WhichOneof("value")
        value = getattr(attribute.value, kind)
        if kind == "array_value":
            value = [getattr(one, one.WhichOneof("value")) for one in value.values]
        found[attribute.key] = value
    return found


def _seen(span: Any, service: str) -> SpanSeen:
    return SpanSeen(
        span.name, KINDS[span.kind], span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(),
        values(span.attributes), span.status.code == 2, span.start_time_unix_nano, span.end_time_unix_nano, service,
    )  # fmt: skip
