"""One request while it is being recorded: the event loop's side, which only notes and hands on."""

import time
from typing import Any, Protocol, TypeAlias

from openai_proxy.exchange import Exchange, Headers, Outcome
from openai_proxy.records.work import Work

BEGIN, DATA, TOOL, CLOSE, FLUSH = range(5)
"""What an item tells of its entry."""


class Keeper(Protocol):
    """The recorder, as far as an entry knows it."""

    ended: int

    def offer(self, kind: int, entry: "Entry", payload: Any, size: int) -> None:
        """Queue an item of `size` bytes for the thread, or drop it."""
        ...


class Entry:
    """One request being recorded. Every method is cheap, none raises, none blocks."""

    __slots__ = (
        "_recorder",
        "body",
        "closed",
        "error_code",
        "exchange",
        "framing",
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
        self.status = 0
        self.headers: Headers = ()
        self.framing = "plain"
        self.closed = False
        self.lost = False
        self.error_code: str | None = None
        self.message: str | None = None
        self.work: Work | None = None  # the thread's; nobody else looks at it

    def request(self, body: bytes | None) -> None:
        """The request's body as it came (JSON bytes; anything else is not read)."""
        self.body = body

    def response(self, status: int, headers: Headers, framing: str = "plain") -> None:
        """The answer has begun. `framing`: "chunked" if `data` will hold chunk framing, else anything."""
        self.status = status
        self.headers = headers
        self.framing = framing
        exchange = self.exchange
        if exchange.first_byte is None:
            exchange.first_byte = time.monotonic()
        if exchange.stream:
            # The request of a stream is written now; that of a plain answer with the answer, which saves half the work.
            self._recorder.offer(BEGIN, self, None, len(self.body) if self.body is not None else 0)

    def data(self, data: bytes) -> None:
        """Bytes of the answer as they went over the wire. The hot path: a list append and an addition."""
        self.parts.append(data)
        self.size += len(data)
        if self.size > self.limit:
            self.spill()

    def spill(self) -> None:
        """Hand what is held to the thread."""
        parts, size = self.parts, self.size
        self.parts = []
        self.size = 0
        if self.wanted and not self.lost:
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
        self._recorder.offer(TOOL, self, (time.time(), payload), len(result))

    def close(self, outcome: Outcome, error_code: str | None = None, message: str | None = None) -> None:
        """The exchange is over; idempotent. `error_code` and `message` are those of an error of our own."""
        if self.closed:
            return
        self.closed = True
        exchange = self.exchange
        exchange.outcome = outcome
        if exchange.ended is None:
            exchange.ended = time.monotonic()
        self.error_code = error_code or exchange.error_code
        self.message = message
        recorder = self._recorder
        recorder.ended += 1
        recorder.offer(CLOSE, self, None, self.size + (len(self.body) if self.body is not None else 0))


Item: TypeAlias = tuple[int, Entry | None, Any, int]
"""Kind, entry (None for the recorder's own), payload, bytes."""
