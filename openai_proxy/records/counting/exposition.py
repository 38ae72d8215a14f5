"""/metrics: the plain counters as Prometheus text. Imported on the first request, with prometheus_client."""

from collections.abc import Iterable, Iterator
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from openai_proxy.records.counting.metrics import DURATIONS, Histogram, Metrics

CONTENT_TYPE = CONTENT_TYPE_LATEST
_PAGE = 4096  # bytes; /proc counts pages of this size on every supported machine


class _Collector:
    """Reads `Metrics` on request. Counters are copied first, because the recorder's thread keeps counting."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Any]:
        """All families."""
        m = self._metrics
        yield _counter("requests", "Requests that have ended.", ("model", "connection", "status"), m.requests)
        yield _counter("errors", "Errors of the proxy's own, by code.", ("code",), m.errors)
        yield _counter("tokens", "Tokens, by direction.", ("model", "connection", "kind"), m.tokens)
        yield _gauge("active_requests", "Requests that are open.", m.active())
        yield _histogram("request_duration_seconds", "From the request to the end of its answer.", m.durations)
        yield _histogram("time_to_first_byte_seconds", "From the request to its answer's first byte.", m.first_bytes)
        yield _counter("log_lines_written", "Lines of the chat logs.", (), {(): m.written_lines()})
        yield _counter("log_lines_lost", "Lines lost to a full disk or backlog.", (), {(): m.lost_lines()})
        rss = resident()
        if rss is not None:
            yield GaugeMetricFamily("process_resident_memory_bytes", "Resident memory.", value=rss)
        for name, (kind, text, labels, read) in list(m.sources.items()):
            reading = read()
            if not isinstance(reading, int | float):
                samples: Iterable[tuple[tuple[str, ...], float]] = list(reading.items())
            else:
                samples = [((), reading)]
            family = (CounterMetricFamily if kind == "counter" else GaugeMetricFamily)(
                f"openai_proxy_{name}", text, labels=labels
            )
            for values, number in samples:
                family.add_metric(values, number)
            yield family


def _counter(name: str, text: str, labels: tuple[str, ...], values: dict[Any, int]) -> Any:
    family = CounterMetricFamily(f"openai_proxy_{name}", text, labels=labels)
    for key, number in list(values.items()):
        family.add_metric(key, number)
    return family


def _gauge(name: str, text: str, value: float) -> Any:
    return GaugeMetricFamily(f"openai_proxy_{name}", text, value=value)


def _histogram(name: str, text: str, values: dict[tuple[str, str], Histogram]) -> Any:
    family = HistogramMetricFamily(f"openai_proxy_{name}", text, labels=("model", "connection"))
    for key, histogram in list(values.items()):
        bounds = chain(map(str, DURATIONS), ("+Inf",))
        family.add_metric(key, list(zip(bounds, accumulate(histogram.counts), strict=True)), histogram.total)
    return family


def resident() -> int | None:
    """Resident memory of this process in bytes, if the kernel reports it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return None


def render(metrics: Metrics) -> bytes:
    """The text of /metrics, of media type CONTENT_TYPE."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(metrics))
    return generate_latest(registry)
