"""A client's connection, and everything that depends on aiohttp's internals.

aiohttp parses every request whose head is not known (with llhttp's strictness). `ClientConnection` is aiohttp's request
handler with our limits and errors. `RelayingConnection` puts a fast path in front of it: if exactly one complete
message has arrived on an idle connection and the fast path takes it, it is removed from aiohttp's queue. Everything
else, and what the fast path returns (retries, errors, redirects), stays in the queue for the request handler.

Undocumented parts of aiohttp 3.14 in use: RequestHandler's `_messages`, `_waiter`, `_parser`, `_close`,
`_request_count`, `_reading_paused`, `_request_in_progress`, `_upgraded`, `_keepalive_handle`, `_keepalive_timeout`,
`_next_keepalive_close_time`, `_process_keepalive`, `_drain_helper`, `set_parser`; Server's `_kwargs`; BaseRequest's
`_payload`; StreamReader's `_buffer`; BaseProtocol's `connection_made`. tests/server/test_connection.py fails if they
change. Three of their rules:
- a message that is taken must be reported to the parser's count (`message_consumed`), or it stops after 32;
- reading the payload's stream re-enters `data_received` and costs 3 µs, so its buffer is read instead;
- the first bytes may arrive before the handler task has run: idle means "it waits, or never had a request".
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

from aiohttp.base_protocol import BaseProtocol
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse
from aiohttp.web_server import Server as AiohttpServer

from openai_proxy.addresses import plain
from openai_proxy.bounds import MAX_HEAD
from openai_proxy.errors import InternalError, Overloaded, ProxyError
from openai_proxy.exchange import new_request_id
from openai_proxy.records.process_log import refusals
from openai_proxy.server.early_refusal import early_refusal, head_too_large, parse_error
from openai_proxy.server.fast_path import BODY_WAIT, FastPath, ReturnedRequest
from openai_proxy.server.headers import head_size
from openai_proxy.server.open_connections import ConnectionLimits, OpenConnections

UNSENT = 16 * 1024
"""Bytes of an answer buffered here for a slow client before the provider is no longer read."""
KEEP_ALIVE: Final = 75.0
"""Seconds for which an idle connection is kept: more than Home Assistant's 15 and nginx's 60, so the client closes."""

UNKNOWN: Final = -1


class _NoDelaySet(BaseProtocol):
    """aiohttp's base class, except that it leaves TCP_NODELAY to the event loop: the socket's object takes 20 µs."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)


