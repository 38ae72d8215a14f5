"""The thread's side of the records: what becomes of an entry.

Per entry: read the request, decide its conversation, fold the answer, then tell every sink: the chat log, usage,
metrics, the loggers. One `Scribe` is used by one thread; only plain counters are read by others.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from openai_proxy.endpoints import MCP
from openai_proxy.errors import ProxyError
from openai_proxy.exchange import Exchange
from openai_proxy.protocols.large_json import LARGE, read_object
from openai_proxy.records.counting.metrics import Metrics
from openai_proxy.records.reading.body import BodyReader, media_type
from openai_proxy.records.reading.other_formats import format_of
from openai_proxy.records.reading.tokens import CHARACTERS_A_TOKEN, Tokens, estimate, tokens_of
from openai_proxy.records.recording.entry import CLOSE, DATA, LINES, TOOL, Entry
from openai_proxy.records.recording.finished_exchange import Finished, Sink, Sum, Work, is_paid
from openai_proxy.records.recording.short_line import ShortLines
from openai_proxy.records.recording.traffic_class import settle
from openai_proxy.records.terminal.requests import RequestLines
from openai_proxy.records.writing import chatlog, textjson
from openai_proxy.records.writing.conversation import Conversations
from openai_proxy.records.writing.requests import bounded, messages_of, without_blobs
from openai_proxy.records.writing.scrub import Scrubber
from openai_proxy.secrets import vault

log = logging.getLogger(__name__)

_LARGE: Final = 256 * 1024  # bytes of a request from which on single strings are looked at


SPEECH: Final = "/audio/speech"
_NO_WORK: Final = Work()


def _parsed(body: bytes) -> Any:
    """A request's body parsed, if it looks like an object and can be."""
    if body[:1] != b"{" and body[:64].lstrip()[:1] != b"{":
        return None
    if len(body) < LARGE:
        return textjson.tolerant(body)
    try:
        return read_object(body)[0]
    except ProxyError:
        return None


