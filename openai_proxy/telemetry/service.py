"""Sends telemetry: tracer, meter and exporters, according to the configuration and the standard variables.

Needs the extra `telemetry`. The SDK exports in its own threads: a collector that hangs or refuses costs spans, never a
request.
"""

import os
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from openai_proxy.config.connection import ConnectionConfig
from openai_proxy.config.proxy import TelemetryConfig
from openai_proxy.exchange import Exchange
from openai_proxy.records.recording.finished_exchange import Finished
from openai_proxy.telemetry.attributes import ProviderAddress
from openai_proxy.telemetry.measures import Measures
from openai_proxy.telemetry.request_trace import RequestTrace
from openai_proxy.version import __version__

SCOPE: Final = "openai_proxy"
_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_CAPTURE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_CAPTURES: Final = frozenset({"true", "1", "span_only", "span_and_event"})


class Telemetry:
    """Lives as long as its settings. `begin` belongs to the event loop, `finished` to the recorder's thread."""

    def __init__(self, config: TelemetryConfig, environment: Mapping[str, str], key: object = None) -> None:
        """`environment`: of the process and the `.env` file; `key`: the settings from which all this was made.

        Raises ValueError for invalid settings.
        """
        self.key = key
        for name, value in environment.items():
            if name.startswith("OTEL_"):
                os.environ.setdefault(name, value)  # the SDK reads os.environ, and knows nothing of a .env file
        self.content = config.content or environment.get(_CAPTURE, "").lower() in _CAPTURES
        self._connections: Mapping[str, ConnectionConfig] = {}
        resource = _resource(environment)
        self._tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        if _exports("TRACES", environment):
            exporter = OTLPSpanExporter(**_target(config, "TRACES", "/v1/traces", environment))
            self._tracers.add_span_processor(BatchSpanProcessor(exporter))
        readers = []
        if _exports("METRICS", environment):
            metrics = OTLPMetricExporter(**_target(config, "METRICS", "/v1/metrics", environment))
            readers.append(PeriodicExportingMetricReader(metrics))
        self._meters = MeterProvider(metric_readers=readers, resource=resource, shutdown_on_exit=False)
        self._tracer = self._tracers.get_tracer(SCOPE, __version__)
        self._measures = Measures(self._meters.get_meter(SCOPE, __version__))

    def follow(self, connections: Mapping[str, ConnectionConfig]) -> None:
        """Set the present connections."""
        self._connections = connections

    def begin(self, exchange: Exchange, headers: Mapping[str, str]) -> RequestTrace:
        """The trace of a request with these header fields."""
        return RequestTrace(self._tracer, exchange, headers, self._provider, content=self.content)

    def _provider(self, connection: str) -> ProviderAddress:
        return ProviderAddress.of(connection, self._connections.get(connection))

    def finished(self, finished: Finished) -> None:
        """A request is over, and its record was read."""
        trace = finished.exchange.trace
        if isinstance(trace, RequestTrace):
            trace.end(finished)
            self._measures.finished(finished, trace)

    def close(self, seconds: float) -> None:
        """Send what is left, within `seconds`. Blocks: call in a thread."""
        ends = [
            threading.Thread(target=provider.shutdown, name="end of telemetry", daemon=True)
            for provider in (self._tracers, self._meters)
        ]
        until = time.monotonic() + seconds
        for end in ends:
            end.start()
        for end in ends:
            end.join(max(until - time.monotonic(), 0.0))


def wanted(config: TelemetryConfig, environment: Mapping[str, str]) -> bool:
    """True if there is a collector to send to."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    names = (_ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
    return config.endpoint is not None or any(environment.get(name) for name in names)


def _exports(signal: str, environment: Mapping[str, str]) -> bool:
    return environment.get(f"OTEL_{signal}_EXPORTER", "otlp").lower() != "none"


def _target(config: TelemetryConfig, signal: str, path: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """The endpoint, unless the standard variables set one; they win over the file, as everywhere."""
    configured = environment.get(_ENDPOINT) or environment.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    found: dict[str, Any] = {"headers": dict(config.headers)} if config.headers else {}
    if not configured and config.endpoint is not None:
        found["endpoint"] = config.endpoint.rstrip("/").removesuffix(path) + path
    return found


def _resource(environment: Mapping[str, str]) -> Resource:
    named = "OTEL_SERVICE_NAME" in environment or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return Resource.create({"service.version": __version__, **({} if named else {"service.name": "openai-proxy"})})
