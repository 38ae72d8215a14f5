"""Metrics of finished requests, sent by OTLP; `/metrics` has more."""

from typing import TYPE_CHECKING, Any, Final

from opentelemetry.metrics import Meter

from openai_proxy.records.recording.finished_exchange import Finished

if TYPE_CHECKING:
    from openai_proxy.telemetry.request_trace import RequestTrace

_TOKENS: Final = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864]
_SECONDS: Final = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
"""Buckets recommended by the conventions (https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/)."""


class Measures:
    """Histograms of tokens and durations. Belongs to the recorder's thread."""

    def __init__(self, meter: Meter) -> None:
        def seconds(name: str, text: str) -> Any:
            return meter.create_histogram(name, "s", text, explicit_bucket_boundaries_advisory=_SECONDS)

        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage", "{token}", "Tokens read and written.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )  # fmt: skip
        self._duration = seconds("gen_ai.client.operation.duration", "From asking a provider to its answer's end.")
        self._first = seconds(
            "gen_ai.client.operation.time_to_first_chunk", "From asking a provider to the first chunk."
        )
        self._served = seconds("http.server.request.duration", "From a client's request to the end of its answer.")

    def finished(self, finished: Finished, trace: "RequestTrace") -> None:
        """Count a finished request."""
        exchange, tokens = finished.exchange, finished.tokens
        whole = max((exchange.ended or exchange.started) - exchange.started, 0.0)
        status = finished.status or exchange.status or 0
        served = {"http.request.method": exchange.method, "http.route": exchange.endpoint.name,
                  "url.scheme": "http", "http.response.status_code": status}  # fmt: skip
        if finished.error_code is not None:
            served["error.type"] = finished.error_code
        self._served.record(whole, served)
        about = trace.about
        if about is None:
            return
        if tokens.total:
            self._tokens.record(tokens.input, {**about, "gen_ai.token.type": "input"})
            self._tokens.record(tokens.output, {**about, "gen_ai.token.type": "output"})
        if exchange.stream and exchange.first_byte is not None:
            self._first.record(max(exchange.first_byte - exchange.started, 0.0), about)
        for seconds, error in trace.attempts:
            self._duration.record(seconds, {**about, "error.type": error} if error is not None else about)
