"""One request while it is being recorded: the event loop's side, which only collects and passes on."""

import time
from abc import ABC, abstractmethod
from typing import Any, Final, TypeAlias

from openai_proxy.exchange import Exchange, Headers, Outcome
from openai_proxy.records.recording.finished_exchange import Work

_monotonic: Final = time.monotonic  # kept in a local name: a module's attribute is looked up at every call
_wall_clock: Final = time.time

BEGIN: Final = 0
DATA: Final = 1
TOOL: Final = 2
CLOSE: Final = 3
FLUSH: Final = 4
LINES: Final = 5
USAGE: Final = 6
"""The kind of an item; LINES are those of a whole exchange, ready to be written (`short_line.py`)."""


SMALL: Final = 4096
"""Maximum bytes of a request and an answer that the event loop turns into lines itself: at most 15 µs of its time."""


class EntryRecorder(ABC):
    """The recorder, as an entry sees it."""

    @abstractmethod
    def closed(self, entry: "Entry") -> None:
        """The exchange of `entry` is over."""

    @abstractmethod
    def offer(self, kind: int, entry: "Entry", payload: Any, size: int) -> None:
        """Queue an item of `size` bytes for the thread, or drop it."""


class Entry:
    """One request being recorded. Every method is cheap, none raises, none blocks."""

    __slots__ = (
        "_recorder",
        "begun",
        "body",
        "closed",
        "document",
        "error_code",
        "exchange",
        "headers",
        "limit",
        "lost",
        "message",
        "parts",
        "size",
        "status",
        "wanted",
        "work",
    )

    def __init__(self, recorder: EntryRecorder, exchange: Exchange, wanted: bool, limit: int) -> None:
        self._recorder = recorder
        self.exchange = exchange
        self.wanted = wanted
        self.parts: list[bytes] = []
        self.size = 0
        self.limit = limit
        self.body: bytes | None = None
        self.document: dict[str, Any] | None = None
        self.begun = False  # the thread has received a part of it
        self.status = 0
        self.headers: Headers = ()
        self.closed = False
        self.lost = False
        self.error_code: str | None = None
        self.message: str | None = None
        self.work: Work | None = None  # for the recorder thread only

    def request(self, body: bytes | None, document: dict[str, Any] | None = None) -> None:
        """The request's raw body (JSON; anything else is not read); `document`: the same, parsed."""
        self.body = body
        if body is not None and len(body) <= SMALL:
            self.document = document

    def response(self, status: int, headers: Headers) -> None:
        """The answer has begun."""
        self.status = status
        self.headers = headers
        exchange = self.exchange
        if exchange.first_byte is None:
            exchange.first_byte = _monotonic()
        if exchange.stream:
            # A stream's request is written now; that of a plain answer together with the answer, which saves half the
            # work.
            self.begun = True
            self.document = None  # thousands of held streams must not each keep a history
            self._recorder.offer(BEGIN, self, None, len(self.body) if self.body is not None else 0)

    def data(self, data: bytes) -> None:
        """Bytes of the answer, as sent on the wire. The hot path: a list append and an addition."""
        self.parts.append(data)
        self.size += len(data)
        if self.size > self.limit:
            self.spill()

    def passed(self, size: int) -> None:
        """The same if the caller, who tracks the framing, has appended to `parts` itself: about `size` bytes."""
        self.size += size
        if self.size > self.limit:
            self.spill()

    def spill(self) -> None:
        """Pass what is held to the thread. `parts` stays the same list."""
        parts, size = self.parts[:], self.size
        self.parts.clear()
        self.size = 0
        if self.wanted and not self.lost:
            self.begun = True
            self._recorder.offer(DATA, self, parts, size)

    def tool_call(
        self, tool: str, arguments: Any, result: str, duration_ms: float, status: str = "ok", call_id: str | None = None
    ) -> None:
        """One call of a tool of ours. `arguments` must not be changed afterwards; `status`: ok, error, cancelled …"""
        payload = {
            "tool": tool,
            "arguments": arguments,
            "result": result,
            "duration_ms": round(duration_ms, 1),
            "status": status,
        }
        if call_id is not None:
            payload["tool_call_id"] = call_id
        self.begun = True
        self._recorder.offer(TOOL, self, (_wall_clock(), payload), len(result))

    def used(self, usage: dict[str, Any]) -> None:
        """One answer of a conversation is complete, as `usage` says; more of them may follow."""
        self.begun = True
        self._recorder.offer(USAGE, self, usage, 0)

    def close(self, outcome: Outcome, error_code: str | None = None, message: str | None = None) -> None:
        """The exchange is over; idempotent. `error_code` and `message` are those of an error of our own."""
        if self.closed:
            return
        self.closed = True
        exchange = self.exchange
        exchange.outcome = outcome
        if exchange.ended is None:
            exchange.ended = _monotonic()
        self.error_code = error_code or exchange.error_code
        self.message = message
        self._recorder.closed(self)


Item: TypeAlias = tuple[int, Entry | None, Any, int]
"""Kind, entry (None for the recorder's own), payload, bytes."""
