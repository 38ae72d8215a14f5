"""A client's connection, and everything the proxy knows of aiohttp's insides.

aiohttp parses every request whose head is not known (llhttp's strictness stays). `ClientConnection` is aiohttp's
request handler with our limits and errors. `RelayingConnection` puts a fast path in front of it: when exactly one
complete message has come on an idle connection and the fast path takes it, it is removed from aiohttp's queue.
Everything else stays on the queue for the request handler; so does what the fast path hands back because it needs a
second look: retries, errors, redirects.

Used of aiohttp 3.14 beyond its documented interface: RequestHandler's `_messages`, `_waiter`, `_parser`, `_close`,
`_request_count`, `_reading_paused`, `_request_in_progress`, `_upgraded`, `_keepalive_handle`, `_keepalive_timeout`,
`_next_keepalive_close_time`, `_process_keepalive`, `_drain_helper`, `set_parser`; Server's `_kwargs`; BaseRequest's
`_payload`; StreamReader's `_buffer`. tests/server/test_connection.py fails loudly when they move. Three of their rules:
- a message that is taken must be given back to the parser's count (`message_consumed`), or it stops after 32;
- reading the payload's stream re-enters `data_received` and costs 3 µs: its buffer is read instead;
- the first bytes can come before the handler task has run: idle means "it waits, or has never had a request".
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse
from aiohttp.web_server import Server as AiohttpServer

from openai_proxy.bounds import MAX_HEAD
from openai_proxy.errors import InternalError, Overloaded, ProxyError
from openai_proxy.exchange import new_request_id
from openai_proxy.records.terminal import refusals
from openai_proxy.server.early_refusal import early_refusal, head_too_large
from openai_proxy.server.fast_path import FastPath, HandedBack
from openai_proxy.server.headers import head_size
from openai_proxy.server.open_connections import ConnectionLimits, OpenConnections
from openai_proxy.server.parse_errors import parse_error

KEEP_ALIVE: Final = 75.0
"""Seconds an idle connection is kept: above Home Assistant's 15 and nginx's 60, so that the client closes first."""

BODY_WAIT: Final = 0.25
"""Seconds a body may take on the fast path; then the request handler waits for it, with its own limits."""

UNKNOWN: Final = -1


def _peer(transport: asyncio.BaseTransport) -> str:
    name = transport.get_extra_info("peername")
    return name[0] if isinstance(name, tuple) else ""


class ClientConnection(RequestHandler):
    """One client connection: aiohttp's own, with errors as the API writes them, and a bound on unfinished heads."""

    __slots__ = ("_counted", "_head_bytes", "_latest_payload")

    def __init__(self, manager: Any, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._head_bytes = 0  # of a head whose end has not come
        self._latest_payload: Any = None  # of the message that came last: until its end, bytes are a body
        self._counted: Callable[[], None] | None = None  # what is to be done at its end, where connections are counted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # The first request's head has `header_seconds`; an idle kept connection may rest longer.
        self._keepalive_timeout = KEEP_ALIVE
        if counts := getattr(self._manager, "counts", None):
            self._counted = partial(counts.ended, peer := _peer(transport))
            if not counts.admit(peer) and self.transport is not None:
                busy = Overloaded("The proxy has too many connections.", headers={"Retry-After": "1"})
                self._refuse(self.transport, busy, b"503 Service Unavailable")

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._counted is not None:
            self._counted()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """aiohttp bounds each line and their number, a megabyte in all; it would keep that for anybody."""
        count = self._request_count
        in_head = self._latest_payload is None or self._latest_payload.is_eof()
        super().data_received(data)
        if self._request_count != count:
            self._head_bytes = 0
            self._latest_payload = self._messages[-1][1] if self._messages else None
        elif in_head and not self._upgraded:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD and self.transport is not None:
                self._refuse(self.transport, head_too_large(), b"431 Request Header Fields Too Large")

    def _refuse(self, transport: asyncio.Transport, error: ProxyError, status: bytes) -> None:
        """Say so without a request having been read, and close."""
        if self._request_in_progress:  # pipelined: an answer is on its way, and what we said would stand in it
            transport.abort()
            return
        refusals.tell(_peer(transport), "", error)
        transport.write(early_refusal(error, status))
        self.force_close()
        transport.close()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> StreamResponse:
        """What the parser refused, or what escaped a handler: never an echo of the offending bytes."""
        self.keep_alive(False)
        if request.writer.output_size > 0:
            raise ConnectionError("too late for an error response")
        error = parse_error(exc) if status < 500 else InternalError("Something went wrong in the proxy.")
        refusals.tell(request.remote or "", "", error)
        response = Response(
            status=error.status,
            body=error.body(),
            content_type="application/json",
            headers={
                "x-proxy-error": error.code,
                "x-request-id": new_request_id(),
                "Server": "openai-proxy",
                **({"x-should-retry": "false"} if error.final else {}),
            },
        )
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kwargs: Any) -> None:
        """aiohttp logs a traceback for every malformed request; a port scan would fill the journal."""
        self.log_debug(*args, **kwargs)

    def eof_received(self) -> None:
        """A client's FIN means that it is gone (contract §3): what it was sent nobody reads."""
        if self._request_in_progress and self.transport is not None:
            self.transport.abort()

    def take_handover(self) -> HandedBack | None:
        """What the fast path knows of the request being handled; None where it has not seen it."""
        return None

    @property
    def resting(self) -> bool:
        """True if no request is on its way: the connection may be closed without harm."""
        # A connection that has not asked yet was accepted a moment ago: its request may be in the kernel already.
        # The handler waits: for a turn of the loop a request is neither queued nor in progress but on its way to be.
        waits = self._waiter is not None and not self._waiter.done()
        return waits and self._request_count > 0 and not self._request_in_progress and not self._messages


