"""The thread's side of the records: what happens to an entry.

Per entry: read the request, determine its conversation, fold the answer, then inform every sink: the chat log, usage,
metrics, the loggers. A `RecordWriter` is used by one thread; others read only plain counters.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from openai_proxy.endpoints import MCP
from openai_proxy.errors import ProxyError
from openai_proxy.exchange import Exchange
from openai_proxy.protocols.json_members import LARGE
from openai_proxy.records.counting.metrics import Metrics
from openai_proxy.records.process_log.request_lines import RequestLines
from openai_proxy.records.reading.answer_formats import format_of
from openai_proxy.records.reading.body import BodyReader, media_type
from openai_proxy.records.reading.tokens import CHARACTERS_A_TOKEN, NONE, Tokens, estimate, read_usage, tokens_of
from openai_proxy.records.recording.entry import CLOSE, DATA, LINES, TOOL, USAGE, Entry
from openai_proxy.records.recording.finished_exchange import Finished, Sink, Sum, Work, is_paid
from openai_proxy.records.recording.short_line import ShortLines
from openai_proxy.records.recording.traffic_class import Kinds, settle, summable
from openai_proxy.records.writing import chatlog, textjson
from openai_proxy.records.writing.conversation import Conversations
from openai_proxy.records.writing.request_contents import messages_of, without_blobs
from openai_proxy.records.writing.scrub import Scrubber
from openai_proxy.secrets import vault
from openai_proxy.steps import STEP, pieces

log = logging.getLogger(__name__)

_LARGE: Final = 256 * 1024  # bytes of a request from which single strings are examined


WRITE: Final = 256 * 1024
"""Bytes of lines after which they are written: each write gives the interpreter lock away, and getting it back from a
busy loop takes longer than the write.
"""

SPEECH: Final = "/audio/speech"
_NO_WORK: Final = Work()


def _parsed(body: bytes) -> Any:
    """A request's body parsed, if it is a valid object."""
    if body[:1] != b"{" and body[:64].lstrip()[:1] != b"{":
        return None
    if len(body) < LARGE:
        return textjson.tolerant(body)
    from openai_proxy.protocols.large_json import read_object

    try:
        return read_object(body)[0]
    except ProxyError:
        return None