class ClientConnection(RequestHandler, _NoDelaySet):
    """One client connection: aiohttp's own, with errors in the API's format, and a limit for incomplete heads."""

    __slots__ = ("_address", "_counted", "_head_bytes", "_latest_payload")

    def __init__(self, manager: Any, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._address = ""  # the client's
        self._head_bytes = 0  # bytes received of an incomplete head
        self._latest_payload: Any = None  # the last message's: until it ends, bytes belong to a body
        self._counted: Callable[[], None] | None = None  # called when the connection ends, if connections are counted

    @property
    def peername(self) -> str | tuple[Any, ...] | None:
        """The address that becomes a request's `remote`; IPv4 addresses always look like IPv4."""
        return (self._address,) if self.transport is not None else None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        name = transport.get_extra_info("peername")
        self._address = plain(name[0]) if isinstance(name, tuple) else ""
        # The first request's head has `header_seconds`; an idle kept connection may wait longer.
        self._keepalive_timeout = KEEP_ALIVE
        cast(asyncio.WriteTransport, transport).set_write_buffer_limits(high=UNSENT)
        if counts := getattr(self._manager, "counts", None):
            self._counted = partial(counts.ended, self._address)
            if not counts.admit(self._address) and self.transport is not None:
                busy = Overloaded("The proxy has too many connections.", headers={"Retry-After": "1"})
                self._refuse(self.transport, busy, b"503 Service Unavailable")

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._counted is not None:
            self._counted()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Limit the head as a whole: aiohttp limits each line and their number, which allows anyone a megabyte."""
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
        """Send an error without having read a request, and close."""
        if self._request_in_progress:  # pipelined: an answer is being sent, and ours would end up inside it
            transport.abort()
            return
        refusals.log_refusal(self._address, "", error)
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
        """Answer what the parser refused, or what escaped a handler, without echoing the offending bytes."""
        self.keep_alive(False)
        if request.writer.output_size > 0:
            raise ConnectionError("too late for an error response")
        error = parse_error(exc) if status < 500 else InternalError("Something went wrong in the proxy.")
        refusals.log_refusal(request.remote or "", "", error)
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
        """A client's FIN means that it is gone (contract §3): nobody would read an answer."""
        if self._request_in_progress and self.transport is not None:
            self.transport.abort()

    def take_handover(self) -> ReturnedRequest | None:
        """What the fast path knows about the request being handled; None if it has not seen it."""
        return None

    @property
    def resting(self) -> bool:
        """True if no request is running: the connection can be closed without harm."""
        # A connection without any request so far was just accepted: its request may already be in the kernel. While the
        # handler waits, a request may for one turn of the loop be neither queued nor in progress.
        waits = self._waiter is not None and not self._waiter.done()
        return waits and self._request_count > 0 and not self._request_in_progress and not self._messages


class RelayingConnection(ClientConnection):
    """A client connection with a fast path in front of aiohttp's handler."""

    # `data_received` is the fast path's own method, so that the loop calls it directly.
    __slots__ = ("_body_timer", "_fed", "_first", "_handover", "_held", "_needed", "data_received", "fast", "parsing")

    data_received: Callable[[bytes], None]  # type: ignore[assignment]  # a method in aiohttp, an attribute here

    def __init__(self, manager: Any, make_fast: "Callable[[RelayingConnection], FastPath]", **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._held: Any = None  # the message taken off aiohttp's queue, and its payload
        # Bytes of the present message that the parser has got and expects: equal between messages.
        self._fed = self._needed = 0
        self._first = b""  # its first segment, if its head is complete
        self._handover: ReturnedRequest | None = None
        self._body_timer: asyncio.TimerHandle | None = None
        self.parsing = False  # the parser has a part of a message and waits for the rest
        self.fast = make_fast(self)
        self.data_received = self.fast.data_received

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.fast.connected(transport, self._address)

    # -- what the parser sees ---------------------------------------------------------------------------------------

    def _feed(self, data: bytes) -> Any:
        """Give bytes to aiohttp without letting it wake its handler; returns the waiter that it would have woken."""
        waiter = self._waiter
        self._waiter = None
        super().data_received(data)
        self._waiter = waiter
        return waiter

    def parse(self, data: bytes) -> None:
        """Let aiohttp parse, then check whether the fast path takes the result."""
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
        """The body of the held message has arrived."""
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

    def begin_unparsed(self) -> bool:
        """Start a request that the parser has not seen; False if one is queued or held, or the connection closes."""
        if (self._waiter is None and self._request_count) or self._held is not None or self._messages or self._close:
            return False
        self._request_count += 1
        return True

    def wake(self) -> None:
        """Let aiohttp's handler look at its queue."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def hand_back(self, handover: ReturnedRequest | None = None, raw: bytes = b"") -> None:
        """Give the message to the request handler, with what is known about it.

        `raw` is a message that the parser has not seen; without it the held one is put back into the queue.
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

    def answer_begun(self) -> None:
        """The fast path's answer has begun: what was kept for a retry is no longer needed."""
        self._held = None
        self._first = b""

    def rest(self) -> None:
        """An exchange of the fast path is over: idle again, as if aiohttp had answered it."""
        until = self._loop.time() + KEEP_ALIVE
        self._next_keepalive_close_time = until
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(until, self._process_keepalive)
        if self._messages:  # pipelined, and parsed with the end of the awaited body
            self.wake()

    # -- asyncio.Protocol, aiohttp ----------------------------------------------------------------------------------

    def take_handover(self) -> ReturnedRequest | None:
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
    """aiohttp's low-level server, with our connections, whose first head has `header_seconds()`."""

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
        """True if there is a connection without any request so far."""
        return any(one._request_count == 0 for one in self.connections)

    def close_idle(self) -> bool:
        """Close idle kept connections; False if there are none."""
        found = False
        for connection in self.connections:
            if isinstance(connection, ClientConnection) and connection.resting and connection.transport is not None:
                connection.transport.close()
                found = True
        return found


def take_handover(request: BaseRequest) -> ReturnedRequest | None:
    """What the fast path knows about `request`."""
    protocol: object = request.protocol
    return protocol.take_handover() if isinstance(protocol, ClientConnection) else None


def check_head(request: BaseRequest) -> None:
    """Raise HeadTooLarge for a request whose whole head is over the limit."""
    if head_size(request) > MAX_HEAD:
        raise head_too_large()


def is_first(request: BaseRequest) -> bool:
    """True if it is the first request on its connection."""
    return request.protocol._request_count <= 1


def is_read(request: BaseRequest) -> bool:
    """True if the whole body of `request` has been read."""
    return request._payload.is_eof()


async def drained(connection: RequestHandler) -> None:
    """Return once the client has read enough of what was written. Raises ConnectionError if it disconnected."""
    await connection._drain_helper()


def receive_raw(request: BaseRequest, receiver: Any) -> None:
    """Pass bytes after `request` to `receiver.feed_data` and its end to `feed_eof`: another protocol begins."""
    request.protocol.set_parser(receiver)


def _size(message: Any, first: bytes) -> int:
    """How many bytes the parser needs for `message`, whose head began with `first`; UNKNOWN if that is unclear."""
    end = first.find(b"\r\n\r\n")
    if end < 0 or getattr(message, "chunked", True) or message.upgrade:
        return UNKNOWN
    length = message.headers.get("Content-Length", "0")
    return end + 4 + int(length) if length.isdigit() else UNKNOWN
