"""One TCP or TLS connection to a provider, as a plain asyncio protocol.

It handles one exchange at a time and reports to its holder (the sink): the head once, then body bytes, then one end,
clean or not. There are two sinks: `upstream.response.StreamedResponse` for readers at their own pace, and the direct
relay of `fastpath.fast_connection`, which writes the same bytes to the client in the callback in which they arrived.
"""

import asyncio
from abc import ABC, abstractmethod
from typing import Final, cast

from openai_proxy.config.connection import TimeoutConfig
from openai_proxy.errors import (
    UpstreamDisconnected,
    UpstreamError,
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamTruncated,
)
from openai_proxy.protocols.http1 import (
    MAX_HEAD,
    CloseFraming,
    Framing,
    Malformed,
    ParserState,
    ResponseHead,
    framing_for,
    read_head,
)
from openai_proxy.upstream.receive_buffer import receive_ahead
from openai_proxy.upstream.watch import Watch

MAX_BEGINS: Final = 1024  # maximum bytes of a head that is kept for comparison with the next one

MAX_INTERIM: Final = 1000  # 1xx responses before the final one: no legitimate server sends more


class Sink(ABC):
    """Receives what arrives. Called from the event loop, never after `done` or `failed`."""

    __slots__ = ()

    @abstractmethod
    def head(self, head: ResponseHead, more: bool) -> list[bytes] | None:
        """The final response head. Return None to get payload pieces, or a list to get the raw wire bytes: the payload
        pieces are then appended to that list first.

        `more`: body bytes arrived with it and follow at once.
        """

    @abstractmethod
    def data(self, data: bytes) -> None:
        """Body bytes: decoded payload or raw wire bytes, as `head` chose."""

    @abstractmethod
    def whole(self, head: ResponseHead, body: bytes) -> None:
        """Instead of `head`, `data` and `done`: an answer of known length that arrived in one piece."""

    @abstractmethod
    def done(self) -> None:
        """The body ended cleanly. The connection is already back in its pool, or closed."""

    @abstractmethod
    def failed(self, error: UpstreamError) -> None:
        """It failed, before the head or in the middle of the body. The connection is closed."""


class ConnectionOwner(ABC):
    """The pool that a connection returns to."""

    def __init__(self, name: str, watch: Watch) -> None:
        self.name = name
        self.watch = watch
        self.streams = True  # the latest answer was a stream, or there was none: the next one probably is, too

    @abstractmethod
    def give_back(self, connection: "HttpConnection") -> None:
        """Take an idle, reusable connection."""

    @abstractmethod
    def forget(self, connection: "HttpConnection") -> None:
        """The connection is gone."""


