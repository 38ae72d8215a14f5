"""Counters for /metrics, plain numbers that cost nothing until they are read.

The recorder's thread counts requests when they end; the event loop only counts open ones. `prometheus_client` is
imported on the first request for /metrics, not at start (3 MB).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from typing import Final

from openai_proxy.exchange import Exchange
from openai_proxy.records.reading.tokens import Tokens

DURATIONS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
MAX_SERIES: Final = 500  # label sets; a client that invents model names must not fill memory

_KINDS: Final = ("input", "output", "cached", "reasoning")  # in the order of `Tokens`
_CLASSES: Final = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")

Labels = tuple[str, ...]
Reading = float | Mapping[Labels, float]


class Histogram:
    """A histogram of durations: counts per bucket (the last one without a bound), and the sum."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(DURATIONS) + 1)
        self.total = 0.0

    def observe(self, seconds: list[float]) -> None:
        """Count some durations; sorts the list."""
        if len(seconds) == 1:
            self.counts[bisect_left(DURATIONS, seconds[0])] += 1
            self.total += seconds[0]
            return
        seconds.sort()
        before = 0
        for bucket, bound in enumerate(DURATIONS):
            upto = bisect_right(seconds, bound, before)
            self.counts[bucket] += upto - before
            before = upto
        self.counts[-1] += len(seconds) - before
        self.total += sum(seconds)


class Metrics:
    """All counters, and the other values to read on request."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, str], int] = {}
        self.durations: dict[tuple[str, str], Histogram] = {}
        self.first_bytes: dict[tuple[str, str], Histogram] = {}
        self.tokens: dict[tuple[str, str, str], int] = {}
        self.errors: dict[tuple[str], int] = {}
        self.active: Callable[[], int] = int
        self.lost_lines: Callable[[], int] = int
        self.written_lines: Callable[[], int] = int
        self.sources: dict[str, tuple[str, str, Labels, Callable[[], Reading]]] = {}

    def watch(
        self, name: str, text: str, read: Callable[[], Reading], *, kind: str = "gauge", labels: Labels = ()
    ) -> None:
        """Also report what `read` returns on request: a number, or label values -> number. `kind`: gauge or counter."""
        self.sources[name] = (kind, text, labels, read)

    def finished(self, exchange: Exchange, status: int, tokens: Tokens, error_code: str | None) -> None:
        """Count an exchange that has ended."""
        durations = [exchange.ended - exchange.started] if exchange.ended is not None else []
        firsts = [exchange.first_byte - exchange.started] if exchange.first_byte is not None else []
        self.counted(exchange, status or exchange.status or 0, tokens, durations, firsts, 1)
        if error_code is not None:
            self.errors[(error_code,)] = self.errors.get((error_code,), 0) + 1

    def counted(
        self, exchange: Exchange, status: int, tokens: Tokens, durations: list[float], firsts: list[float], number: int
    ) -> None:
        """Count `number` exchanges that ended like `exchange`, of `tokens` together. Both lists become its own."""
        model, connection = exchange.model or "", exchange.connection or ""
        pair = (model, connection)
        times = self.durations.get(pair)
        if times is None:
            if len(self.durations) >= MAX_SERIES:
                model = "other"
                pair = (model, connection)
            times = self.durations.setdefault(pair, Histogram())
        key = (model, connection, _CLASSES[status // 100] if 0 <= status < 600 else "none")
        self.requests[key] = self.requests.get(key, 0) + number
        if durations:
            times.observe(durations)
        if firsts:
            first = self.first_bytes.get(pair)
            if first is None:
                first = self.first_bytes[pair] = Histogram()
            first.observe(firsts)
        self._count(model, connection, tokens)

    def used(self, exchange: Exchange, tokens: Tokens) -> None:
        """Count the tokens of one of several answers of an exchange."""
        pair = (exchange.model or "", exchange.connection or "")
        if pair not in self.durations and len(self.durations) >= MAX_SERIES:
            pair = ("other", pair[1])
        self.durations.setdefault(pair, Histogram())
        self._count(*pair, tokens)

    def _count(self, model: str, connection: str, tokens: Tokens) -> None:
        if tokens.input or tokens.output:
            counts = self.tokens
            for kind, count in zip(_KINDS, tokens[:4], strict=True):
                if count:
                    label = (model, connection, kind)
                    counts[label] = counts.get(label, 0) + count
