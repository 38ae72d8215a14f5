"""Reading a request's body: bounded in size, and in how long it may stand still."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp.web_request import BaseRequest

from openai_proxy.errors import ProxyError, TooLarge
from openai_proxy.server.reply import Reply
from openai_proxy.tasks import in_thread

_SPACE = b" \t\r\n"
_LARGE = 2 * 1024 * 1024  # bytes that are not copied on the event loop


class BodyTimeout(ProxyError):
    """The client stopped sending."""

    status = 408
    type = "invalid_request_error"
    default_code = "request_timeout"


class RequestBody:
    """The body of one request. Read it once, whole or in pieces."""

    def __init__(self, request: BaseRequest, reply: Reply, limit: int, idle: float | None) -> None:
        self._request = request
        self._reply = reply
        self.limit = limit
        self._idle = idle
        self._expected = request.headers.get("Expect", "").lower() == "100-continue" and not reply.http10
        self.taken: bytes | None = None  # a body that has been read as a whole
        self._stream: AsyncIterator[bytes] | None = None
        self._ahead: bytes = b""  # what was read to look at it
        length = request.headers.get("Content-Length")
        self.length = int(length) if length is not None and length.isdigit() else None

    @property
    def present(self) -> bool:
        """True if the request has a body at all."""
        return self.taken is not None or self._request.can_read_body

    def check_size(self) -> None:
        """Raise TooLarge if the announced size is over the limit."""
        if self.length is not None and self.length > self.limit:
            self._reply.keep_alive = False
            raise TooLarge(f"The request is larger than {self.limit // 2**20} MB.")

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises TooLarge, BodyTimeout."""
        if self.taken is not None:
            yield self.taken
            return
        if self._ahead:
            ahead, self._ahead = self._ahead, b""
            yield ahead
        if self._stream is None:
            self._stream = self._read()
        async for piece in self._stream:
            yield piece

    async def begins_with(self) -> bytes:
        """Its first bytes that are no white space, as many as came together; b"" if there is nothing but that."""
        if self.taken is not None:
            return self.taken.lstrip(_SPACE)
        pieces: list[bytes] = []
        async for piece in self.pieces():
            pieces.append(piece)
            if piece.lstrip(_SPACE):
                break
        self._ahead = b"".join(pieces)
        return self._ahead.lstrip(_SPACE)

    async def _read(self) -> AsyncIterator[bytes]:
        if not self._request.can_read_body:
            return
        self.check_size()
        if self._expected:
            self._expected = False
            self._reply.interim(b"HTTP/1.1 100 Continue")
        content = self._request.content
        size = 0
        while True:
            try:
                async with asyncio.timeout(self._idle):
                    piece = await content.readany()
            except TimeoutError:
                self._reply.keep_alive = False
                raise BodyTimeout("The request's body did not come in time.") from None
            if not piece:
                return
            size += len(piece)
            if size > self.limit:
                self._reply.keep_alive = False
                raise TooLarge(f"The request is larger than {self.limit // 2**20} MB.")
            yield piece

    async def whole(self) -> bytes:
        """All of it. Raises TooLarge, BodyTimeout."""
        if self.taken is None:
            pieces = [piece async for piece in self.pieces()]
            large = len(pieces) > 1 and sum(map(len, pieces)) >= _LARGE
            self.taken = await in_thread(b"".join, pieces) if large else b"".join(pieces)
        return self.taken