class RecordWriter:
    """Reads entries and informs the sinks."""

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
        self.failed = 0  # items that raised: bugs of ours
        self.sums: tuple[Sum, ...] = ()  # get several exchanges at once: usage
        self.sinks: tuple[Sink, ...] = ()  # get each one: limits. Replaced as a whole, never changed in place
        self.readers: tuple[Sink, ...] = ()  # loggers, which need whole answers if `detailed` is not 0
        self.chores: tuple[Callable[[bool], float | None], ...] = ()
        self.detailed: Callable[[], int] = int  # not 0: somebody needs whole answers, not only their sums
        self.lines = RequestLines()
        self._kinds = Kinds()

    def wanted_singly(self) -> int:
        """How many of the next exchanges a sink needs one by one, rather than only as sums."""
        return sys.maxsize if self.sinks else self.lines.room()

    @property
    def lost(self) -> int:
        """Lines that a disk did not accept."""
        return self.chat_log.files.lost

    def handle(self, kind: int, entry: Entry | None, payload: Any) -> None:
        """Process one item."""
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
                self._inform(lost, (*self.sinks, self.lines.finished))
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
        elif kind == USAGE:
            self._used(entry, work, read_usage(payload))
        elif kind == CLOSE:
            self._close(entry, work)

    def settle(self) -> None:
        """Nothing is waiting: write everything to disk, and count what was only added up."""
        for step in (self._count_sums, self.chat_log.flush, self.lines.flush):
            try:
                step()
            except Exception:  # the thread must outlive it
                self.failed += 1
                log.exception("records could not be written")

    def _count_sums(self) -> None:
        for entry in self._kinds.take():
            settle(entry, self)

    def settle_some(self) -> None:
        """Much is waiting: write only what has become large."""
        if self.chat_log.held > WRITE:
            self.chat_log.flush()

    def idle(self) -> float | None:
        """Do deferred chores; returns seconds until there may be more, None if nothing is due."""
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
            self._inform(Finished(exchange, 200, _NO_WORK, tokens, None, None, paid=True), self.sinks)
        self.lines.went_well(lines.single, lines.number)

    def _begin(self, entry: Entry, work: Work) -> None:
        exchange = entry.exchange
        if exchange.endpoint is MCP:  # another program's conversation: only the tool calls are recorded
            work.conversation = self.conversations.named(exchange, exchange.session_id or exchange.id)
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
            parsed = textjson.bounded(parsed)
        if self.detailed():
            work.request = parsed  # otherwise dropped: thousands of held streams must not each keep a history
        if not dialect.chat or exchange.method != "POST":
            if exchange.path == SPEECH and isinstance(text := parsed.get("input"), str):
                work.asked = -(-len(text) // CHARACTERS_A_TOKEN)
            return
        messages = messages_of(exchange.endpoint, parsed)
        work.asked = estimate(messages)
        work.conversation, work.opening = self.conversations.identify(exchange, parsed, messages)
        self.chat_log.request(exchange, work.conversation, messages, parsed, large=len(body) >= LARGE)

    def _read(self, entry: Entry, work: Work, parts: list[bytes]) -> None:
        reader = work.reader or self._reader(entry, work)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if len(data) <= STEP:
            reader.feed(data)
            return
        for piece in pieces(data):
            reader.feed(piece)

    @staticmethod
    def _reader(entry: Entry, work: Work) -> BodyReader:
        kind, coding = media_type(entry.headers)
        dialect = format_of(entry.exchange.endpoint)
        work.reader = BodyReader(work.answer, dialect, kind, coding)
        entry.headers = ()  # 2 KB that are no longer needed
        return work.reader

    def _used(self, entry: Entry, work: Work, tokens: Tokens) -> None:
        """One answer of a conversation that goes on, perhaps for hours: it counts now, not when that is over."""
        exchange = entry.exchange
        self.metrics.used(exchange, tokens)
        self.add(exchange, tokens, 0 if work.counted else 1)
        work.counted = True
        self._inform(Finished(exchange, entry.status, work, tokens, None, None, paid=True, over=False), self.sinks)

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
            tokens = Tokens(work.asked, estimated=True)  # speech reports no usage, and is charged by its text
        finished = Finished(exchange, entry.status, work, tokens, entry.error_code, entry.message)
        if work.conversation and exchange.endpoint is not MCP:
            self.chat_log.finished(finished)
        rest = NONE if work.counted else tokens
        paid = is_paid(exchange, entry.status) and not work.counted
        if not self._summed(entry, rest):
            self.metrics.finished(exchange, entry.status, rest, entry.error_code)
            if paid:
                self.add(exchange, tokens, 1)
        if self.sinks:
            self._inform(finished._replace(tokens=rest, paid=paid), self.sinks)
        self._inform(finished, (*self.readers, self.lines.finished))

    def _summed(self, entry: Entry, tokens: Tokens) -> bool:
        """Count an ordinary exchange as part of a sum, which costs a tenth; False if it is not ordinary."""
        exchange = entry.exchange
        if (
            entry.status != 200
            or entry.error_code is not None
            or exchange.ended is None
            or exchange.first_byte is None
            or not summable(exchange, tokens)
        ):
            return False
        duration, first = exchange.ended - exchange.started, exchange.first_byte - exchange.started
        self._kinds.count(self._kinds.of(exchange, tokens.estimated), exchange, duration, first, tokens)
        return True

    def add(self, exchange: Exchange, tokens: Tokens, number: int) -> None:
        """Report `number` successful exchanges like `exchange`; `tokens` is their total."""
        for add in self.sums:
            try:
                add(exchange, tokens, number)
            except Exception:
                self.failed += 1
                log.exception("a sum of the recorder failed")

    def _inform(self, finished: Finished, sinks: tuple[Sink, ...]) -> None:
        for sink in sinks:
            try:
                sink(finished)
            except Exception:
                self.failed += 1
                log.exception("a sink of the recorder failed")
