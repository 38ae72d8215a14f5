"""All records of the process in one object: what the daemon builds once, and configures at every generation."""

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from openai_proxy.exchange import Exchange
from openai_proxy.records.counting.latency import FILE as LATENCY_FILE
from openai_proxy.records.counting.latency import LatencyHistory
from openai_proxy.records.counting.prices import Prices
from openai_proxy.records.counting.usage import Usage
from openai_proxy.records.loggers.logger_threads import Feeds, LoggerSpec
from openai_proxy.records.reading.tokens import Tokens
from openai_proxy.records.recording.finished_exchange import Finished, Sink, is_paid
from openai_proxy.records.recording.live_events import EventBus
from openai_proxy.records.recording.recorder import Recorder
from openai_proxy.records.recording.recorder_thread import Scribe
from openai_proxy.records.terminal.output import settle as settle_repeats
from openai_proxy.records.writing.retention import Retention

USAGE_FILE = "usage.sqlite3"
Metered = Callable[[Exchange, Tokens, bool], None]


class Records:
    """Chat logs, loggers, usage, metrics and live events.

    `scrub` replaces the vault's own rule for taking secrets out of text (the redaction of prompts knows more of
    their disguises).
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
        self._scribe = Scribe(logs, scrub=scrub, clock=clock)
        self.metrics = self._scribe.metrics
        self.usage = Usage(state / USAGE_FILE, clock=clock)
        self.latency = LatencyHistory(state / LATENCY_FILE, self.metrics, clock)
        self.feeds = Feeds(logs, self._scribe.scrubber)
        self._retention = Retention(self._scribe.chat_log.files, clock=clock)
        self._metered: tuple[Metered, ...] = ()
        files = self._scribe.chat_log.files
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
        self._scribe.sums = (self.usage.add,)
        self._scribe.readers = (self.feeds.feed,)
        self._scribe.chores = (
            self.usage.settle,
            self.latency.settle,
            self._retention.step,
            files.let_go,
            self._scribe.lines.settle,
            settle_repeats,
        )
        self._scribe.detailed = self._detailed
        self.recorder = Recorder(self._scribe, loop)
        self.open = self.recorder.open
        self.lines = self._scribe.lines

    def configure(
        self,
        *,
        prices: Prices | None = None,
        loggers: Iterable[LoggerSpec] = (),
        retention_days: float | None = None,
        config_dir: Path | None = None,
    ) -> list[str]:
        """Take over a generation's settings; returns the problems of `loggers`, a line each.

        Blocks (a logger's module may be slow to import): call in a thread.
        """
        specs = tuple(loggers)
        table = prices or Prices()
        self.usage.prices = table
        self.feeds.prices = table
        problems = self.feeds.configure(specs, config_dir)
        self._retention.keep = frozenset(Path(s.file_name).name for s in specs if s.file_name is not None)
        self._retention.days = retention_days
        self._retention.soon()
        self.recorder.nudge()
        return problems

    def listen(self, metered: Metered) -> None:
        """Call `metered(exchange, tokens, paid)` when an exchange has ended, in the recorder's thread: for limits.

        `paid`: its tokens were used, whatever became of the answer.
        """
        self._metered = (*self._metered, metered)
        self._scribe.sinks = (self._tell,)

    def observe(self, sink: Sink | None) -> None:
        """Tell `sink` of every finished exchange, whole, in the recorder's thread; None: of none any more."""
        self._observer = sink
        self._scribe.readers = (self.feeds.feed, *((sink,) if sink is not None else ()))

    def _detailed(self) -> int:
        return len(self.feeds) + (self._observer is not None)

    @property
    def degraded(self) -> str | None:
        """What is wrong with the disk of the chat logs, in words; None while nothing is."""
        return self._scribe.chat_log.files.degraded

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
        """Write all that is left, within `timeout` seconds. Blocks: call in a thread."""
        self.events.close()
        self.recorder.close(timeout)
        self.feeds.close()

    def _tell(self, finished: Finished) -> None:
        paid = is_paid(finished.exchange, finished.status)
        for metered in self._metered:
            metered(finished.exchange, finished.tokens, paid)

    def _watch_costs(self) -> None:
        usage = self.usage
        self.metrics.watch(
            "cost",
            "What answers cost since the start, as far as it is known.",
            lambda: {(*pair, usage.prices.currency): cost for pair, cost in list(usage.costs.items())},
            kind="counter",
            labels=("model", "connection", "currency"),
        )
        self.metrics.watch(
            "unpriced_requests",
            "Answered requests whose cost nobody knows (yet).",
            lambda: dict(list(usage.unpriced.items())),
            labels=("model", "connection"),
        )

    def _lost_rows(self) -> dict[tuple[str, ...], float]:
        lost: dict[tuple[str, ...], float] = {}
        for feed in self.feeds.feeds:
            lost[(feed.name,)] = lost.get((feed.name,), 0) + feed.failed + feed.dropped
        return lost