class Scribe:
    """Reads entries and tells the sinks."""

    def __init__(
        self,
        directory: Path,
        *,
        scrub: Callable[[bytes], bytes] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.scrubber = Scrubber(vault, scrub)
        self.chat_log = chatlog.ChatLog(directory, self.scrubber, clock=clock)
        self.conversations = Conversations(clock=clock)
        self.metrics = Metrics()
        self.failed = 0  # items that raised: defects of ours
        self.sums: tuple[Sum, ...] = ()  # told of several exchanges at once: usage
        self.sinks: tuple[Sink, ...] = ()  # told of every one: limits. Replaced whole, never changed in place
        self.readers: tuple[Sink, ...] = ()  # loggers, who want whole answers and say so by `detailed`
        self.chores: tuple[Callable[[bool], float | None], ...] = ()
        self.detailed: Callable[[], int] = int  # not 0: somebody wants whole answers, not only their sums
        self.lines = RequestLines()

    def wants_each(self) -> bool:
        """True if somebody is to be told of each exchange, not only of sums."""
        return bool(self.sinks) or self.lines.wanted()

    @property
    def lost(self) -> int:
        """Lines a disk did not take."""
        return self.chat_log.files.lost

    def handle(self, kind: int, entry: Entry | None, payload: Any) -> None:
        """Do one item."""
        if entry is None:
            if kind == LINES:
                self._whole(payload)
            elif isinstance(payload, threading.Event):
                self.settle()
                self._chores(True)
                payload.set()
            return
        if entry.lost:
            if kind == CLOSE:
                self.metrics.finished(entry.exchange, entry.status, Tokens(), entry.error_code)
                lost = Finished(entry.exchange, entry.status, _NO_WORK, Tokens(), entry.error_code, entry.message)
                self._tell(lost, (*self.sinks, self.lines.finished))
            return
        work = entry.work
        if work is None:
            work = entry.work = Work()
            self._begin(entry, work)
        if kind == DATA:
            self._read(entry, work, payload)
        elif kind == TOOL:
            if work.conversation:
                self.chat_log.tool_call(entry.exchange, work.conversation, *payload)
        elif kind == CLOSE:
            self._close(entry, work)

    def settle(self) -> None:
        """Nothing is waiting: put everything on disk."""
        self.chat_log.flush()

    def settle_some(self) -> None:
        """Much is waiting: write only what has become much itself."""
        if self.chat_log.held > 256 * 1024:
            self.chat_log.flush()

    def idle(self) -> float | None:
        """Do what has waited for a quiet moment; seconds until there may be more, None if nothing is due."""
        return self._chores(False)

    def close(self) -> None:
        """The end: everything on disk, everything closed."""
        self.settle()
        self._chores(True)
        self.chat_log.close()

    def _chores(self, now: bool) -> float | None:
        soonest: float | None = None
        for chore in self.chores:
            try:
                due = chore(now)
            except Exception:
                self.failed += 1
                log.exception("a chore of the recorder failed")
                continue
            if due is not None and (soonest is None or due < soonest):
                soonest = due
        return soonest

    def _whole(self, lines: ShortLines) -> None:
        for key, added in lines.files.items():
            self.chat_log.add(key, added)
        for entry in lines.sums:
            settle(entry, self)
        self.settle_some()
        for exchange, tokens in lines.single if self.sinks else ():
            self._tell(Finished(exchange, 200, _NO_WORK, tokens, None, None), self.sinks)
        if self.lines.wanted():
            self.lines.went_well(lines.single)

    def _begin(self, entry: Entry, work: Work) -> None:
        exchange = entry.exchange
        if exchange.endpoint is MCP:  # another program's conversation: only the tool calls are written down
            work.conversation = exchange.session_id or exchange.id
            return
        dialect = format_of(exchange.endpoint)
        body, entry.body = entry.body, None
        if entry.status and entry.wanted:
            self._reader(entry, work)
        if not body or (not dialect.chat and len(body) > _LARGE):
            return
        body = without_blobs(body)
        parsed = _parsed(body)
        if not isinstance(parsed, dict):
            return
        if len(body) > _LARGE:
            parsed = bounded(parsed)
        if self.detailed():
            work.request = parsed  # else let go of: thousands of held streams must not each keep a history
        if not dialect.chat or exchange.method != "POST":
            if exchange.path == SPEECH and isinstance(text := parsed.get("input"), str):
                work.asked = -(-len(text) // CHARACTERS_A_TOKEN)
            return
        messages = messages_of(exchange.endpoint, parsed)
        work.asked = estimate(messages)
        if entry.resolved:
            work.conversation, work.opening = self.conversations.identify(exchange, parsed, messages)
            self.chat_log.request(exchange, work.conversation, messages, parsed)

    def _read(self, entry: Entry, work: Work, parts: list[bytes]) -> None:
        reader = work.reader or self._reader(entry, work)
        reader.feed(parts[0] if len(parts) == 1 else b"".join(parts))

    @staticmethod
    def _reader(entry: Entry, work: Work) -> BodyReader:
        kind, coding = media_type(entry.headers)
        dialect = format_of(entry.exchange.endpoint)
        work.reader = BodyReader(work.answer, dialect, kind, coding)
        entry.headers = ()  # 2 KB that nobody needs any more
        return work.reader

    def _close(self, entry: Entry, work: Work) -> None:
        parts, entry.parts = entry.parts, []
        if parts and entry.wanted:
            self._read(entry, work, parts)
        if work.reader is not None:
            work.reader.finish()
        exchange, answer = entry.exchange, work.answer
        if work.opening is not None:
            self.conversations.answered(work.opening, work.conversation, answer.content, answer.tool_calls, answer.id)
        tokens = tokens_of(answer, entry.status, work.asked, exchange.usage)
        if not tokens.total and exchange.path == SPEECH and 200 <= entry.status < 300:
            tokens = Tokens(work.asked, estimated=True)  # what is spoken tells no usage, and is paid by the text
        finished = Finished(exchange, entry.status, work, tokens, entry.error_code, entry.message)
        if work.conversation and exchange.endpoint is not MCP:
            self.chat_log.finished(finished)
        self.metrics.finished(exchange, entry.status, tokens, entry.error_code)
        if is_paid(exchange, entry.status):
            self.add(exchange, tokens, 1)
        self._tell(finished, (*self.sinks, *self.readers, self.lines.finished))

    def add(self, exchange: Exchange, tokens: Tokens, number: int) -> None:
        """Tell of `number` exchanges that went well and were as `exchange`; `tokens` are those of all."""
        for add in self.sums:
            try:
                add(exchange, tokens, number)
            except Exception:
                self.failed += 1
                log.exception("a sum of the recorder failed")

    def _tell(self, finished: Finished, sinks: tuple[Sink, ...]) -> None:
        for sink in sinks:
            try:
                sink(finished)
            except Exception:
                self.failed += 1
                log.exception("a sink of the recorder failed")
