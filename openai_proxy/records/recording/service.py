"""All records of the process in one object, created once and configured for every generation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openai_proxy.exchange import Exchange
from openai_proxy.heap import heap
from openai_proxy.records.counting.latency import FILE as LATENCY_FILE
from openai_proxy.records.counting.latency import LatencyHistory
from openai_proxy.records.counting.prices import Prices
from openai_proxy.records.counting.usage import Usage
from openai_proxy.records.process_log.output import settle as settle_repeats
from openai_proxy.records.reading.tokens import Tokens
from openai_proxy.records.recording.finished_exchange import Finished, Sink
from openai_proxy.records.recording.live_events import EventBus
from openai_proxy.records.recording.recorder import Recorder
from openai_proxy.records.recording.recorder_thread import RecordWriter
from openai_proxy.records.writing.retention import Retention

if TYPE_CHECKING:
    from openai_proxy.records.custom_loggers.logger_threads import Feeds, LoggerSpec

USAGE_FILE = "usage.sqlite3"
Metered = Callable[[Exchange, Tokens, bool, bool], None]


class Records:
    """Chat logs, loggers, usage, metrics and live events.

    `scrub` replaces the vault's own removal of secrets from text (the redaction of prompts knows more of their
    encodings).
    """

    def __init__(
        self,
        logs: Path,
        state: Path,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        scrub: Callable[[bytes], bytes] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.events = EventBus()
        self._observer: Sink | None = None
        self._writer = RecordWriter(logs, scrub=scrub, clock=clock)
        self.metrics = self._writer.metrics
        self.usage = Usage(state / USAGE_FILE, clock=clock)
        self.latency = LatencyHistory(state / LATENCY_FILE, self.metrics, clock)
        self._logs = logs
        self._feeds: Feeds | None = None
        self._retention = Retention(self._writer.chat_log.files, clock=clock)
        self._metered: tuple[Metered, ...] = ()
        files = self._writer.chat_log.files
        files.try_directory()
        self.metrics.written_lines = lambda: files.written
        self.metrics.watch("events_dropped", "Live events lost on slow watchers.", lambda: self.events.dropped)
        self._watch_costs()
        self.metrics.watch(
            "logger_rows_lost",
            "Rows a logger dropped or failed to write.",
            self._lost_rows,
            kind="counter",
            labels=("logger",),
        )
        self._writer.sums = (self.usage.add,)
        self._writer.chores = (
            self.usage.settle,
            self.latency.settle,
            self._retention.step,
            files.close_idle,
            self._writer.lines.settle,
            settle_repeats,
            heap.settle,
        )
        self._writer.detailed = self._detailed
        self.recorder = Recorder(self._writer, loop)
        self.open = self.recorder.open
        self.lines = self._writer.lines

    def configure(
        self,
        *,
        prices: Prices | None = None,
        loggers: Iterable[LoggerSpec] = (),
        retention_days: float | None = None,
        config_dir: Path | None = None,
    ) -> list[str]:
        """Apply a generation's settings; returns the problems of `loggers`, one line each.

        Blocks (a logger's module may be slow to import): call in a thread.
        """
        specs = tuple(loggers)
        table = prices or Prices()
        self.usage.prices = table
        problems: list[str] = []
        if specs or self._feeds is not None:
            self.feeds.prices = table
            problems = self.feeds.configure(specs, config_dir)
        self._retention.keep = frozenset(Path(s.file_name).name for s in specs if s.file_name is not None)
        self._retention.days = retention_days
        self._retention.soon()
        self.recorder.nudge()
        return problems

    def listen(self, metered: Metered) -> None:
        """Call `metered(exchange, tokens, paid, over)` in the recorder's thread, for limits: see `Finished`."""
        self._metered = (*self._metered, metered)
        self._writer.sinks = (self._inform,)

    def observe(self, sink: Sink | None) -> None:
        """Pass every finished exchange, whole, to `sink` in the recorder's thread; None: stop."""
        self._observer = sink
        self._read_by()

    @property
    def feeds(self) -> Feeds:
        """The loggers; created with the first of them."""
        if self._feeds is None:
            from openai_proxy.records.custom_loggers.logger_threads import Feeds

            self._feeds = Feeds(self._logs, self._writer.scrubber)
            self._feeds.prices = self.usage.prices
            self._read_by()
        return self._feeds

    def _read_by(self) -> None:
        readers = (self._feeds.feed if self._feeds is not None else None, self._observer)
        self._writer.readers = tuple(reader for reader in readers if reader is not None)

    def _detailed(self) -> int:
        return (len(self._feeds) if self._feeds is not None else 0) + (self._observer is not None)

    @property
    def degraded(self) -> str | None:
        """What is wrong with the chat logs' disk, in words; None while nothing is."""
        return self._writer.chat_log.files.degraded

    def usage_report(
        self, by: str = "day", since: str | None = None, elsewhere: Iterable[tuple[Any, ...]] = ()
    ) -> dict[str, Any]:
        """The JSON of /admin/usage; see `Usage.report`. Blocks: call in a thread."""
        self.recorder.flush(1.0)
        return self.usage.report(by, since, elsewhere)

    def latency_report(self, since: str, by: str) -> dict[str, Any]:
        """The JSON of /admin/latency; see `LatencyHistory.report`. Blocks: call in a thread."""
        self.recorder.flush(1.0)
        return self.latency.report(since, by)

    def metrics_page(self) -> tuple[bytes, str]:
        """The text of /metrics and its Content-Type. The first call imports prometheus_client."""
        from openai_proxy.records.counting.exposition import CONTENT_TYPE, render

        return render(self.metrics), CONTENT_TYPE

    def close(self, timeout: float = 5.0) -> None:
        """Write what is left, within `timeout` seconds. Blocks: call in a thread."""
        self.events.close()
        self.recorder.close(timeout)
        if self._feeds is not None:
            self._feeds.close()

    def _inform(self, finished: Finished) -> None:
        for metered in self._metered:
            metered(finished.exchange, finished.tokens, finished.paid, finished.over)

    def _watch_costs(self) -> None:
        usage = self.usage
        self.metrics.watch(
            "cost",
            "What answers have cost since the start, as far as known.",
            lambda: {(*pair, usage.prices.currency): cost for pair, cost in list(usage.costs.items())},
            kind="counter",
            labels=("model", "connection", "currency"),
        )
        self.metrics.watch(
            "unpriced_requests",
            "Answered requests whose cost is not known (yet).",
            lambda: dict(list(usage.unpriced.items())),
            labels=("model", "connection"),
        )

    def _lost_rows(self) -> dict[tuple[str, ...], float]:
        lost: dict[tuple[str, ...], float] = {}
        for feed in self._feeds.feeds if self._feeds is not None else ():
            lost[(feed.name,)] = lost.get((feed.name,), 0) + feed.failed + feed.dropped
        return lost
