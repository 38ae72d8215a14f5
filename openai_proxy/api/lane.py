"""The lane in front of aiohttp's request handler: what needs no parsing but routing passes through it in callbacks.

aiohttp still parses every request (llhttp's strictness stays); when exactly one complete message has come on an idle
connection and it is a plain JSON POST that nothing but its model name decides, it is taken off aiohttp's queue,
spliced, and the connection is left idle again as if nothing had happened. Everything else stays on the queue and
takes the ordinary way (`api.door`); so does what the lane began when it turns out to need a second look: retries,
errors, redirects.

What this file knows of aiohttp's internals (3.14): RequestHandler's `_messages`, `_waiter`, `_parser`,
`_request_count`, `_reading_paused`, `_keepalive_handle`, `_next_keepalive_close_time`, `_process_keepalive`, and
StreamReader's `_buffer`. tests/front/test_seams.py fails loudly when they move. Learnt on the way:
- a message that is taken must be given back to the parser's count (`message_consumed`), or it stops after 32;
- reading the payload's stream re-enters `data_received` and costs 3 µs: its buffer is read instead;
- the first bytes can come before the handler task has run once: idle is "it waits, or has never had a request".
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from openai_proxy.api.choosing import choose
from openai_proxy.api.heads import HeadBooks, Kept, KnownHead
from openai_proxy.api.protocol import KEEP_ALIVE, Protocol
from openai_proxy.api.splice import Splice
from openai_proxy.errors import ProxyError
from openai_proxy.exchange import Exchange, Outcome
from openai_proxy.records.entry import Entry
from openai_proxy.routing.router import Route
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import State
from openai_proxy.upstream.failover import Opened

PATHS = {
    prefix + path: path
    for path in ("/chat/completions", "/completions", "/embeddings", "/responses", "/moderations")
    for prefix in ("", "/v1")
}
"""Targets the lane takes, as written -> below the API root."""

MAX_BODY = 512 * 1024
"""Bytes of a body that may wait for its end in the lane: longer ones gain nothing from it."""

BODY_WAIT = 0.25
"""Seconds a body may take in the lane; then the ordinary way waits for it, with its own limits."""

UNKNOWN = -1
MAX_PIPELINED = 256 * 1024


@dataclass(slots=True)
class Prior:
    """What the lane knows of a request that it hands to the ordinary way: its body, and what was tried, if anything."""

    body: bytes
    generation: Generation
    exchange: Exchange | None = None
    entry: Entry | None = None
    route: Route | None = None
    opened: Opened | None = None
    error: ProxyError | None = None


class LaneProtocol(Protocol):
    """One client connection, with a lane."""

    __slots__ = (
        "_awaited", "_body", "_body_timer", "_books", "_fed", "_first", "_held", "_kept", "_kept_for", "_needed",
        "_pending", "_prior", "_raw", "_route", "_splice", "state",
    )  # fmt: skip

    def __init__(self, manager: Any, state: State, books: HeadBooks, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self.state = state
        self._books = books
        self._splice: Splice | None = None
        self._held: Any = None  # the message that is off aiohttp's queue, and its payload
        self._body = b""
        self._fed = self._needed = 0  # bytes of the present message the parser got and wants: equal between messages
        self._first = b""  # its first segment, where its head is whole
        self._raw = b""  # a message that was taken without the parser, in case it must see it after all
        self._awaited: tuple[KnownHead, int, Generation] | None = (
            None  # such a message's head, the bytes it wants, whose
        )
        self._kept: Kept | None = None  # the head of the last request that was known, and under which generation
        self._kept_for: Generation | None = None
        self._pending = b""
        self._prior: Prior | None = None
        self._route: Route | None = None
        self._body_timer: asyncio.TimerHandle | None = None

    # -- what comes from the client ---------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """asyncio.Protocol: let aiohttp parse, then see whether the lane takes what has come."""
        if self._splice is not None:  # pipelined: it waits for its turn
            self._pending += data
            if len(self._pending) > MAX_PIPELINED and self.transport is not None:
                self.transport.pause_reading()
            return
        if self._awaited is not None:
            self._more_of_known(data)
        elif self._fed != self._needed or not self._take_known(data):
            self._parse(data)

    def _take_known(self, data: bytes) -> bool:
        """A request whose head has been read before, on an idle connection: no parser needs to look at it again."""
        state = self.state
        if self._messages or state.draining or self._close or (self._waiter is None and self._request_count):
            return False
        generation = state.generation
        kept = self._kept if self._kept_for is generation else None
        found = kept.body_of(data) if kept is not None else None
        if found is None:  # another client's turn on a shared connection, another path, or an edit
            kept = self._books.of(generation).find(self._peer(), data)
            found = kept.body_of(data) if kept is not None else None
            if kept is None or found is None:
                return False
            self._kept, self._kept_for = kept, generation
        assert kept is not None
        begin, length = found
        wanted = begin + length
        if length > MAX_BODY or len(data) > wanted or self._held is not None:
            return False
        self._raw = data
        self._request_count += 1
        if len(data) == wanted:
            self._begin(kept.head, data[begin:])
        else:
            self._awaited = (kept.head, wanted, generation)
            self._body_timer = self._loop.call_later(BODY_WAIT, self._known_is_late)
        return True

    def _more_of_known(self, data: bytes) -> None:
        """More of a body whose head was known (SDKs send head and body apart)."""
        assert self._awaited is not None
        known, wanted, generation = self._awaited
        self._raw += data
        if len(self._raw) < wanted:
            return
        if len(self._raw) > wanted or generation is not self.state.generation:
            # Pipelined, or an edit came between head and body: what was known of the caller holds no more.
            self._known_is_late()
            return
        self._stop_waiting()
        self._begin(known, self._raw[self._raw.index(b"\r\n\r\n") + 4 :])

    def _known_is_late(self) -> None:
        self._stop_waiting()
        raw, self._raw = self._raw, b""
        self._parse(raw)

    def _stop_waiting(self) -> None:
        self._awaited = None
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    def _feed(self, data: bytes) -> Any:
        """Give bytes to aiohttp without letting it wake its handler; returns the waiter it would have woken."""
        waiter = self._waiter
        self._waiter = None
        super().data_received(data)
        self._waiter = waiter
        return waiter

    def _parse(self, data: bytes) -> None:
        """Let aiohttp parse, then see whether the lane takes what has come."""
        if self._fed == self._needed:  # a message begins
            self._fed, self._needed, self._first = 0, UNKNOWN, data
        self._fed += len(data)
        waiter = self._feed(data)
        if self._held is not None:
            if self._held[1].is_eof():
                self._decide()
            return
        messages = self._messages
        if not messages:
            return
        if self._needed == UNKNOWN and len(messages) == 1:
            self._needed = _size(messages[0][0], self._first)
        idle = self._request_count == 1 if waiter is None else not waiter.done()  # done: woken for what is queued
        if idle and len(messages) == 1 and self._eligible(messages[0][0]):
            self._held = messages.popleft()
            if self._parser is not None:
                self._parser.message_consumed()
            if self._held[1].is_eof():
                self._decide()
            else:
                self._body_timer = self._loop.call_later(BODY_WAIT, self._put_back)
            return
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _eligible(self, message: Any) -> bool:
        """True if the head alone does not rule the lane out."""
        if getattr(message, "path", None) not in PATHS or message.method != "POST" or message.version != (1, 1):
            return False
        headers = message.headers
        if message.upgrade or message.chunked or self.state.draining or self._close:
            return False
        if "Expect" in headers or "Content-Encoding" in headers or "Origin" in headers:
            return False
        length = headers.get("Content-Length", "")
        return length.isdigit() and 0 < int(length) <= MAX_BODY

    def _decide(self) -> None:
        """The body is whole: take the request, or hand it to the ordinary way."""
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None
        message, payload = self._held
        buffered = payload._buffer
        self._body = buffered[0] if len(buffered) == 1 else b"".join(buffered)
        if self._reading_paused:
            self.resume_reading()
        generation = self.state.generation
        try:
            head = KnownHead(generation.gate, self._peer(), PATHS[message.path], message)
        except (ProxyError, ValueError):
            self._put_back()
            return
        if self._fed == self._needed and generation.validator is None:  # a validator may change its mind any time
            self._books.of(generation).learn(self._peer(), self._first, self._first.index(b"\r\n\r\n"), head)
        self._begin(head, self._body)

    def _begin(self, head: KnownHead, body: bytes) -> None:
        """Take the request, or hand it to the ordinary way, which will say in words why not."""
        self._body = body
        self._route = None  # what was decided for the request before is nothing to this one
        try:
            chosen = choose(self, head, body)
        except ProxyError:
            self._put_back()
            return
        if isinstance(chosen, Splice):
            self._splice = chosen
            chosen.start()
        else:
            self._route = chosen
            self._put_back()

    def _peer(self) -> str:
        name = self.peername
        return name[0] if isinstance(name, tuple) else ""

    # -- the ordinary way -------------------------------------------------------------------------------------------

    def _put_back(self, prior: Prior | None = None) -> None:
        """The ordinary way shall have the held message, with what is known of it."""
        self._body_timer = None
        if self._raw:  # taken without the parser: now it reads the message after all
            raw, self._raw = self._raw, b""
            self._feed(raw)
            self._prior = prior or Prior(self._body, self.state.generation, route=self._route)
            self._route, self._body = None, b""
            self._wake()
            return
        held, self._held = self._held, None
        if held is None:
            return
        if prior is None and held[1].is_eof():
            prior = Prior(self._body, self.state.generation, route=self._route)
        self._route = None
        self._prior = prior
        self._body = b""
        self._messages.appendleft(held)
        self._wake()

    def take_prior(self) -> Prior | None:
        """For the handler of the message that was put back: what is known of it."""
        prior, self._prior = self._prior, None
        return prior

    def fall_back(self, splice: Splice, opened: Opened | None, error: ProxyError | None = None) -> None:
        """Nothing was sent yet: the ordinary way goes on from here."""
        self._splice = None
        self.state.leave(splice.exchange)
        prior = Prior(self._body, splice.generation, splice.exchange, splice.entry, splice.route, opened, error)
        self._put_back(prior)
        self._replay()

    # -- what the splice asks for -----------------------------------------------------------------------------------

    def committed(self) -> None:
        """The answer has begun: what was kept for another try is let go of, however long the stream."""
        self._held = None
        self._body = self._raw = self._first = b""

    def send(self, data: bytes) -> None:
        """Write to the client."""
        if self.transport is not None:
            self.transport.write(data)

    def cut(self) -> None:
        """Close without a proper end, behind what was sent: the client must see that the answer broke."""
        if self.transport is not None:
            self.transport.close()

    def reset(self) -> None:
        """Drop the connection, and what the client did not read."""
        if self.transport is not None:
            self.transport.abort()

    def finished(self, splice: Splice) -> None:
        """The exchange is over: be idle again, as if nothing had happened."""
        self._splice = self._held = None
        self._body = self._raw = self._first = b""
        if self.transport is None:
            return
        if not splice.keep_alive:
            self.transport.close()
            return
        self._next_keepalive_close_time = self._loop.time() + KEEP_ALIVE
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)
        if self._messages:  # pipelined, and parsed with the end of the body that was waited for
            self._wake()
        if self._pending:
            self._replay()

    def _replay(self) -> None:
        if self._pending:
            pending, self._pending = self._pending, b""
            self._loop.call_soon(self._received_before, pending)

    def _received_before(self, data: bytes) -> None:
        if self.transport is not None:
            if len(data) > MAX_PIPELINED:
                self.transport.resume_reading()
            self.data_received(data)

    # -- asyncio.Protocol, aiohttp ----------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._splice is not None:
            self._splice.hold()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._splice is not None:
            self._splice.release()

    def eof_received(self) -> None:
        if self._splice is not None:
            splice, self._splice = self._splice, None
            splice.client_gone()
        super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        splice, self._splice = self._splice, None
        prior, self._prior = self._prior, None
        if prior is not None and prior.exchange is not None and prior.entry is not None:
            prior.exchange.release()  # nobody takes it up any more
            prior.entry.close(Outcome.CLIENT_CLOSED)
        self._pending = self._raw = b""
        self._held = self._awaited = None
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None
        if splice is not None:
            splice.client_gone()
        super().connection_lost(exc)

    def _process_keepalive(self) -> None:
        if self._splice is not None or self._held is not None or self._awaited is not None:
            self._keepalive_handle = None  # `finished` sets it again
            return
        super()._process_keepalive()

    @property
    def resting(self) -> bool:
        """True if no request is on its way: the connection may be closed without harm."""
        return self._splice is None and self._held is None and self._awaited is None and super().resting


def _size(message: Any, first: bytes) -> int:
    """How many bytes the parser needs for `message`, whose head began with `first`; UNKNOWN if that cannot be told."""
    end = first.find(b"\r\n\r\n")
    if end < 0 or getattr(message, "chunked", True) or message.upgrade:
        return UNKNOWN
    length = message.headers.get("Content-Length", "0")
    return end + 4 + int(length) if length.isdigit() else UNKNOWN
