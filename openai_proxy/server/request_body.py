"""Reads a request's body with limits on its size and on stalling."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp.web_request import BaseRequest

from openai_proxy.errors import Overloaded, ProxyError, TooLarge
from openai_proxy.heap import heap
from openai_proxy.server.reply import Reply
from openai_proxy.tasks import in_thread

_SPACE = b" \t\r\n"
_LARGE = 2 * 1024 * 1024  # bytes that are not copied on the event loop


class BodyTimeout(ProxyError):
    """The client stopped sending."""

    status = 408
    type = "invalid_request_error"
    default_code = "request_timeout"


class BodyMemory:
    """The bytes of all bodies currently held."""

    def __init__(self) -> None:
        self._held = 0

    def take(self, size: int, most: int) -> None:
        """Hold `size` more bytes. Raises Overloaded if that exceeds `most`."""
        if self._held + size > most:
            raise Overloaded(
                "The proxy is busy with large requests. Try again in a moment.", headers={"Retry-After": "1"}
            )
        self._held += size
        if self._held >= _LARGE:
            heap.large_request_begins()

    def give_back(self, size: int) -> None:
        """Release them."""
        if self._held >= _LARGE:  # a single one, or several at the same time
            heap.large_request_ended()
        self._held -= size


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """The limits of a body: bytes, seconds, bytes per second."""

    size: int
    idle: float | None
    """Seconds between two pieces, and before `rate` applies."""
    rate: float = 0.0
    memory: BodyMemory | None = None
    in_memory: int = 0


class RequestBody:
    """The body of one request. Read it once, whole or in pieces, and then `release` it."""

    def __init__(self, request: BaseRequest, reply: Reply, limits: BodyLimits) -> None:
        self._request = request
        self._reply = reply
        self.limit = limits.size
        self._limits = limits
        self._held = 0
        self._expected = request.headers.get("Expect", "").lower() == "100-continue" and not reply.http10
        self.taken: bytes | None = None  # a body that has been read completely
        self._stream: AsyncIterator[bytes] | None = None
        self._ahead: bytes = b""  # what was read for inspection
        length = request.headers.get("Content-Length")
        self.length = int(length) if length is not None and length.isdigit() else None

    @property
    def present(self) -> bool:
        """True if the request has a body at all."""
        return self.taken is not None or self._request.can_read_body

    @property
    def size(self) -> int:
        """Its bytes, as far as known; else 0."""
        return len(self.taken) if self.taken is not None else self.length or 0

    def check_size(self) -> None:
        """Raise TooLarge if the announced size is over the limit."""
        if self.length is not None and self.length > self.limit:
            self._reply.keep_alive = False
            raise TooLarge(f"The request is larger than {self.limit // 2**20} MB.")

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises TooLarge, BodyTimeout."""
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
        """Its first bytes that are not white space, as many as arrived together; b"" if there are none."""
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
        clock = asyncio.get_running_loop().time
        size, waited = 0, 0.0
        while True:
            began = clock()
            try:
                async with asyncio.timeout(self._patience(size, waited)):
                    piece = await content.readany()
            except TimeoutError:
                self._reply.keep_alive = False
                raise BodyTimeout("The request's body did not arrive in time.") from None
            waited += clock() - began
            if not piece:
                return
            size += len(piece)
            if size > self.limit:
                self._reply.keep_alive = False
                raise TooLarge(f"The request is larger than {self.limit // 2**20} MB.")
            yield piece

    def _patience(self, size: int, waited: float) -> float | None:
        """Seconds to wait for the next piece, after `size` bytes took `waited` seconds."""
        idle, rate = self._limits.idle, self._limits.rate
        if idle is None or not rate:
            return idle
        return min(idle, max(idle + size / rate - waited, 0.0))

    def hold(self, size: int) -> None:
        """Count `size` bytes of this request until `release`. Raises Overloaded if all requests hold too many."""
        memory = self._limits.memory
        if memory is not None:
            try:
                memory.take(size, self._limits.in_memory)
            except Overloaded:
                self._reply.keep_alive = False
                raise
            self._held += size

    def release(self) -> None:
        """The request is over."""
        if self._limits.memory is not None:
            self._limits.memory.give_back(self._held)
            self._held = 0

    async def whole(self) -> bytes:
        """All of it. Raises TooLarge, BodyTimeout."""
        if self.taken is None:
            pieces = []
            async for piece in self.pieces():
                self.hold(len(piece))
                pieces.append(piece)
            large = len(pieces) > 1 and sum(map(len, pieces)) >= _LARGE
            self.taken = await in_thread(b"".join, pieces) if large else b"".join(pieces)
        return self.taken
