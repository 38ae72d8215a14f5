"""A provider's answer for whoever reads it at leisure: the agent loop, translators, model lists, slow paths."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from openai_proxy.errors import UpstreamError, UpstreamInvalid
from openai_proxy.exchange import Headers
from openai_proxy.protocols.http1 import ResponseHead
from openai_proxy.upstream.connection import HttpConnection, Sink

HIGH_WATER: Final = 256 * 1024
"""Bytes held for a slow reader before the socket is no longer read."""


class StreamedResponse(Sink):
    """An `UpstreamResponse` fed by a connection; see exchange.UpstreamResponse for its verbs."""

    __slots__ = ("_connection", "_ended", "_error", "_head", "_loop", "_pieces", "_size", "_waiter", "on_close")

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: HttpConnection) -> None:
        self._loop = loop
        self._connection: HttpConnection | None = connection
        self._head: ResponseHead | None = None
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.on_close: Callable[[], object] | None = None

    # -- reading ----------------------------------------------------------------------------------------------------

    @property
    def status(self) -> int:
        """The status code."""
        return self.wire_head.status

    @property
    def reason(self) -> str:
        """The reason phrase as it came."""
        return self.wire_head.reason.decode("latin-1")

    @property
    def headers(self) -> Headers:
        """All header fields as they came."""
        return self.wire_head.items()

    @property
    def wire_head(self) -> ResponseHead:
        """The head itself; only after `ready`."""
        assert self._head is not None
        return self._head

    @property
    def connection(self) -> HttpConnection | None:
        """The connection while it is ours (upgrades need it)."""
        return self._connection

    async def ready(self) -> None:
        """Wait for the head. Raises the UpstreamError that came instead."""
        while self._head is None and self._error is None:
            await self._wait()
        if self._head is None:
            assert self._error is not None
            raise self._error

    @property
    def answered(self) -> bool:
        """True once the head has come, or an error instead."""
        return self._head is not None or self._error is not None

    async def chunk(self) -> bytes:
        """See exchange.UpstreamResponse."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            await self._wait()
        piece = self._pieces.popleft()
        self._size -= len(piece)
        if self._size < HIGH_WATER // 2 and self._connection is not None and self._connection.held:
            self._connection.resume()
        return piece

    async def read(self, limit: int) -> bytes:
        """See exchange.UpstreamResponse."""
        pieces: list[bytes] = []
        size = 0
        while piece := await self.chunk():
            size += len(piece)
            if size > limit:
                self.close()
                raise UpstreamInvalid("The provider's answer is too large.", code="upstream_too_large")
            pieces.append(piece)
        return b"".join(pieces)

    def at_event_boundary(self) -> bool:
        """See protocols.http1: could an event of our own follow what was read so far?"""
        connection = self._connection
        return connection is not None and connection.framing is not None and connection.framing.at_event_boundary()

    def close(self) -> None:
        """See exchange.UpstreamResponse."""
        connection, self._connection = self._connection, None
        if connection is not None and not self._ended and self._error is None:
            connection.abort()
        self._pieces.clear()
        self._ended = True
        if self.on_close is not None:
            self.on_close()
            self.on_close = None

    def abandon(self, error: Exception) -> None:
        """The request could not be sent whole: drop the connection; whoever reads gets `error`."""
        if self._connection is not None:
            self._connection.abort()
        self._error = error
        self._wake()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # -- Sink -------------------------------------------------------------------------------------------------------

    def head(self, head: ResponseHead, more: bool) -> list[bytes] | None:
        self._head = head
        self._wake()
        return None

    def whole(self, head: ResponseHead, body: bytes) -> None:
        self._head = head
        self._pieces.append(body)
        self._size += len(body)
        self.done()

    def data(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > HIGH_WATER and self._connection is not None:
            self._connection.pause()
        self._wake()

    def done(self) -> None:
        self._ended = True
        self._connection = None  # it may already serve somebody else
        self._wake()

    def failed(self, error: UpstreamError) -> None:
        self._error = error
        self._wake()
