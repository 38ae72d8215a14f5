"""A client connection with a lane: aiohttp's request handler, and what the lane needs of its insides.

aiohttp parses every request whose head is not known (llhttp's strictness stays); when exactly one complete message has
come on an idle connection and it is a plain JSON POST that nothing but its model name decides, it is taken off
aiohttp's queue and handed to the lane. Everything else stays on the queue and takes the ordinary way (`api.door`); so
does what the lane began when it turns out to need a second look: retries, errors, redirects.

What this file and `api.lane` know of aiohttp's internals (3.14): RequestHandler's `_messages`, `_waiter`, `_parser`,
`_close`, `_request_count`, `_reading_paused`, `_keepalive_handle`, `_next_keepalive_close_time`, `_process_keepalive`,
and StreamReader's `_buffer`. tests/front/test_seams.py fails loudly when they move. Learnt on the way:
- a message that is taken must be given back to the parser's count (`message_consumed`), or it stops after 32;
- reading the payload's stream re-enters `data_received` and costs 3 µs: its buffer is read instead;
- the first bytes can come before the handler task has run once: idle is "it waits, or has never had a request".
"""

import asyncio
from collections.abc import Callable
from typing import Any

from openai_proxy.api.heads import HeadBooks, KnownHead
from openai_proxy.api.lane import BODY_WAIT, MAX_BODY, Lane, Prior
from openai_proxy.api.protocol import Protocol
from openai_proxy.errors import ProxyError
from openai_proxy.exchange import Outcome
from openai_proxy.runtime.state import State

PATHS = {
    prefix + path: path
    for path in ("/chat/completions", "/completions", "/embeddings", "/responses", "/moderations")
    for prefix in ("", "/v1")
}
"""Targets the lane takes, as written -> below the API root."""

UNKNOWN = -1


