"""A provider's answer for readers at their own pace: the agent loop, translators, model lists, slow paths."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from openai_proxy.errors import UpstreamError
from openai_proxy.exchange import Headers
from openai_proxy.protocols.http1 import ResponseHead
from openai_proxy.upstream.connection import HttpConnection, Sink
from openai_proxy.upstream.wrapped import rest_of

HIGH_WATER: Final = 16 * 1024
"""Bytes buffered for a slow reader before the socket is paused."""


class StreamedResponse(Sink):
    """An `UpstreamResponse` fed by a connection; see exchange.UpstreamResponse for its verbs."""

    __slots__ = (
        "_connection",
        "_ended",
        "_error",
        "_head",
        "_loop",
        "_pieces",
        "_size",
        "_taken",
        "_waiter",
        "on_close",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: HttpConnection) -> None:
        self._loop = loop
        self._connection: HttpConnection | None = connection
        self._head: ResponseHead | None = None
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._taken = 0  # bytes of the piece that the reader has
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
        """The reason phrase as sent."""
        return self.wire_head.reason.decode("latin-1")

    @property
    def headers(self) -> Headers:
        """All header fields as sent."""
        return self.wire_head.items()

    @property
    def wire_head(self) -> ResponseHead:
        """The head itself; only after `ready`."""
        assert self._head is not None
        return self._head

    @property
    def connection(self) -> HttpConnection | None:
        """The connection while it is ours (needed for upgrades)."""
        return self._connection

    async def ready(self) -> None:
        """Wait for the head. Raises an UpstreamError that came instead."""
        while self._head is None and self._error is None:
            await self._wait()
        if self._head is None:
            assert self._error is not None
            raise self._error

    @property
    def answered(self) -> bool:
        """True once the head, or an error instead, has arrived."""
        return self._head is not None or self._error is not None

    @property
    def at_hand(self) -> bool:
        """True if some unread body has arrived."""
        return bool(self._pieces)

    async def chunk(self) -> bytes:
        self._size -= self._taken  # a piece counts until the reader asks for the next one
        self._taken = 0
        if self._size < HIGH_WATER // 2 and self._connection is not None and self._connection.held:
            self._connection.resume()
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            await self._wait()
        piece = self._pieces.popleft()
        self._taken = len(piece)
        return piece

    async def read(self, limit: int) -> bytes:
        return await rest_of(self, limit)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and not self._ended and self._error is None:
            connection.abort()
        self._pieces.clear()
        self._ended = True
        if self.on_close is not None:
            self.on_close()
            self.on_close = None

    def abandon(self, error: Exception) -> None:
        """The request could not be sent completely: drop the connection and raise `error` for the reader."""
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
        self._connection = None  # it may already serve another exchange
        self._wake()

    def failed(self, error: UpstreamError) -> None:
        self._error = error
        self._wake()
