"""Loggers of `loggers:`, each fed by its own thread, so that a slow or failing one affects nobody.

The queue of each is bounded; further rows are dropped and counted. A logger whose entry is unchanged survives a reload.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import orjson

from openai_proxy.plugin_loader import describe, failure, file_of, find
from openai_proxy.records.counting.prices import Prices
from openai_proxy.records.custom_loggers import logger_columns
from openai_proxy.records.recording.finished_exchange import Finished
from openai_proxy.records.writing import textjson
from openai_proxy.records.writing.scrub import Scrubber

log = logging.getLogger(__name__)

MAX_WAITING = 1000  # rows that may wait for a logger
COMPLAIN = 60.0  # seconds between two warnings about the same logger

Write = Callable[[dict[str, Any]], object]


class LoggerSpec(Protocol):
    """One entry of `loggers:`, as config/proxy.py has it."""

    @property
    def class_(self) -> str:
        """Dotted path of a class or function."""
        ...

    @property
    def file_name(self) -> str | None:
        """Passed to the class; in the logs directory unless absolute."""
        ...

    @property
    def entry(self) -> Mapping[str, str]:
        """Column -> path."""
        ...


class Feed:
    """One logger with its queue and its thread. `failed` and `dropped` count rows."""

    def __init__(self, name: str, columns: Mapping[str, str], write: Write, close: Callable[[], object] | None) -> None:
        self.name = name
        self.columns = dict(columns)
        self.failed = 0
        self.dropped = 0
        self._write = write
        self._close = close
        self._queue: queue.Queue[dict[str, Any] | threading.Event | None] = queue.Queue(MAX_WAITING)
        self._complained = 0.0
        self._thread = threading.Thread(target=self._run, name=f"logger-{name}", daemon=True)
        self._thread.start()

    def offer(self, row: dict[str, Any]) -> None:
        """Queue a row, or count it as dropped."""
        try:
            self._queue.put_nowait(row)
        except queue.Full:
            self.dropped += 1

    def flush(self, timeout: float) -> bool:
        """Wait until everything offered so far is written."""
        done = threading.Event()
        try:
            self._queue.put(done, timeout=timeout)
        except queue.Full:
            return False
        return done.wait(timeout)

    def close(self, timeout: float) -> None:
        """Let the thread end after its queue is empty; it is abandoned if that takes longer."""
        try:
            self._queue.put(None, timeout=timeout)
        except queue.Full:
            return
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            row = self._queue.get()
            if row is None:
                break
            if isinstance(row, threading.Event):
                row.set()
                continue
            try:
                self._write(row)
            except Exception as error:
                self.failed += 1
                now = time.monotonic()
                if now - self._complained > COMPLAIN or not self._complained:
                    self._complained = now
                    log.warning("logger %s failed: %s", self.name, describe(error))
        if self._close is not None:
            try:
                self._close()
            except Exception as error:
                log.warning("logger %s could not be closed: %s", self.name, error)


class Feeds:
    """All loggers. `configure` is called at every generation, from a thread; the recorder's thread calls `feed`."""

    def __init__(self, logs: Path, scrubber: Scrubber, *, limit: float = 2.0) -> None:
        self.prices = Prices()
        self._logs = logs
        self._scrubber = scrubber
        self._limit = limit
        self._feeds: dict[Any, Feed] = {}

    def __len__(self) -> int:
        return len(self._feeds)

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """The active loggers."""
        return tuple(self._feeds.values())

    def configure(self, specs: Iterable[LoggerSpec], config_dir: Path | None = None) -> list[str]:
        """Make these the loggers. Returns one line per unusable entry; the others work."""
        problems: list[str] = []
        wanted: dict[Any, Feed] = {}
        for place, spec in enumerate(specs):
            where = f"loggers[{place}] {spec.class_}"
            wrong = [
                f"{where}: entry.{name}: {t}"
                for name, path in spec.entry.items()
                if (t := logger_columns.trouble(path))
            ]
            columns = {name: path for name, path in spec.entry.items() if logger_columns.trouble(path) is None}
            problems += wrong
            key = (spec.class_, spec.file_name, tuple(columns.items()), _edited(spec.class_, config_dir))
            if key in wanted or (wrong and not columns):
                continue
            known = self._feeds.get(key)
            try:
                wanted[key] = known if known is not None else self._build(spec, columns, config_dir)
            except Exception as error:
                problems.append(f"{where}: {failure(error)}")
        retired = [feed for key, feed in self._feeds.items() if key not in wanted and key[0] is not None]
        added = {key: feed for key, feed in self._feeds.items() if key[0] is None}
        self._feeds = {**wanted, **added}
        for feed in retired:
            feed.close(self._limit)
        return problems

    def add(self, logger: Any, entry: Mapping[str, str] | None = None, name: str = "added") -> Feed:
        """Feed an object of the host program (openai_proxy as a library); reloads leave it alone."""
        write, close = _methods(logger)
        feed = Feed(name, entry or {}, write, close)
        self._feeds = {**self._feeds, (None, id(feed)): feed}
        return feed

    def feed(self, finished: Finished) -> None:
        """Pass one exchange to every logger."""
        feeds = self._feeds
        if not feeds:
            return
        record = logger_columns.whole(finished, self._cost(finished))
        for feed in feeds.values():
            row = logger_columns.select(record, feed.columns)
            line = textjson.line(row)
            clean = self._scrubber.data(line)
            # Parsed again even if nothing was found: a logger may modify its row.
            feed.offer(orjson.loads(clean))

    def _cost(self, finished: Finished) -> float | None:
        """The cost of the exchange, if a logger writes it: the first of a model waits for its price."""
        if not any(not feed.columns or "cost" in feed.columns.values() for feed in self._feeds.values()):
            return None
        if not 200 <= finished.status < 300:
            return None
        return self.prices.known_charge(finished.exchange, finished.tokens)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until every logger has written its rows."""
        return all(feed.flush(timeout) for feed in self._feeds.values())

    def close(self) -> None:
        """Stop all of them."""
        feeds, self._feeds = self._feeds, {}
        for feed in feeds.values():
            feed.close(self._limit)

    def _build(self, spec: LoggerSpec, columns: Mapping[str, str], config_dir: Path | None) -> Feed:
        made = find(spec.class_, config_dir)
        if isinstance(made, type):
            made = made(file_name=self._logs / spec.file_name) if spec.file_name is not None else made()
        write, close = _methods(made)
        return Feed(spec.class_.rpartition(".")[2], columns, write, close)


def _methods(logger: Any) -> tuple[Write, Callable[[], object] | None]:
    write = getattr(logger, "write", None)
    if not callable(write):
        write = logger
    if not callable(write):
        raise TypeError("a logger must have a method write(row), or be a function")
    close = getattr(logger, "close", None)
    return write, close if callable(close) else None


def _edited(dotted: str, config_dir: Path | None) -> int:
    path = file_of(dotted, config_dir)
    return path.stat().st_mtime_ns if path is not None else 0
