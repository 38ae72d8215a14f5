"""One request while it is being recorded: the event loop's side, which only notes and hands on."""

import time
from abc import ABC, abstractmethod
from typing import Any, Final, TypeAlias

from openai_proxy.exchange import Exchange, Headers, Outcome
from openai_proxy.records.recording.finished_exchange import Work

_monotonic: Final = time.monotonic  # kept: a module's attribute is looked up at every call
_wall_clock: Final = time.time

BEGIN: Final = 0
DATA: Final = 1
TOOL: Final = 2
CLOSE: Final = 3
FLUSH: Final = 4
LINES: Final = 5
"""What an item tells of its entry; LINES are those of a whole exchange, ready to be written (`express.py`)."""


SMALL: Final = 4096
"""Bytes of a request and of an answer that may be made into lines by the event loop: 15 µs of it, not more."""


class Keeper(ABC):
    """The recorder, as far as an entry knows it."""

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
        "resolved",
        "size",
        "status",
        "wanted",
        "work",
    )

    def __init__(self, recorder: Keeper, exchange: Exchange, resolved: bool, wanted: bool, limit: int) -> None:
        self._recorder = recorder
        self.exchange = exchange
        self.resolved = resolved
        self.wanted = wanted
        self.parts: list[bytes] = []
        self.size = 0
        self.limit = limit
        self.body: bytes | None = None
        self.document: dict[str, Any] | None = None
        self.begun = False  # the thread has been given something of it
        self.status = 0
        self.headers: Headers = ()
        self.closed = False
        self.lost = False
        self.error_code: str | None = None
        self.message: str | None = None
        self.work: Work | None = None  # the thread's; nobody else looks at it

    def request(self, body: bytes | None, document: dict[str, Any] | None = None) -> None:
        """The request's body as it came (JSON bytes; anything else is not read); `document`: the same, parsed."""
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
            # The request of a stream is written now; that of a plain answer with the answer, which saves half the work.
            self.begun = True
            self.document = None  # thousands of held streams must not each keep a history
            self._recorder.offer(BEGIN, self, None, len(self.body) if self.body is not None else 0)

    def data(self, data: bytes) -> None:
        """Bytes of the answer as they went over the wire. The hot path: a list append and an addition."""
        self.parts.append(data)
        self.size += len(data)
        if self.size > self.limit:
            self.spill()

    def passed(self, size: int) -> None:
        """The same where whoever read the framing has put the bytes into `parts` itself: about `size` of them."""
        self.size += size
        if self.size > self.limit:
            self.spill()

    def spill(self) -> None:
        """Hand what is held to the thread. `parts` stays the same list."""
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