class HttpConnection:
    """See the module, an asyncio.Protocol. Created by a pool; call `begin`, then `write`; the sink gets the answer."""

    __slots__ = (
        "_begins",
        "_buffer",
        "_copy",
        "_drain",
        "_head_before",
        "_interim",
        "_limits",
        "_loop",
        "_method",
        "_narrow",
        "_owner",
        "_quiet_since",
        "_started",
        "_stirred",
        "framing",
        "fresh_until",
        "head",
        "held",
        "keep_alive_for",
        "served",
        "sink",
        "transport",
        "upgrading",
        "uploading",
        "write_paused",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: ConnectionOwner) -> None:
        self._loop = loop
        self._owner = owner
        self.transport: asyncio.Transport | None = None
        self.sink: Sink | None = None
        self.head: ResponseHead | None = None
        self.framing: Framing | None = None
        self.served = 0  # finished exchanges on this connection: if more than 0, it may be stale
        self.fresh_until = 0.0  # loop time until which it is reused, once idle
        self.keep_alive_for: float | None = None  # the server's own Keep-Alive: timeout=
        self.held = False  # reading is paused because the client is slow: the provider is not idle
        self.upgrading = False  # the request asks for another protocol
        self.uploading = False  # the request's own body is still being sent
        self.write_paused = False
        self._drain: asyncio.Future[None] | None = None
        self._buffer = b""
        self._begins = b""  # the last head's bytes, including its empty line
        self._head_before: ResponseHead | None = None
        self._interim = 0
        self._copy: list[bytes] | None = None
        self._method = "GET"
        self._limits: TimeoutConfig | None = None
        self._started = self._quiet_since = 0.0
        self._stirred = False
        self._narrow = False  # the kernel's receive buffer is small

    # -- for its holder -----------------------------------------------------------------------------------------------

    def begin(self, sink: Sink, method: str, limits: TimeoutConfig) -> None:
        """Start one exchange; call before writing its request. Timeouts count from now."""
        self.sink = sink
        self.head = self.framing = None
        self._method = method
        self._limits = limits
        self._started = self._quiet_since = self._loop.time()
        self._stirred = False
        self._owner.watch.add(self)
        if self._owner.streams and not self._narrow:  # now, as a fast provider's first bytes come with the head
            self._receive_little(True)

    def write(self, data: bytes) -> None:
        """Send request bytes; the socket buffers what it cannot send yet (see `drain`)."""
        if self.transport is not None:
            self.transport.write(data)

    async def drain(self) -> None:
        """Wait until the socket accepts more. Also returns, at once, if the connection is gone."""
        while self.write_paused and self.transport is not None:
            if self._drain is None:
                self._drain = self._loop.create_future()
            await self._drain

    def touch(self) -> None:
        """The client is still sending its body: the provider's first-byte timeout has not begun."""
        self._quiet_since = self._loop.time()

    def pause(self) -> None:
        """Stop reading: the client does not keep up."""
        if not self.held and self.transport is not None:
            self.held = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self.held and self.transport is not None:
            self.held = False
            self._quiet_since = self._loop.time()
            self.transport.resume_reading()

    def abort(self) -> None:
        """Drop the exchange and the connection at once; the sink is not called any more."""
        self.sink = None
        self._owner.watch.discard(self)
        if self.transport is not None:
            self.transport.abort()

    # -- limits -----------------------------------------------------------------------------------------------------

    def check(self, now: float) -> None:
        """Called by the watch: end the exchange if a timeout has passed."""
        limits = self._limits
        if limits is None or self.sink is None:
            self._owner.watch.discard(self)
            return
        if limits.total is not None and now - self._started >= limits.total:
            cause = f"not done within {limits.total:g} s (timeout.total)"
            self._fail(UpstreamTimeout(f"{self._name} took too long to answer.", cause=cause))
            return
        if self._stirred or self.held:
            self._stirred = False
            self._quiet_since = now
            return
        quiet = now - self._quiet_since
        if self.head is None:
            if limits.first_byte is not None and quiet >= limits.first_byte:
                cause = f"no answer within {limits.first_byte:g} s (timeout.first_byte)"
                self._fail(UpstreamTimeout(f"{self._name} did not answer in time.", cause=cause))
        elif limits.idle is not None and quiet >= limits.idle:
            self._fail(
                UpstreamTimeout(
                    f"{self._name} stopped in the middle of its answer.",
                    code="upstream_idle_timeout",
                    cause=f"silent for {limits.idle:g} s in the middle of its answer (timeout.idle)",
                )
            )

    @property
    def _name(self) -> str:
        return f"The connection '{self._owner.name}'"

    # -- asyncio.Protocol -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        sink = self.sink
        if sink is None:  # idle, but the server sends something: it is out of step
            if self.transport is not None:
                self.transport.abort()
            return
        framing = self.framing
        if framing is None:
            self._read_head(data)
            return
        self._stirred = True
        copy = self._copy
        if copy is not None:
            data = framing.feed(data, copy)
        else:
            pieces: list[bytes] = []
            framing.feed(data, pieces)
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if data:
            sink.data(data)
        if framing.state:
            self._body_ended(framing)

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        self._wake_drain()

    def eof_received(self) -> bool:
        return False  # close our side too; connection_lost informs the sink

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._owner.forget(self)
        self._wake_drain()
        if self.sink is None:
            self._owner.watch.discard(self)
            return
        if self.head is None:
            self._fail(UpstreamDisconnected(f"{self._name} closed without an answer."))
        elif exc is None and type(self.framing) is CloseFraming:
            self._finish(reusable=False)
        else:
            self._fail(UpstreamTruncated(f"{self._name} broke off in the middle of its answer."))

    # -- inside -----------------------------------------------------------------------------------------------------

    def _receive_little(self, little: bool) -> None:
        self._narrow = self._owner.streams = little
        receive_ahead(self.transport, little=little)

    def _wake_drain(self) -> None:
        waiter, self._drain = self._drain, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _read_head(self, data: bytes) -> None:
        data = self._buffer + data if self._buffer else data
        while True:
            begins = self._begins
            if begins and data[: len(begins)] == begins:  # byte for byte the previous head: no need to look for its end
                assert self._head_before is not None
                head = self._head_before
                data = data[len(begins) :]
                break
            end = data.find(b"\r\n\r\n")
            if end < 0:
                # Check how the head begins, so that garbage is refused now rather than at the first-byte timeout.
                if len(data) > MAX_HEAD or data[:5] != b"HTTP/"[: len(data)]:
                    self._fail(UpstreamInvalid(f"{self._name} did not answer in HTTP."))
                else:
                    self._buffer = data
                return
            try:
                if end > MAX_HEAD:
                    raise Malformed("head too long")
                head = read_head(data[: end + 2])
            except Malformed:
                self._fail(UpstreamInvalid(f"{self._name} gave an answer that is not valid HTTP."))
                return
            begins, data = data[: end + 4], data[end + 4 :]
            if head.status >= 200:
                if len(begins) <= MAX_BEGINS:
                    self._begins, self._head_before = begins, head
                break
            if head.status == 101:
                if self.upgrading:
                    break
                # Not requested: what follows would be ambiguous (RFC 9110 §15.2.2).
                self._fail(UpstreamInvalid(f"{self._name} switched protocols unasked."))
                return
            self._interim += 1
            if self._interim > MAX_INTERIM:
                self._fail(UpstreamInvalid(f"{self._name} sent many interim answers and no final one."))
                return
            self._buffer = b""
            if not data:
                return
        self._buffer = b""
        self._answer_begins(head, data)

    def _answer_begins(self, head: ResponseHead, data: bytes) -> None:
        """The head of the answer is complete; `data` is what follows it."""
        self._interim = 0
        self._stirred = True
        self.head = head
        sink = self.sink
        assert sink is not None
        if head.status == 101:  # from here on another protocol's bytes, until the connection ends
            self._owner.watch.discard(self)
            self.framing = CloseFraming()
            self._copy = sink.head(head, bool(data))
            if data:
                self.data_received(data)
            return
        if head.length and head.length == len(data) and head.status == 200 and self._method != "HEAD":
            # The most common answer: no framing to track, one call instead of four.
            self._release(reusable=head.keep_alive and not self.uploading)
            sink.whole(head, data)
            return
        framing = self.framing = framing_for(head, self._method)
        if head.streams is not self._narrow:
            self._receive_little(head.streams)
        self._copy = sink.head(head, bool(data) and not framing.state)
        if self.sink is None:  # the sink released us in its callback
            return
        if data and not framing.state:
            self.data_received(data)
        elif framing.state:
            framing.extra = bool(data)
            self._body_ended(framing)

    def _body_ended(self, framing: Framing) -> None:
        if framing.state == ParserState.BROKEN:
            self._fail(UpstreamTruncated(f"{self._name} broke off in the middle of its answer."))
        else:
            assert self.head is not None
            # Surplus bytes are not kept: the next exchange would read them as its answer.
            self._finish(reusable=self.head.keep_alive and not framing.extra and not self.uploading)

    def _finish(self, *, reusable: bool) -> None:
        sink = self.sink
        self._release(reusable=reusable)
        assert sink is not None
        sink.done()

    def _release(self, *, reusable: bool) -> None:
        """The exchange is over: return to the pool, or close. The watch notices on its own."""
        self.sink = None
        self.served += 1
        if self.held and self.transport is not None:
            self.held = False
            self.transport.resume_reading()
        if reusable and self.transport is not None:
            if self.served == 1 and self.head is not None:
                self.keep_alive_for = self.head.keep_alive_timeout()
            self._owner.give_back(self)
        elif self.transport is not None:
            self.transport.close()

    def _fail(self, error: UpstreamError) -> None:
        sink, self.sink = self.sink, None
        self._owner.watch.discard(self)
        self._buffer = b""
        if self.transport is not None:
            self.transport.abort()
        if sink is not None:
            sink.failed(error)