class LaneProtocol(Protocol):
    """One client connection, with a lane."""

    # `data_received` is the lane's own method, so that the loop calls it without a detour through this class.
    __slots__ = ("_fed", "_first", "_held", "_needed", "_prior", "data_received", "lane")

    data_received: Callable[[bytes], None]  # type: ignore[assignment]

    def __init__(self, manager: Any, state: State, books: HeadBooks, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self.lane = Lane(self, state, books, self._messages)
        self.data_received = self.lane.data_received
        self._held: Any = None  # the message that is off aiohttp's queue, and its payload
        self._fed = self._needed = 0  # bytes of the present message the parser got and wants: equal between messages
        self._first = b""  # its first segment, where its head is whole
        self._prior: Prior | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        name = self.peername
        self.lane.connected(transport, name[0] if isinstance(name, tuple) else "")

    # -- what the parser sees ---------------------------------------------------------------------------------------

    def _feed(self, data: bytes) -> Any:
        """Give bytes to aiohttp without letting it wake its handler; returns the waiter it would have woken."""
        waiter = self._waiter
        self._waiter = None
        super().data_received(data)
        self._waiter = waiter
        return waiter

    def parse(self, data: bytes) -> None:
        """Let aiohttp parse, then see whether the lane takes what has come."""
        if self._fed == self._needed:  # a message begins
            self._fed, self._needed, self._first = 0, UNKNOWN, data
        self._fed += len(data)
        self.lane.parsing = self._fed != self._needed
        waiter = self._feed(data)
        if self._held is not None:
            self.lane.parsing = self._fed != self._needed
            if self._held[1].is_eof():
                self._decide()
            return
        messages = self._messages
        if not messages:
            return
        if self._needed == UNKNOWN and len(messages) == 1:
            self._needed = _size(messages[0][0], self._first)
        self.lane.parsing = self._fed != self._needed
        idle = self._request_count == 1 if waiter is None else not waiter.done()  # done: woken for what is queued
        if idle and len(messages) == 1 and self._eligible(messages[0][0]):
            self._held = messages.popleft()
            self.lane.holding = True
            if self._parser is not None:
                self._parser.message_consumed()
            if self._held[1].is_eof():
                self._decide()
            else:
                self.lane.body_timer = self._loop.call_later(BODY_WAIT, self.put_back, None)
            return
        self.wake()

    def wake(self) -> None:
        """Let aiohttp's handler look at its queue."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _eligible(self, message: Any) -> bool:
        """True if the head alone does not rule the lane out."""
        if getattr(message, "path", None) not in PATHS or message.method != "POST" or message.version != (1, 1):
            return False
        headers = message.headers
        if message.upgrade or message.chunked or self.lane.state.draining or self._close:
            return False
        if "Expect" in headers or "Content-Encoding" in headers or "Origin" in headers:
            return False
        length = headers.get("Content-Length", "")
        return length.isdigit() and 0 < int(length) <= MAX_BODY

    def _decide(self) -> None:
        """The body is whole: take the request, or hand it to the ordinary way."""
        lane = self.lane
        lane.stop_timer()
        message, payload = self._held
        buffered = payload._buffer
        lane.body = buffered[0] if len(buffered) == 1 else b"".join(buffered)
        if self._reading_paused:
            self.resume_reading()
        generation = lane.state.generation
        try:
            head = KnownHead(generation.gate, lane.peer, PATHS[message.path], message)
        except (ProxyError, ValueError):
            self.put_back(None)
            return
        if self._fed == self._needed and generation.validator is None:  # a validator may change its mind any time
            lane.learn(generation, self._first, head)
        lane.begin(head, lane.body)

    # -- the ordinary way -------------------------------------------------------------------------------------------

    def put_back(self, prior: Prior | None) -> None:
        """The ordinary way shall have the message the lane held, with what is known of it."""
        lane = self.lane
        lane.body_timer = None
        if lane.raw:  # taken without the parser: now it reads the message after all
            raw, lane.raw = lane.raw, b""
            self._feed(raw)
            self._prior = prior or lane.known()
            lane.route, lane.body = None, b""
            self.wake()
            return
        held, self._held = self._held, None
        lane.holding = False
        if held is None:
            return
        if prior is None and held[1].is_eof():
            prior = lane.known()
        lane.route = None
        self._prior = prior
        lane.body = b""
        self._messages.appendleft(held)
        self.wake()

    def take_prior(self) -> Prior | None:
        """For the handler of the message that was put back: what is known of it."""
        prior, self._prior = self._prior, None
        return prior

    def let_go(self) -> None:
        """The lane's answer has begun: what was kept for another try is not needed any more."""
        self._held = None
        self._first = b""

    # -- asyncio.Protocol, aiohttp ----------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.lane.splice is not None:
            self.lane.splice.hold()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.lane.splice is not None:
            self.lane.splice.release()

    def eof_received(self) -> None:
        self.lane.client_gone()
        super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        prior, self._prior = self._prior, None
        if prior is not None and prior.exchange is not None and prior.entry is not None:
            prior.exchange.release()  # nobody takes it up any more
            prior.entry.close(Outcome.CLIENT_CLOSED)
        self._held = None
        self.lane.disconnected()
        super().connection_lost(exc)

    def _process_keepalive(self) -> None:
        if self.lane.busy:
            self._keepalive_handle = None  # `Lane.finished` sets it again
            return
        super()._process_keepalive()

    @property
    def resting(self) -> bool:
        """True if no request is on its way: the connection may be closed without harm."""
        return not self.lane.busy and super().resting


def _size(message: Any, first: bytes) -> int:
    """How many bytes the parser needs for `message`, whose head began with `first`; UNKNOWN if that cannot be told."""
    end = first.find(b"\r\n\r\n")
    if end < 0 or getattr(message, "chunked", True) or message.upgrade:
        return UNKNOWN
    length = message.headers.get("Content-Length", "0")
    return end + 4 + int(length) if length.isdigit() else UNKNOWN