class RelayingConnection(ClientConnection):
    """A client connection with a fast path in front of aiohttp's handler."""

    # `data_received` is the fast path's own method, so that the loop calls it without a detour through this class.
    __slots__ = ("_body_timer", "_fed", "_first", "_handover", "_held", "_needed", "data_received", "fast", "parsing")

    data_received: Callable[[bytes], None]  # type: ignore[assignment]  # a method in aiohttp, an attribute here

    def __init__(self, manager: Any, make_fast: "Callable[[RelayingConnection], FastPath]", **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._held: Any = None  # the message that is off aiohttp's queue, and its payload
        self._fed = self._needed = 0  # bytes of the present message the parser got and wants: equal between messages
        self._first = b""  # its first segment, where its head is whole
        self._handover: HandedBack | None = None
        self._body_timer: asyncio.TimerHandle | None = None
        self.parsing = False  # the parser has a part of a message and waits for the rest
        self.fast = make_fast(self)
        self.data_received = self.fast.data_received

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        name = self.peername
        self.fast.connected(transport, name[0] if isinstance(name, tuple) else "")

    # -- what the parser sees ---------------------------------------------------------------------------------------

    def _feed(self, data: bytes) -> Any:
        """Give bytes to aiohttp without letting it wake its handler; returns the waiter it would have woken."""
        waiter = self._waiter
        self._waiter = None
        super().data_received(data)
        self._waiter = waiter
        return waiter

    def parse(self, data: bytes) -> None:
        """Let aiohttp parse, then see whether the fast path takes what has come."""
        if self._fed == self._needed:  # a message begins
            self._fed, self._needed, self._first = 0, UNKNOWN, data
        self._fed += len(data)
        self.parsing = self._fed != self._needed
        waiter = self._feed(data)
        if self._held is not None:
            self.parsing = self._fed != self._needed
            if self._held[1].is_eof():
                self._whole()
            return
        messages = self._messages
        if not messages:
            return
        if self._needed == UNKNOWN and len(messages) == 1:
            self._needed = _size(messages[0][0], self._first)
        self.parsing = self._fed != self._needed
        idle = self._request_count == 1 if waiter is None else not waiter.done()  # done: woken for what is queued
        if idle and len(messages) == 1 and not self._close and self.fast.wants(messages[0][0]):
            self._held = messages.popleft()
            if self._parser is not None:
                self._parser.message_consumed()
            if self._held[1].is_eof():
                self._whole()
            else:
                self._body_timer = self._loop.call_later(BODY_WAIT, self.hand_back)
            return
        self.wake()

    def _whole(self) -> None:
        """The body of the held message has come."""
        self._stop_timer()
        message, payload = self._held
        buffered = payload._buffer
        body = buffered[0] if len(buffered) == 1 else b"".join(buffered)
        if self._reading_paused:
            self.resume_reading()
        self.fast.parsed(message, self._first if self._fed == self._needed else b"", body)

    def _stop_timer(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    # -- for the fast path ------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """True if a new request may begin without the parser: nothing is queued, held or being closed."""
        waiting = self._waiter is not None or self._request_count == 0
        return waiting and self._held is None and not self._messages and not self._close

    @property
    def holding(self) -> bool:
        """True while a parsed message is held for the fast path."""
        return self._held is not None

    def count_request(self) -> None:
        """A request begins that the parser has not seen."""
        self._request_count += 1

    def wake(self) -> None:
        """Let aiohttp's handler look at its queue."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def hand_back(self, handover: HandedBack | None = None, raw: bytes = b"") -> None:
        """The request handler shall have the message, with what is known of it.

        `raw` is a message the parser has not seen; without it the held one goes back on the queue.
        """
        self._stop_timer()
        held, self._held = self._held, None
        if raw:
            self._feed(raw)
        elif held is not None:
            self._messages.appendleft(held)
        else:
            return
        self._handover = handover
        self.wake()

    def let_go(self) -> None:
        """The fast path's answer has begun: what was kept for another try is not needed any more."""
        self._held = None
        self._first = b""

    def rest(self) -> None:
        """An exchange of the fast path is over: idle again, as if aiohttp had answered it."""
        until = self._loop.time() + KEEP_ALIVE
        self._next_keepalive_close_time = until
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(until, self._process_keepalive)
        if self._messages:  # pipelined, and parsed with the end of the body that was waited for
            self.wake()

    # -- asyncio.Protocol, aiohttp ----------------------------------------------------------------------------------

    def take_handover(self) -> HandedBack | None:
        handover, self._handover = self._handover, None
        return handover

    def pause_writing(self) -> None:
        super().pause_writing()
        self.fast.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.fast.resume()

    def eof_received(self) -> None:
        self.fast.client_gone()
        super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        handover, self._handover = self._handover, None
        if handover is not None:
            handover.abandon()
        self._stop_timer()
        self._held = None
        self.fast.disconnected()
        super().connection_lost(exc)

    def _process_keepalive(self) -> None:
        if self.fast.busy or self._held is not None:
            self._keepalive_handle = None  # `rest` sets it again
            return
        super()._process_keepalive()

    @property
    def resting(self) -> bool:
        return not self.fast.busy and self._held is None and super().resting


class ConnectionServer(AiohttpServer):
    """aiohttp's low-level server, with connections of ours whose first head has `header_seconds()`."""

    def __init__(
        self,
        handler: Any,
        *,
        header_seconds: Callable[[], float],
        make_fast: Callable[[RelayingConnection], FastPath] | None = None,
        limits: Callable[[], ConnectionLimits] | None = None,
        **options: Any,
    ) -> None:
        self.counts = OpenConnections(limits, self.close_idle) if limits is not None else None
        self._header_seconds = header_seconds
        self._make_fast = make_fast
        super().__init__(handler, keepalive_timeout=header_seconds(), **options)

    def __call__(self) -> RequestHandler:
        self._kwargs["keepalive_timeout"] = self._header_seconds()
        if self._make_fast is not None:
            return RelayingConnection(self, self._make_fast, loop=self._loop, **self._kwargs)
        return ClientConnection(self, loop=self._loop, **self._kwargs)

    def has_silent(self) -> bool:
        """True if there is a connection on which nothing has been asked yet."""
        return any(one._request_count == 0 for one in self.connections)

    def close_idle(self) -> bool:
        """Close kept connections on which nothing is under way; False if there are none."""
        found = False
        for connection in self.connections:
            if isinstance(connection, ClientConnection) and connection.resting and connection.transport is not None:
                connection.transport.close()
                found = True
        return found


def take_handover(request: BaseRequest) -> HandedBack | None:
    """What the fast path knows of `request`."""
    protocol: object = request.protocol
    return protocol.take_handover() if isinstance(protocol, ClientConnection) else None


def check_head(request: BaseRequest) -> None:
    """Raise HeadTooLarge for a request whose head is over the bound as a whole."""
    if head_size(request) > MAX_HEAD:
        raise head_too_large()


def is_first(request: BaseRequest) -> bool:
    """True if nothing was asked on its connection before."""
    return request.protocol._request_count <= 1


def is_read(request: BaseRequest) -> bool:
    """True if the whole body of `request` has been read."""
    return request._payload.is_eof()


async def drained(connection: RequestHandler) -> None:
    """Return once the client has taken enough of what was written to it. Raises ConnectionError if it left."""
    await connection._drain_helper()


def receive_raw(request: BaseRequest, receiver: Any) -> None:
    """Bytes that follow `request` go to `receiver.feed_data` and its end to `feed_eof`: another protocol begins."""
    request.protocol.set_parser(receiver)


def _size(message: Any, first: bytes) -> int:
    """How many bytes the parser needs for `message`, whose head began with `first`; UNKNOWN if that cannot be told."""
    end = first.find(b"\r\n\r\n")
    if end < 0 or getattr(message, "chunked", True) or message.upgrade:
        return UNKNOWN
    length = message.headers.get("Content-Length", "0")
    return end + 4 + int(length) if length.isdigit() else UNKNOWN
